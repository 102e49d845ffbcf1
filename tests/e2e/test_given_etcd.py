"""The records of a cluster move to an etcd that is given, by real TLS, and hosts live with it, and
without it. The tests of one lab go on where the one before ended.

┌── host1 ──┐   ┌── host2 ──┐   ┌── host3 ────────┐
│  Seaway   │   │  Seaway   │   │  Seaway · etcd  │   its CA is not the cluster's
└─────┬─────┘   └─────┬─────┘   └─────┬───────────┘
──────┴────── wire ───┴───────────────┴──────
"""

from __future__ import annotations

import json
import subprocess
import time
from ipaddress import ip_address

import pytest
from tests.beating import CONTAINER, beating
from tests.evidence import Evidence

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


class Given:
    """A lab with an etcd on its last host, and the options that name it."""

    def __init__(self, lab, folder):
        self.one, self.two, self.three = lab.hosts
        made, self.pki = Authority.create("etcd", time.time()), folder
        (folder / "ca.pem").write_bytes(made.certificate)
        client = ip_address("192.0.2.1")
        for name, address in (("host3", self.three.address4), ("client", client)):
            key = certificates.new_key()
            identity = Identity("etcd", name, (address,))
            pem = made.sign(certificates.request(key, name), identity, time.time())
            (folder / f"{name}.pem").write_text(pem)
            (folder / f"{name}-key.pem").write_bytes(key)
        self.etcd = Etcd((self.three,), folder)
        self.options = ["--etcd", *self.etcd.urls, *self.files("client-key.pem")]

    def files(self, key):
        files = {"ca": "ca.pem", "cert": "client.pem", "key": key}
        return [f"--etcd-{name}={self.pki / file}" for name, file in files.items()]


@pytest.fixture(scope="module")
def given(make_module_lab, tmp_path_factory):
    """The first host is set up, with records of its own; the second has them through it."""
    made = Given(make_module_lab(hosts=3), tmp_path_factory.mktemp("pki"))
    made.etcd.start()
    made.one.seaway("init", timeout=60)
    made.one.seaway("network", "create", "web", "--open")
    attach(made.one, "blue")
    join(made.two, made.one)
    yield made
    made.etcd.clear()


def attach(host, name, *options):
    host.run("ip", "netns", "add", name)
    return told(host, "attach", name, "--name", name, *options)


def join(host, first):
    token = told(first, "token", "create")["token"]
    host.seaway("join", token, str(first.address4), timeout=60)


def holders(host):
    """Of all addresses of the cluster, as this host tells."""
    blocks = told(host, "ipam", "show")
    found = ((b["host"], holder["reason"]) for b in blocks for holder in b["holders"])
    return {(host, reason.split(",")[0]) for host, reason in found}


def has_sent_all(host):
    status = told(host, "status")
    return ("", 0) == (status["store_lost"], status["unsent"])


def test_what_cannot_be_moved_stays_and_the_agent_goes_on(given):
    one, url = given.one, given.etcd.urls[0]
    before = records(one)
    for words, status, line in (
        (["--etcd", "http://198.18.0.13:2379"], 2, "'http://198.18.0.13:2379' is no way to etcd"),
        (["--etcd", url, "--etcd-ca", str(given.pki / "ca.pem")], 2, "some are missing"),
        (["--etcd", url, *given.files("host3-key.pem")], 7, "etcd does not answer"),
        (["--etcd-ca", "x"], 2, "files of an etcd were given, and no etcd"),
    ):
        done = one.call(SEAWAY, "init", *words, timeout=90)
        assert status == done.returncode, done.stderr
        assert line in done.stderr.splitlines()[-1]
    one.wait_for("the agent", one.agent_is_ready)
    assert stays(before) == stays(records(one))
    assert "sqlite" == told(one, "status")["store"]


def test_killed_after_any_of_its_words_a_move_is_finished_by_repetition(given):
    one = given.one
    before = records(one)
    for line in (1, 2, 3, 5):
        command = one.popen(SEAWAY, "init", *given.options, stderr=subprocess.PIPE)
        with command as begun:
            for _ in range(line):
                begun.stderr.readline()
            begun.kill()
    done = one.call(SEAWAY, "init", *given.options, timeout=90)
    assert 0 == done.returncode, done.stderr
    after = records(one)
    assert stays(before) == stays(after)
    assert {**before["cluster"], "etcd": given.etcd.urls} == after["cluster"]
    assert "etcd" == told(one, "status")["store"]
    assert 1 == told(one, "status")["endpoints"]
    assert one.run("sh", "-c", f"ls {names.STATE_FOLDER}/store-*.db").split()
    assert 0 != one.call("test", "-e", str(names.STORE_FILE)).returncode

    # The command that it printed lets the next host join, which has its records from etcd too.
    (command,) = (line for line in done.stdout.splitlines() if line.startswith("seaway join"))
    given.three.seaway(*command.split()[1:], timeout=60)
    assert "etcd" == told(given.three, "status")["store"]
    assert "600" == given.three.run("stat", "-c", "%a", f"{names.TRUST_FOLDER}/etcd.pem").strip()


def test_a_host_that_had_its_records_through_the_first_finds_them_in_etcd(given):
    two = given.two
    two.wait_for(
        "its learning of it",
        lambda: "records are in etcd" in two.read(names.LOG_FILE),
    )
    assert "another host" == told(two, "status")["store"]
    two.kill_agent()
    two.start_agent()
    assert "etcd" == told(two, "status")["store"]
    attach(two, "green")
    hosts = {("host1", "blue"), ("host2", "green")}
    given.one.wait_for("the endpoint", lambda: holders(given.one) == hosts)
    assert ["host1", "host2", "host3"] == [h["host"]["name"] for h in told(two, "host", "ls")]


