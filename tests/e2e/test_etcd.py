"""The real etcd, and hosts that live with it and without it.

    host1: etcd      host2: follower a      host3: follower b
        └────────────────┴─── wire ─────────────┘

A follower is a host without its data plane (tests/follower.py).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path

import pytest

import contract_store
import keepers
from followers import Follower, Stage
from seaway.errors import Invalid, Unavailable
from seaway.facts import Facts
from seaway.lab import Lab, LabHost
from seaway.lab.etcd import Etcd
from seaway.model.facts import Host
from seaway.records import Records
from seaway.store.base import Commit
from seaway.store.etcd import EtcdStore
from seaway.store.members import Identity
from waiting import DEADLINE, wait, wait_until


@pytest.fixture(scope="module")
def hosts(make_module_lab: Callable[..., Lab]) -> tuple[LabHost, ...]:
    return make_module_lab(hosts=3).hosts


class RealTrouble:
    def __init__(self, etcd: Etcd, folder: Path) -> None:
        self._etcd, self._host = etcd, etcd.hosts[0]
        self._file = folder / "snapshot"

    async def compact(self) -> None:
        await asyncio.to_thread(self._etcd.compact, self._host)

    async def restart(self) -> None:
        await asyncio.to_thread(self._etcd.kill, self._host)
        await asyncio.to_thread(self._etcd.start)

    async def save(self) -> None:
        await asyncio.to_thread(self._etcd.save, self._file)

    async def restore(self) -> None:
        await asyncio.to_thread(self._etcd.kill, self._host)
        await asyncio.to_thread(self._etcd.restore, self._file)
        await asyncio.to_thread(self._etcd.start)


@contextmanager
def running(etcd: Etcd) -> Iterator[Etcd]:
    etcd.start()
    try:
        yield etcd
    finally:
        etcd.clear()


@pytest.fixture(scope="module")
def etcd(make_module_lab: Callable[..., Lab]) -> Iterator[Etcd]:
    """One member, on a host of its own."""
    with running(Etcd(make_module_lab(hosts=1).hosts)) as one:
        yield one


@pytest.fixture
def make_store(etcd: Etcd) -> contract_store.MakeStore:
    prefix = f"/{uuid.uuid4().hex}/"
    return lambda: EtcdStore([etcd.socket(etcd.hosts[0])], prefix=prefix)


@pytest.mark.parametrize("promise", contract_store.PROMISES, ids=lambda p: p.__name__)
def test_etcd_keeps_what_every_store_promises(make_store, promise):
    asyncio.run(promise(make_store))


@pytest.mark.parametrize("promise", contract_store.IN_TROUBLE, ids=lambda p: p.__name__)
def test_etcd_keeps_it_in_trouble(make_store, promise, etcd, tmp_path):
    asyncio.run(promise(make_store, RealTrouble(etcd, tmp_path)))


def test_a_large_store_is_read_in_pages_and_a_commit_too_large_is_refused(make_store, tell):
    async def scenario():
        store = make_store()
        keys = [f"endpoints/a/{n:05}" for n in range(12_000)]
        for begin in range(0, len(keys), 120):
            await store.commit(dict.fromkeys(keys[begin : begin + 120], b"x" * 500))
        start = time.perf_counter()
        snapshot = await store.load()
        tell(f"12,000 records are read in {(time.perf_counter() - start) * 1000:.0f} ms")
        assert keys == [*snapshot.items]
        for changes in ({f"k{n}": b"" for n in range(128)}, {"k": b"x" * (2 << 20)}):
            with pytest.raises(Invalid, match="records at once is refused by etcd"):
                await store.commit(changes)
        assert snapshot == await store.load()
        await store.close()

    asyncio.run(scenario())


def test_a_commit_is_fast(make_store, tell):
    async def scenario():
        store = make_store()
        times = []
        for n in range(200):
            start = time.perf_counter()
            await store.commit({"endpoints/a/1": b"x" * 500, "blocks/1": bytes([n])})
            times.append((time.perf_counter() - start) * 1000)
        await store.close()
        tell(f"a commit takes {sorted(times)[100]:.1f} ms (median; its etcd writes to memory)")

    asyncio.run(scenario())


# Several members, and who may speak to them


@pytest.fixture
def three(hosts: tuple[LabHost, ...]) -> Iterator[Etcd]:
    with running(Etcd(hosts)) as several:
        yield several


def test_another_member_is_asked_where_one_does_not_answer(three):
    first, *_ = three.hosts

    async def scenario():
        store = EtcdStore([three.socket(host) for host in three.hosts])
        last = await store.commit({"a": b"1"})
        async with aclosing(store.watch(last.moment)) as watch:
            await anext(watch)
            three.kill(first)
            await _until_done(store, {"a": b"2"})
            assert b"2" == (await store.load()).items["a"].value
            await _told(watch, {"a": b"2"})

            asked = three.hosts[store._members._link.number]
            three.pause(asked)
            start = time.monotonic()
            with pytest.raises(Unavailable, match=r"etcd does not answer \(unix:.*client:1"):
                await store.load()
            assert DEADLINE > time.monotonic() - start
            three.start(first)
            await _until_done(store, {"a": b"3"})
            await _told(watch, {"a": b"3"})  # by another one: it was noticed that this stands still
            three.resume(asked)
        await store.close()

    asyncio.run(scenario())


async def _until_done(store: EtcdStore, changes: dict[str, bytes | None]) -> None:
    """A commit that was under way when its member died is the caller's to try again."""

    async def attempt() -> bool:
        try:
            await store.commit(changes)
        except Unavailable:
            return False
        return True

    assert await wait_until(attempt)


