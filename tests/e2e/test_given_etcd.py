"""The records of a cluster move to an etcd that is given, by real TLS, and hosts live with it.

┌── host1 ──┐   ┌── host2 ──┐   ┌── host3 ──┐
│  Seaway   │   │  Seaway   │   │   etcd    │   its CA is not the cluster's
└─────┬─────┘   └─────┬─────┘   └─────┬─────┘
──────┴────── wire ───┴───────────────┴──────
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from ipaddress import ip_address

import pytest

from seaway import names
from seaway.lab.etcd import Etcd
from seaway.lab.hosts import SEAWAY
from seaway.trust import certificates
from seaway.trust.authority import Authority
from seaway.trust.certificates import Identity


def told(host, *words):
    return json.loads(host.seaway(*words, "-o", "json"))


def records(host):
    found = json.loads(host.seaway("backup", "-"))["records"]
    return {key: value for key, value in found.items() if not key.startswith("tokens/")}


def stays(records):
    """What a move does not change."""
    return {k: v for k, v in records.items() if k not in {"cluster", "hosts/host1"}}


@pytest.fixture
def lab(make_lab):
    return make_lab(hosts=3)


@pytest.fixture
def pki(tmp_path, lab):
    """What somebody gave his etcd and its clients."""
    made, folder = Authority.create("etcd", time.time()), tmp_path / "pki"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(made.certificate)
    for name, address in (("host3", lab.hosts[2].address4), ("client", ip_address("192.0.2.1"))):
        key = certificates.new_key()
        identity = Identity("etcd", name, (address,))
        pem = made.sign(certificates.request(key, name), identity, time.time())
        (folder / f"{name}.pem").write_text(pem)
        (folder / f"{name}-key.pem").write_bytes(key)
    return folder


@pytest.fixture
def etcd(lab, pki):
    made = Etcd((lab.hosts[2],), pki)
    made.start()
    yield made
    made.clear()


@pytest.fixture
def given(etcd, pki):
    """The options that name it."""
    files = {"ca": "ca.pem", "cert": "client.pem", "key": "client-key.pem"}
    options = [f"--etcd-{name}={pki / file}" for name, file in files.items()]
    return ["--etcd", *etcd.urls, *options]


def attach(host, name):
    host.run("ip", "netns", "add", name)
    return told(host, "attach", name, "--name", name)


def join(host, first):
    token = told(first, "token", "create")["token"]
    host.seaway("join", token, str(first.address4), timeout=60)


def test_a_host_that_is_set_up_moves_with_all_it_has(lab, given, etcd):
    one, two, _ = lab.hosts
    one.seaway("init", timeout=60)
    one.seaway("network", "create", "web", "--open")
    made = attach(one, "blue")
    before = records(one)

    done = one.call(SEAWAY, "init", *given, timeout=90)
    assert 0 == done.returncode, done.stderr
    after = records(one)
    assert stays(before) == stays(after)
    assert {**before["cluster"], "etcd": etcd.urls} == after["cluster"]
    assert "etcd" == told(one, "status")["store"]
    assert made["id"] == told(one, "endpoint", "inspect", "blue")["endpoint"]["id"]
    moved = r"records are in etcd: revision \d+ of .* is revision \d+ there"
    assert re.search(moved, done.stderr)
    kept = one.run("sh", "-c", f"ls {names.STATE_FOLDER}/store-*.db").split()
    assert [f"the records before are kept as {kept[0]}"] == [
        line for line in done.stderr.splitlines() if "are kept" in line
    ]
    assert 0 != one.call("test", "-e", str(names.STORE_FILE)).returncode

    # The command that it printed lets the next host join, which has its records from etcd too.
    (command,) = (line for line in done.stdout.splitlines() if line.startswith("seaway join"))
    two.seaway(*command.split()[1:], timeout=60)
    assert "etcd" == told(two, "status")["store"]
    assert 2 == len(told(two, "host", "ls"))
    attach(two, "green")
    two.seaway("network", "create", "db")
    one.wait_for("the network", lambda: "db" in one.seaway("network", "ls"))
    assert {"host1", "host2"} == {block["host"] for block in told(one, "ipam", "show")}
    assert "600" == two.run("stat", "-c", "%a", str(names.TRUST_FOLDER / "etcd.pem")).strip()


def test_a_new_host_begins_with_etcd(lab, given):
    one = lab.hosts[0]
    done = one.call(SEAWAY, "init", *given, timeout=90)
    assert 0 == done.returncode, done.stderr
    assert "etcd" == told(one, "status")["store"]
    again = one.call(SEAWAY, "init", *given, timeout=90)
    assert 0 == again.returncode, again.stderr
    assert "this host is set up already" in again.stderr
    attach(one, "blue")
    one.kill_agent()
    one.start_agent()
    assert 1 == told(one, "status")["endpoints"]


def test_hosts_that_had_their_records_through_the_first_find_them_in_etcd(lab, given):
    one, two, _ = lab.hosts
    one.seaway("init", timeout=60)
    join(two, one)
    attach(two, "blue")
    one.seaway("init", *given, timeout=90)
    two.wait_for(
        "its learning of it",
        lambda: "records are in etcd" in two.read(names.LOG_FILE),
        within=20,
    )
    assert "another host" == told(two, "status")["store"]
    two.kill_agent()
    two.start_agent()
    assert "etcd" == told(two, "status")["store"]
    assert 1 == told(two, "status")["endpoints"]
    one.kill_agent()
    two.seaway("network", "create", "web")


def test_what_cannot_be_moved_stays_and_the_agent_goes_on(lab, given, etcd, pki):
    one, two, _ = lab.hosts
    one.seaway("init", timeout=60)
    before = records(one)
    two.seaway("init", *given, timeout=90)
    url = etcd.urls[0]
    wrong = [o.replace("client", "host3") if "key" in o else o for o in given]
    for words, status, line in (
        (given, 4, "there are the records of cluster"),
        (["--etcd", "http://198.18.0.13:2379"], 2, "'http://198.18.0.13:2379' is no way to etcd"),
        (["--etcd", url, "--etcd-ca", str(pki / "ca.pem")], 2, "some are missing"),
        (["--etcd", url], 7, "etcd does not answer"),
        (["--etcd", "https://198.18.0.99:2379", *given[2:]], 7, "etcd does not answer"),
        (["--etcd", url, *wrong[2:]], 7, "etcd does not answer"),
        (["--etcd-ca", "x"], 2, "files of an etcd were given, and no etcd"),
    ):
        done = one.call(SEAWAY, "init", *words, timeout=90)
        assert status == done.returncode, done.stderr
        assert line in done.stderr.splitlines()[-1]
        one.wait_for("the agent", one.agent_is_ready, within=20)
        assert stays(before) == stays(records(one))
        assert "sqlite" == told(one, "status")["store"]


@pytest.mark.parametrize("line", range(1, 8))
def test_killed_after_any_of_its_words_a_move_is_finished_by_repetition(lab, given, line):
    one = lab.hosts[0]
    one.seaway("init", timeout=60)
    one.seaway("network", "create", "web")
    attach(one, "blue")
    before = records(one)
    with one.popen(SEAWAY, "init", *given, stderr=subprocess.PIPE) as command:
        for _ in range(line):
            command.stderr.readline()
        command.kill()
    one.seaway("init", *given, timeout=90)
    assert "etcd" == told(one, "status")["store"]
    assert stays(before) == stays(records(one))
    assert 1 == told(one, "status")["endpoints"]


def test_a_host_that_does_not_reach_etcd_has_its_records_through_another(lab, given):
    one, two, three = lab.hosts
    one.seaway("init", *given, timeout=90)
    two.run("ip", "route", "add", "unreachable", str(three.address4))
    token = told(one, "token", "create")["token"]
    done = two.call(SEAWAY, "join", token, str(one.address4), timeout=60)
    assert 0 == done.returncode, done.stderr
    assert "etcd is not reached from here" in done.stderr
    assert "another host" == told(two, "status")["store"]
    attach(two, "blue")
    assert 1 == told(one, "host", "ls")[1]["endpoints"]
