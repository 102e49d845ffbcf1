"""The etcd that Seaway runs itself: its voters come and go with control hosts. The tests go on
where the one before ended.

┌── host1 ──┐   ┌── host2 ──┐   ┌── host3 ──┐   as they become control hosts; each behind
│  etcd     │   │  etcd     │   │  etcd     │   a firewall that drops what it does not know
└─────┬─────┘   └─────┬─────┘   └─────┬─────┘
──────┴────── wire ───┴───────────────┴──────
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.masters import refuse_unasked
from tests.voters import (
    is_created,
    members,
    networks,
    pid_of_etcd,
    shown_serial,
    voters,
)

import placed
from seaway import names
from seaway.lab.hosts import SEAWAY
from seaway.trust.certificates import Identity
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper


def told(host, *words):
    return json.loads(host.seaway(*words, "-o", "json"))


def join(host, first, *options):
    token = told(first, "token", "create", *options)["token"]
    host.seaway("join", token, str(first.address4), timeout=60)


def attach(host, name):
    host.run("ip", "netns", "add", name)
    return told(host, "attach", name, "--name", name)


@pytest.fixture(scope="module")
def hosts(make_module_lab):
    """The first has its records in a file of its own."""
    lab = make_module_lab(hosts=3)
    for host in lab.hosts:
        refuse_unasked(host)
    lab.hosts[0].seaway("init", timeout=60)
    return lab.hosts


def test_a_move_whose_last_step_fails_is_undone_and_the_agent_begins_anew(hosts):
    one, member = hosts[0], str(names.MEMBER_FILE)
    one.run("mount", "--bind", member, member)  # so no other file takes its place
    done = one.call(SEAWAY, "init", "--etcd", "own", timeout=90)
    one.run("umount", member)
    assert (10, True) == (done.returncode, "member.json" in done.stderr), done.stderr
    one.wait_for("the agent", one.agent_is_ready, within=20)
    assert "sqlite" == told(one, "status")["store"]
    assert [] == one.run("ls", "-A", str(names.ETCD_FOLDER)).split()
    assert ":2379" not in one.run("ss", "-Hltn")


def test_records_move_into_an_etcd_that_seaway_runs(hosts):
    one = hosts[0]
    one.seaway("init", "--etcd", "own", timeout=90)
    assert "etcd" == told(one, "status")["store"]
    assert {"host1": True} == members(one)
    attach(one, "blue")
    before = pid_of_etcd(one)
    assert "set up already" in one.call(SEAWAY, "init", "--etcd", "own", timeout=60).stderr
    one.kill_agent()
    one.start_agent()
    assert before == pid_of_etcd(one)
    one.run("kill", "-KILL", before)
    one.wait_for("another one", lambda: members(one) and pid_of_etcd(one) != before)
    one.wait_for("its store", lambda: is_created(one, "web"))


def test_the_second_learns_until_the_third_is_there(hosts):
    one, two, three = hosts
    join(two, one, "--control")
    one.wait_for("the learner", lambda: members(one) == {"host1": True, "host2": False})
    join(three, one, "--control")
    one.wait_for("three voters", lambda: members(one) == dict.fromkeys(names_of(hosts), True))
    one.wait_for("its being told", lambda: 3 == len(voters(one)))
    two.wait_for("its being told", lambda: 3 == len(voters(two)))


def names_of(hosts):
    return [host.name for host in hosts]


def test_where_firewalls_drop_all_that_hosts_need_of_each_other_passes(hosts):
    """They joined, and their etcd votes, by what was let through already."""
    attach(hosts[2], "red")
    for host, name, others in ((hosts[0], "blue", hosts[2:]), (hosts[2], "red", hosts[:2])):
        host.wait_for("its links", lambda host=host: names_of(hosts) == met(host))
        for other in others:
            for address in addresses(other):
                ping = ("ip", "netns", "exec", name, "ping", "-nqc1", "-W2", "-s3000", address)
                host.wait_for(address, lambda ping=ping, host=host: not host.call(*ping).returncode)
    for host in hosts:
        for program in ("iptables", "ip6tables"):
            assert "-P INPUT DROP" in host.run(f"{program}-nft", "-S", "INPUT")


def addresses(host):
    """Of the host in the cluster, and of its containers."""
    endpoints = [report["endpoint"]["addresses"] for report in told(host, "endpoint", "ls")]
    inside = [address.partition("/")[0] for each in endpoints for address in each]
    return [*told(host, "status")["addresses"], *inside]


def met(host):
    """With whom its `routed` has a session, and itself."""
    links = placed.client(host).links().links
    return sorted([host.name, *(link.host for link in links if link.up and link.session)])


def test_a_renewed_certificate_is_shown_by_etcd_and_no_session_ends(hosts):
    one, two, _ = hosts
    before, ended = pid_of_etcd(one), one.read(names.ROUTED_LOG_FILE).count("session ended")
    new = renewed(one)
    assert {new} == {shown_serial(two, one, p) for p in (names.ETCD_PORT, names.ETCD_PEER_PORT)}
    assert dict.fromkeys(names_of(hosts), True) == members(one)
    one.wait_for("routed", lambda: "another certificate" in one.read(names.ROUTED_LOG_FILE))
    assert names_of(hosts) == met(one)
    assert ended == one.read(names.ROUTED_LOG_FILE).count("session ended")
    two.run("kill", "-KILL", pid_of_etcd(two))  # so members meet anew
    two.wait_for("its store", lambda: is_created(two, "new") and members(two))
    assert before == pid_of_etcd(one)


def renewed(host):
    """The serial number of the certificate that it has now, as by its agent."""
    keeper = Keeper(Folder(placed.inside(host, names.TRUST_FOLDER)))
    was = keeper.certificate()
    identity = Identity(was.cluster, was.host, tuple(was.addresses))
    keeper.take(keeper.sign(keeper.renewal(), identity))
    assert was.serial != keeper.certificate().serial
    return keeper.certificate().serial


def test_one_of_three_is_missed_by_nobody(hosts):
    one, two, three = hosts
    one.run("ip", "link", "set", "eth0", "down")
    attach(three, "rust")
    two.wait_for("its store", lambda: is_created(two, "db"))
    one.run("ip", "link", "set", "eth0", "up")
    one.wait_for("the network", lambda: "db" in one.seaway("network", "ls"))


def test_a_dead_host_is_removed_by_two_at_once_and_an_odd_number_votes(hosts):
    one, two, three = hosts
    one.kill_agent()
    one.run("kill", "-KILL", pid_of_etcd(one))
    with ThreadPoolExecutor(2) as pool:
        assert {0, 3} >= set(pool.map(removed, (two, three)))
    two.wait_for("one voter", lambda: members(two) == {"host2": True, "host3": False})
    two.wait_for("its store", lambda: is_created(two, "late"))
    two.wait_for("its being told", lambda: ["host2"] == voters(two))
    assert 3 == removed(two)
    two.wait_for("the rest", lambda: {"host3"} == {b["host"] for b in told(two, "ipam", "show")})


def removed(host):
    """Status of the command that takes host1 away, once the store answers. 3: there was none, for
    whoever came late, or was not told that it was done.
    """
    ends = []

    def answered():
        ends.append(host.call(SEAWAY, "host", "rm", "host1", "--force", timeout=60).returncode)
        return ends[-1] in {0, 3}

    host.wait_for("its removal", answered)
    return ends[-1]


def test_the_only_voter_leaves_and_the_learner_votes(hosts):
    _, two, three = hosts
    done = two.call(SEAWAY, "uninstall", "--yes", timeout=60)
    assert (4, True) == (done.returncode, "other hosts have their records" in done.stderr)
    two.seaway("leave", timeout=60)
    assert ":2379" not in two.run("ss", "-Hltn")
    three.wait_for("its vote", lambda: members(three) == {"host3": True})
    three.wait_for("its store", lambda: is_created(three, "last"))
    assert {"late", "last"} < networks(three)
    three.wait_for(
        "who left", lambda: ["host3"] == [h["host"]["name"] for h in told(three, "host", "ls")]
    )
    done = three.call(SEAWAY, "leave", "--force", timeout=60)
    assert (4, True) == (done.returncode, "only one of its cluster" in done.stderr)