async def _told(watch: AsyncGenerator[Commit, None], changes: dict[str, bytes | None]) -> None:
    async with asyncio.timeout(DEADLINE):
        while (await anext(watch)).changes != changes:
            pass


# Hosts that live without it


@pytest.fixture
def stage(hosts: tuple[LabHost, ...]) -> Iterator[Stage]:
    with running(Etcd(hosts[:1])) as etcd, ExitStack() as stack:

        async def begin() -> None:
            store = EtcdStore([etcd.socket(hosts[0])])
            first = [Host(name=name, addresses=()) for name in keepers.HOSTS]
            records = Records(store, Facts(()))
            await records.commit([keepers.cluster(), *first, keepers.network("web")])
            await store.close()

        asyncio.run(begin())
        followers = []
        for host in hosts:
            stack.callback(host.run, "ip", "link", "set", "eth0", "up")
        for host, name in zip(hosts[1:], keepers.HOSTS, strict=True):
            followers.append(Follower(host, name, etcd.urls))
            stack.callback(followers[-1].kill)
        yield Stage(etcd, *followers)


def _stopped(stage: Stage) -> Callable[[], None]:
    stage.etcd.stop(stage.etcd.hosts[0])
    return stage.etcd.start


def _killed(stage: Stage) -> Callable[[], None]:
    stage.etcd.kill(stage.etcd.hosts[0])
    return stage.etcd.start


def _paused(stage: Stage) -> Callable[[], None]:
    stage.etcd.pause(stage.etcd.hosts[0])
    return lambda: stage.etcd.resume(stage.etcd.hosts[0])


def _partitioned(stage: Stage) -> Callable[[], None]:
    link = stage.etcd.hosts[0]
    link.run("ip", "link", "set", "eth0", "down")
    return lambda: link.run("ip", "link", "set", "eth0", "up") and None


@pytest.mark.parametrize("befalls", [_stopped, _killed, _paused, _partitioned])
def test_hosts_go_on_without_the_store_and_all_is_known_when_it_is_back(
    stage, befalls, tell, sharp
):
    one, two = stage.one, stage.two
    one.does("attach", 1)
    two.does("make", "x")
    assert wait(stage.is_settled)
    before = one.facts(), two.facts()

    end = befalls(stage)
    start = time.monotonic()
    one.ask("attach", 2)
    two.ask("make", "y")
    assert one.hear() is None
    kind, said = two.hear()
    waited = time.monotonic() - start
    assert "Unavailable" == kind
    assert "the store is lost: etcd does not answer (198.18.0.11:2379: " in said
    assert "traffic, attach and detach on this host go on" in said
    assert (4 if sharp else DEADLINE) > waited
    start = time.monotonic()
    one.does("attach", 3)
    one.does("detach", 1)
    assert "Unavailable" == one.answer("claim", 1)[0]
    assert (1 if sharp else DEADLINE) > time.monotonic() - start
    assert before[1] == two.facts()

    end()
    start = time.monotonic()
    assert wait(stage.is_settled)
    back = time.monotonic() - start
    tell(f"{befalls.__name__[1:]}: lost after {waited:.1f} s, whole {back:.1f} s after its return")
    assert {"2", "3"} == {f[-1] for f in one.facts() if f.startswith("Endpoint")}
    one.does("claim", 1)
    two.does("make", "y")
    assert wait(stage.is_settled)


