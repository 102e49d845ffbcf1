"""A backup: the bytes of its file, what of it is true on which host, and how it is written."""

from __future__ import annotations

import asyncio
import os
import stat
from hashlib import sha256
from ipaddress import ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.agents import routes, start
from tests.killing import at_every_step

from seaway import backups
from seaway.api import peers
from seaway.backups import Here
from seaway.errors import Conflict, Forbidden, Invalid, SeawayError, SystemFailed, Undecodable
from seaway.model import backup as model
from seaway.model import codec
from seaway.model.backup import Backup, Whereabouts
from seaway.model.facts import Before, Block, Cluster, Endpoint, Host, Network
from seaway.model.requests import NewToken
from seaway.records import store_key
from seaway.setup import saving
from seaway.trust.folder import Folder

CLUSTER = Cluster(
    id="c0ffee", pools=(ip_network("10.208.0.0/12"),), service_subnets=(), host_subnets=()
)
HOST = Host(name="h", addresses=())
NETWORK = Network(name="default", number=1, subnets=(ip_network("10.208.0.0/18"),))
BLOCK = Block(prefix=ip_network("10.208.0.0/26"), network="default", host="h")
ENDPOINT = Endpoint(
    id="0123456789abcdef",
    name="blue",
    container="c1",
    interface="eth0",
    host="h",
    network="default",
    netns="/run/netns/blue",
    netns_inode=7,
    addresses=(ip_interface("10.208.0.1/32"),),
    mac="02:53:0a:d0:00:01",
    mtu=1500,
)
BEFORE = Before(host="h", sysctls={"net.ipv4.ip_forward": "0"})
RECORDS = (CLUSTER, HOST, NETWORK, BLOCK, ENDPOINT, BEFORE)
THERE = Whereabouts(machine="m", boot="b")
AFTER_REBOOT = Whereabouts(machine="m", boot="b2")
ELSEWHERE = Whereabouts(machine="m2", boot="b3")


def backup_of(*records, **fields):
    given_ = {
        "version": "0",
        "cluster": "c0ffee",
        "host": "h",
        "whereabouts": THERE,
        "at": 1.0,
        "revision": 1,
        "records": {store_key(r): msgspec.Raw(codec.encode(r)) for r in records},
    }
    return Backup(**given_ | fields)


BACKUP = backup_of(*RECORDS)
FILE = model.to_bytes(BACKUP)


def here(name="h", whereabouts=THERE, lives=True, **more):
    return Here(name=name, whereabouts=whereabouts, lives=lambda _: lives, **more)


def items(*records):
    return {store_key(r): codec.encode(r) for r in records}


# The file


def test_what_was_written_is_read_again():
    assert BACKUP == model.from_bytes(FILE)
    assert list(RECORDS) == backups.records_of(model.from_bytes(FILE))


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed_anywhere_is_found(at, bits):
    with pytest.raises(SeawayError):
        model.from_bytes(FILE[:at] + bytes([FILE[at] ^ bits]) + FILE[at + 1 :])


def test_a_file_that_was_cut_anywhere_is_refused():
    for size in range(len(FILE)):
        with pytest.raises(Undecodable, match=r"no backup of Seaway's|is cut"):
            model.from_bytes(FILE[:size])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "this is no backup of Seaway's"),
        (b'{"kind":"other"}', "this is no backup of Seaway's"),
        (b"SQLite format 3\0" + bytes(4096), "this is no backup of Seaway's"),
        (FILE + b"\n", "something was added behind it"),
        (FILE + FILE, "is damaged"),
        (FILE.replace(b'"format":2', b'"format":3'), "has format 3, this version reads up to 2"),
        (FILE.replace(b"10.208.0.1/32", b"10.208.0.2/32"), "is damaged"),
    ],
)
def test_what_is_no_whole_backup_of_this_version_is_refused_in_one_line(data, words):
    with pytest.raises(SeawayError, match=words) as refused:
        model.from_bytes(data)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "backup",
    [
        backup_of(),
        backup_of(HOST, NETWORK),
        backup_of(CLUSTER, HOST, BLOCK),
        backup_of(*RECORDS, cluster="another"),
        backup_of(*RECORDS, host="another"),
        replace(BACKUP, records={"cluster": msgspec.Raw(b"{}")}),
        replace(BACKUP, records={"secrets/x": msgspec.Raw(b"{}")}),
        replace(BACKUP, records={"hosts/other": msgspec.Raw(codec.encode(HOST))}),
    ],
)
def test_records_that_make_no_cluster_are_refused(backup):
    with pytest.raises(Undecodable, match="the backup"):
        backups.adapted(backup, here())