def test_hosts_go_on_without_etcd_and_agree_when_it_is_back(given):
    """One of them begins anew meanwhile."""
    one, two, three = given.one, given.two, given.three
    attach(three, "red")
    one.wait_for("the endpoint", lambda: ("host3", "red") in holders(one))
    given.etcd.stop(three)
    attach(two, "gold")
    three.kill_agent()
    three.start_agent()
    attach(three, "grey")
    three.seaway("detach", "red")

    done = one.call(SEAWAY, "network", "create", "db")
    assert 7 == done.returncode
    assert "the store is lost: etcd does not answer" in done.stderr
    assert "traffic, attach and detach on this host go on" in done.stderr
    two.wait_for("a word", lambda: "etcd does not answer" in told(two, "status")["store_lost"])
    assert 1 == told(two, "status")["unsent"]
    assert "etcd, lost; what runs here goes on" in two.seaway("status")
    assert "lost: etcd does not answer" in two.call(SEAWAY, "doctor").stdout
    assert {("host1", "blue"), ("host2", "green"), ("host3", "red")} == holders(one)
    assert 3 == len(told(one, "host", "ls"))

    given.etcd.start()
    there = {("host1", "blue"), ("host2", "green"), ("host2", "gold"), ("host3", "grey")}
    for host in (one, two, three):
        host.wait_for("the others' endpoints", lambda host=host: holders(host) == there)
        host.wait_for("its store", lambda host=host: has_sent_all(host))
    one.seaway("network", "create", "db")
    three.wait_for("the network", lambda: "db" in three.seaway("network", "ls"))


def test_what_runs_goes_on_while_etcd_is_restored_and_all_agree_afterwards(given):
    """What hosts alone know is as it was; what was changed by a person since is lost."""
    one, two, three = hosts = (given.one, given.two, given.three)
    snapshot = given.pki / "snapshot"
    beats = {host.name: plain(attach(host, CONTAINER)["addresses"]) for host in hosts}
    kept = holders(one) | {(host.name, CONTAINER) for host in hosts}
    one.wait_for("the endpoints", lambda: holders(one) == kept)
    before = {host.name: reached(host) for host in hosts}
    with beating(hosts, beats) as heart:
        assert heart.is_heard(), heart.silent()
        given.etcd.save(snapshot)
        one.seaway("network", "create", "late")
        three.wait_for("the network", lambda: "late" in three.seaway("network", "ls"))
        attach(one, "navy")
        two.seaway("detach", "gold")
        there = (kept | {("host1", "navy")}) - {("host2", "gold")}
        attach(two, "lime", "--network", "late")
        now = there | {("host2", "lime")}
        for host in hosts:
            host.wait_for("the changes", lambda host=host: holders(host) == now)

        given.etcd.kill(three)
        given.etcd.restore(snapshot)
        given.etcd.start()
        for host in hosts:
            host.wait_for("its store", lambda host=host: is_settled(host, there, without="late"))
        assert heart.is_heard(), heart.silent()
        assert [] == heart.end().losses

    assert [True] * 2 == ["no block of it" in leak["problem"] for leak in leaks(one)]
    two.seaway("detach", "lime")
    for host in hosts:
        host.wait_for("its end", lambda host=host: [] == leaks(host))
        host.wait_for("the rest", lambda host=host: before[host.name] == reached(host))
        assert [] == errors(host)


def reached(host):
    """Of others, by the maps of the data plane."""
    evidence = Evidence(host)
    return [evidence.elements(name) for name in ("remotes", "subnets")]


def leaks(host):
    return json.loads(host.call(SEAWAY, "ipam", "check", "-o", "json").stdout)


def plain(addresses):
    return [address.partition("/")[0] for address in addresses]


def is_settled(host, there, without):
    return (
        has_sent_all(host)
        and holders(host) == there
        and without not in host.seaway("network", "ls")
    )


def errors(host):
    """What doctor finds that keeps containers from their network, and failures."""
    found = json.loads(host.call(SEAWAY, "doctor", "-o", "json").stdout)
    return [f["found"] for f in found if f["level"] == "error"] + told(host, "status")["failures"]


def test_a_new_cluster_begins_with_etcd_and_one_may_reach_it_through_the_other(make_lab, tmp_path):
    given = Given(make_lab(hosts=3), tmp_path)
    one, two, three = given.one, given.two, given.three
    given.etcd.start()
    done = one.call(SEAWAY, "init", *given.options, timeout=90)
    assert 0 == done.returncode, done.stderr
    attach(one, "blue")
    one.kill_agent()
    one.start_agent()
    assert ("etcd", 1) == tuple(told(one, "status")[key] for key in ("store", "endpoints"))

    two.run("ip", "route", "add", "unreachable", str(three.address4))
    token = told(one, "token", "create")["token"]
    done = two.call(SEAWAY, "join", token, str(one.address4), timeout=60)
    assert 0 == done.returncode, done.stderr
    assert "etcd is not reached from here" in done.stderr
    assert "another host" == told(two, "status")["store"]
    attach(two, "green")
    one.wait_for("the endpoint", lambda: 1 == told(one, "host", "ls")[1]["endpoints"])

    three.seaway("init", timeout=60)
    done = three.call(SEAWAY, "init", *given.options, timeout=90)
    assert (4, True) == (done.returncode, "there are the records of cluster" in done.stderr)
    three.wait_for("the agent", three.agent_is_ready)
    given.etcd.clear()