def test_a_host_that_boots_while_etcd_is_dead_knows_what_it_saw_last(stage):
    one, two = stage.one, stage.two
    assert (None, None, None) == (
        one.answer("attach", 1),
        one.answer("claim", 0),
        two.answer("make", "x"),
    )
    assert wait(stage.is_settled)
    before = {*one.facts()}
    stage.etcd.kill(stage.etcd.hosts[0])
    one.ask("attach", 2)
    one.kill()  # before or after it was accepted

    one.start()
    assert {*one.facts()} - {"Endpoint " + "2".zfill(16)} == before
    one.does("attach", 3)
    one.kill()
    one.start()
    assert "Endpoint " + "3".zfill(16) in one.facts()

    stage.etcd.start()
    assert wait(stage.is_settled)
    assert "Endpoint " + "3".zfill(16) in one.facts()
    assert before <= {*one.facts()}


def test_what_was_compacted_while_a_host_was_away_is_learnt_all_the_same(stage):
    one, two = stage.one, stage.two
    two.does("make", "x")
    one.does("attach", 1)
    assert wait(stage.is_settled)
    one.kill()
    assert [None] * 3 == [
        two.answer("make", "y"),
        two.answer("remove", "x"),
        two.answer("claim", 1),
    ]
    one.start()  # so that it has something to catch up with
    one.host.run("ip", "link", "set", "eth0", "down")
    one.ask("attach", 2)
    two.does("make", "z")
    two.does("remove", "y")
    stage.etcd.compact(stage.etcd.hosts[0])
    assert one.hear() is None
    one.host.run("ip", "link", "set", "eth0", "up")
    assert wait(stage.is_settled)
    assert ["Network web", "Network z"] == [f for f in one.facts() if f.startswith("Network")]


def test_a_restored_etcd_gets_back_what_each_host_knows_alone(stage, tmp_path):
    one, two = stage.one, stage.two
    one.does("attach", 1)
    two.does("make", "x")
    stage.etcd.save(tmp_path / "snapshot")
    assert (None, None, None) == (
        one.answer("claim", 1),
        one.answer("attach", 2),
        one.answer("detach", 1),
    )
    two.does("make", "y")
    two.does("remove", "x")
    assert wait(stage.is_settled)

    stage.etcd.kill(stage.etcd.hosts[0])
    stage.etcd.restore(tmp_path / "snapshot")
    stage.etcd.start()
    assert wait(stage.is_settled)
    assert ["Network web", "Network x"] == [f for f in two.facts() if f.startswith("Network")]
    assert "Block 10.208.1.0/26" in two.facts()
    assert ["Endpoint " + "2".zfill(16)] == [f for f in one.facts() if f.startswith("Endpoint")]


# Who may speak to it


class Authority:
    """Makes certificates, as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._make("ca", "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, name: str, names: str) -> Identity:
        signed = ("-CA", f"{self.folder}/ca.pem", "-CAkey", f"{self.folder}/ca-key.pem")
        self._make(name, *signed, "-addext", f"subjectAltName={names}")
        files = (f"{file}.pem" for file in ("ca", name, f"{name}-key"))
        return Identity(*(self.folder / file for file in files))

    def _make(self, name: str, *options: str) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", f"{self.folder}/{name}-key.pem", "-out", f"{self.folder}/{name}.pem"]
        what = ["openssl", "req", "-x509", *key, *files, "-days", "2", "-subj", f"/CN={name}"]
        subprocess.run([*what, *options], check=True, capture_output=True)


PROBE = """
import asyncio, sys
from pathlib import Path
from seaway.errors import Unavailable
from seaway.store.etcd import EtcdStore
from seaway.store.members import Identity

async def main(url, *files):
    store = EtcdStore([url], Identity(*map(Path, files)) if files else None)
    try:
        print((await store.commit({"a": b"1"})).changes)
    except Unavailable as error:
        print(error.message)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_with_tls_only_who_has_a_certificate_of_the_cluster_is_answered(hosts, tmp_path):
    host, client = hosts[:2]
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    ours.issue(host.name, f"IP:{host.address4}")
    mine, theirs = ours.issue("client", "DNS:client"), others.issue("client", "DNS:client")

    def told(url: str, *files: Path) -> str:
        return client.run(sys.executable, "-c", PROBE, url, *map(str, files))

    with running(Etcd(hosts[:1], certificates=ours.folder)) as etcd:
        (url,) = etcd.urls
        assert "{'a': b'1'}" in told(url, *mine)
        assert "{'a': b'1'}" in told(f"{host.address4}:2379", *mine)
        refusals = [
            told(url, *theirs),
            told(url, mine.ca, theirs.certificate, theirs.key),
            told(url, mine.ca, tmp_path / "gone", mine.key),
            told(url.replace("https", "http")),
        ]
    whys = ("CERTIFICATE_VERIFY_FAILED", "", "No such file or directory", "")
    for why, refusal in zip(whys, refusals, strict=True):
        assert "etcd does not answer (" in refusal
        assert why in refusal