# What of it is true here


def test_on_the_host_where_it_was_made_all_of_it_is_true():
    restored = backups.adapted(BACKUP, here())

    assert items(*RECORDS) == restored.items()
    assert () == restored.released


def test_an_endpoint_whose_container_is_gone_is_released_and_its_block_kept():
    restored = backups.adapted(BACKUP, here(lives=False))

    assert items(CLUSTER, HOST, NETWORK, BLOCK, BEFORE) == restored.items()
    assert (ENDPOINT,) == restored.released


def test_after_a_reboot_no_endpoint_lives_whatever_stands_under_its_path():
    restored = backups.adapted(BACKUP, here(whereabouts=AFTER_REBOOT))

    assert items(CLUSTER, HOST, NETWORK, BLOCK, BEFORE) == restored.items()


def test_on_another_machine_of_that_name_no_settings_of_the_old_one_are_put_back():
    restored = backups.adapted(BACKUP, here(whereabouts=ELSEWHERE))

    assert items(CLUSTER, HOST, NETWORK, BLOCK) == restored.items()


def test_under_another_name_the_host_and_its_blocks_are_called_so():
    restored = backups.adapted(BACKUP, here(name="other", whereabouts=ELSEWHERE))

    named = (CLUSTER, replace(HOST, name="other"), NETWORK, replace(BLOCK, host="other"))
    assert items(*named) == restored.items()


def test_a_machine_that_was_renamed_since_keeps_its_living_endpoints():
    restored = backups.adapted(BACKUP, here(name="other"))

    assert {ENDPOINT.id: replace(ENDPOINT, host="other")} == restored.endpoints()


def test_two_machines_without_an_id_are_not_the_same():
    lost = replace(BACKUP, whereabouts=Whereabouts(machine="", boot="b"))
    restored = backups.adapted(lost, here(whereabouts=Whereabouts(machine="", boot="b2")))

    assert "before/h" not in restored.items()


@pytest.mark.parametrize("whereabouts", [THERE, ELSEWHERE])
def test_what_the_replaced_store_knows_of_this_machine_wins(whereabouts):
    known = Before(host="h0", sysctls={"net.ipv4.ip_forward": "1"})
    restored = backups.adapted(BACKUP, here(whereabouts=whereabouts, before=known))

    assert codec.encode(replace(known, host="h")) == restored.items()["before/h"]


def test_a_network_that_would_take_a_route_of_the_host_is_refused():
    backups.adapted(BACKUP, here(foreign=routes("10.0.0.0/8", "0.0.0.0/0")))
    with pytest.raises(Conflict, match=r"overlaps 10\.208\.1\.0/24, a route of this host"):
        backups.adapted(BACKUP, here(foreign=routes("10.208.1.0/24")))


# Taken of an agent


def test_an_agent_hands_out_its_whole_store_as_it_is_at_one_moment(tmp_path):
    async def scenario():
        agent = await start(tmp_path)
        backup = await agent.intents.backup()
        stored = await agent.store.load()
        await agent.store.close()
        return backup, stored

    backup, stored = asyncio.run(scenario())
    assert ("h", stored.revision) == (backup.host, backup.revision)
    assert {k: i.value for k, i in stored.items.items()} == {
        k: bytes(raw) for k, raw in backup.records.items()
    }
    assert backup == model.from_bytes(model.to_bytes(backup))
    assert stored.items.keys() == backups.adapted(backup, here()).items().keys()


def test_who_only_reads_gets_no_backup():
    peers.Peer(uid=0, groups=frozenset()).must_read_all()
    with pytest.raises(Forbidden, match="may not read the whole state"):
        peers.Peer(uid=1234, groups=frozenset({7})).must_read_all()


# Written to a file


def test_a_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "b"
    saving.write(path, FILE, overwrite=False)

    assert FILE == path.read_bytes()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert [path] == list(tmp_path.iterdir())


def test_a_file_that_exists_is_kept_unless_told(tmp_path):
    path = tmp_path / "b"
    path.write_bytes(b"precious")
    with pytest.raises(Conflict, match="exists already"):
        saving.write(path, FILE, overwrite=False)
    assert b"precious" == path.read_bytes()

    saving.write(path, FILE, overwrite=True)
    assert FILE == path.read_bytes()


