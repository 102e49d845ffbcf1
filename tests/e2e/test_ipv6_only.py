"""A cluster on whose wire there is no IPv4, with a network that has none either; and its etcd, in
which five hosts vote in the end. The tests go on where the one before ended.

┌── host1 ──┐   ┌── host2 ──┐   ┌── host3 ──┐   ┌── host4 ──┐   ┌── host5 ──┐
│  etcd     │   │  etcd     │   │  etcd     │   │  later    │   │  later    │
└─────┬─────┘   └─────┬─────┘   └─────┬─────┘   └─────┬─────┘   └─────┬─────┘
──────┴────── wire ───┴── IPv6 alone ─┴───────────────┴───────────────┴──────
"""

from __future__ import annotations

import json
from ipaddress import ip_interface
from itertools import permutations

import pytest
from tests.e2e.conftest import Bare
from tests.voters import is_created, members, networks, pid_of_etcd, voters

import placed
from seaway import lab as labs


def told(host, *words):
    return json.loads(host.seaway(*words, "-o", "json"))


@pytest.fixture(scope="module")
def lab(make_module_lab):
    """The first host is set up."""
    made = make_module_lab(hosts=5)
    for host in made.hosts:
        host.run("ip", "-4", "addr", "flush", "dev", "eth0")
    made.hosts[0].seaway("init", "--etcd", "own", timeout=90)
    return made


def join(first, *hosts):
    """As the command is printed."""
    command = first.seaway("token", "create", "--control").split()
    assert ["seaway", "join", str(first.address6)] == [*command[:2], command[3]]
    for host in hosts:
        host.seaway(*command[1:], timeout=60)


def names_of(hosts):
    return [host.name for host in hosts]


def all_vote(hosts):
    """As the first of them says, and its member of etcd."""
    one = hosts[0]
    wanted = dict.fromkeys(names_of(hosts), True)
    one.wait_for("all votes", lambda: wanted == members(one, one.address6))
    one.wait_for("its being told", lambda: names_of(hosts) == voters(one))


def test_hosts_join_and_run_an_etcd(lab):
    one, *others = hosts = lab.hosts[:3]
    join(one, *others)
    all_vote(hosts)
    reached = [report["host"]["underlay"] for report in told(one, "host", "ls")]
    assert [[str(host.address6)] for host in hosts] == reached


@pytest.fixture(scope="module")
def containers(lab):
    """One on each of the three hosts, by its addresses."""
    found = {}
    lab.hosts[0].seaway("network", "create", "six", "--family", "6")
    for host in lab.hosts[:3]:
        host.wait_for("the network", lambda host=host: "six" in networks(host))
        host.run("ip", "netns", "add", "blue")
        made = told(host, "attach", "blue", "--network", "six", "--name", "blue")
        (address,) = (ip_interface(each).ip for each in made["addresses"])
        found[address] = Bare(host, "blue")
    return found


def all_reach(containers):
    for (_, one), (address, _) in permutations(containers.items(), 2):
        one.host.wait_for(f"a ping to {address}", lambda a=address, one=one: one.reaches(a))


def via(host, other):
    found = (r.via for r in placed.client(host).hosts() if r.host.name == other.name)
    return next(found)


def test_containers_reach_each_other_directly_and_through_a_relay(lab, containers):
    one, two, three = lab.hosts[:3]
    assert {6} == {address.version for address in containers}
    all_reach(containers)
    labs.link((one.name, three.name), "down", name=lab.name)
    for host, other in ((one, three), (three, one)):
        host.wait_for("a relay", lambda h=host, o=other: two.name == via(h, o))
    all_reach(containers)
    labs.link((one.name, three.name), "up", name=lab.name)


def test_two_of_five_voters_die_and_changes_go_on(lab):
    one, two, *others = lab.hosts
    join(one, *lab.hosts[3:])
    all_vote(lab.hosts)
    for host in (one, two):
        etcd = pid_of_etcd(host)
        host.kill_agent()
        host.run("kill", "-KILL", etcd)
    others[0].wait_for("its store", lambda: is_created(others[0], "late"))
    for host in others:
        host.wait_for("the network", lambda host=host: "late" in networks(host))