def test_over_a_link_the_file_behind_it_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "b")
    saving.write(tmp_path / "link", FILE, overwrite=False)

    assert FILE == (tmp_path / "b").read_bytes()
    assert (tmp_path / "link").is_symlink()


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Invalid, match="is no file"):
            saving.write(path, FILE, overwrite=True)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SystemFailed, match=r"cannot write .*: No such file or directory"):
        saving.write(tmp_path / "no" / "b", FILE, overwrite=False)


@pytest.mark.parametrize("old", [None, b"old"])
def test_killed_at_any_step_it_is_written_whole_or_not_at_all(tmp_path, old):
    path = tmp_path / "b"

    def prepare():
        path.unlink(missing_ok=True)
        if old:
            path.write_bytes(old)

    def content():
        return path.read_bytes() if path.exists() else None

    def write():
        saving.write(path, FILE, overwrite=bool(old))

    found = [content() for _ in at_every_step(prepare, write)]

    assert [old, FILE] == list(dict.fromkeys(found))


# Of one host of many


OTHER = Host(name="o", addresses=(), number=2, key="theirs")
THEIR_BLOCK = Block(prefix=ip_network("10.208.0.64/26"), network="default", host="o")
THEIR_ENDPOINT = replace(ENDPOINT, host="o", id="00000000000000aa", name="green")
THEIR_BEFORE = Before(host="o", sysctls={})
MANY = backup_of(
    replace(CLUSTER, etcd=("https://192.0.2.1:2379",), next_host=3),
    replace(HOST, control=True, key="old"),
    *RECORDS[2:],
    OTHER,
    THEIR_BLOCK,
    THEIR_ENDPOINT,
    THEIR_BEFORE,
    trust=model.Trust(authority="CA", authority_key="secret"),
)


def test_of_other_hosts_all_is_kept_as_it_was():
    restored = backups.adapted(MANY, here("new", ELSEWHERE, lives=False, key="fresh"))

    theirs = {OTHER, THEIR_BLOCK}
    assert theirs <= {r for r in restored.records if isinstance(r, Host | Block)}
    assert THEIR_ENDPOINT in restored.records
    assert THEIR_BEFORE in restored.records
    assert (ENDPOINT,) == restored.released
    assert {} == restored.endpoints()
    assert {"new", "o"} == {r.host for r in restored.records if isinstance(r, Block)}


def test_of_the_endpoints_that_a_restore_takes_away_none_is_of_another_host():
    assert [ENDPOINT] == backups.own([ENDPOINT, THEIR_ENDPOINT], "h")
    assert [THEIR_ENDPOINT] == backups.own([ENDPOINT, THEIR_ENDPOINT], "o")
    assert [ENDPOINT] == backups.own([ENDPOINT], "")


def test_the_host_that_restores_has_the_records_and_signs():
    restored = backups.adapted(MANY, here("new", ELSEWHERE, lives=False, key="fresh"))
    own = next(r for r in restored.records if isinstance(r, Host) and r.name == "new")

    assert ("fresh", True) == (own.key, own.control)
    assert () == restored.cluster.etcd
    assert 3 == restored.cluster.next_host


def test_a_backup_without_the_key_of_the_ca_makes_no_control_host():
    restored = backups.adapted(backup_of(*RECORDS), here())
    assert [("", False)] == [(r.key, r.control) for r in restored.records if isinstance(r, Host)]


def test_two_hosts_of_a_cluster_do_not_get_one_name():
    with pytest.raises(Conflict, match="has another host 'o'"):
        backups.adapted(MANY, here("o", ELSEWHERE))


def test_the_key_of_the_ca_is_in_the_backup_of_a_control_host_alone(tmp_path):
    async def scenario():
        agent = await start(tmp_path)
        assert None is (await agent.intents.backup()).trust
        await agent.intents.create_token(NewToken())
        trust = (await agent.intents.backup()).trust
        await agent.store.close()
        return trust, agent.intents.trust.folder

    trust, folder = asyncio.run(scenario())
    assert folder.authority_key.read_text() == trust.authority_key
    assert trust == model.from_bytes(model.to_bytes(backup_of(*RECORDS, trust=trust))).trust
    other = Folder(tmp_path / "other")
    other.replace(trust)
    assert (trust, False) == (other.trust(), other.whole)
    other.replace(None)
    assert [] == [*other.path.iterdir()]


def test_an_older_backup_is_read():
    old = FILE.replace(b'"format":2', b'"format":1')
    body = old[: old.rindex(b',"digest"')]
    digest = sha256(body).hexdigest().encode()
    assert replace(BACKUP, format=1) == model.from_bytes(body + b',"digest":"' + digest + b'"}\n')
