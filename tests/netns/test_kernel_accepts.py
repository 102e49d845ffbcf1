"""Accepts of ours in chains of others, in a namespace of its own; here those of the nft flavour."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.contracts import (
    changes_what_is_there,
    finds_and_repairs_drift,
    one_failure_holds_back_nothing,
    puts_and_deletes,
)

from namespaces import Netns, namespaces
from seaway.kernel.accepts import AcceptTarget
from seaway.model.facts import Barrier, Unguarded
from seaway.model.kernel import Accept

FORWARD, INPUT = ("iptables-nft", "FORWARD"), ("ip6tables-nft", "INPUT")
WANTED = {FORWARD: Accept(("-i swy+", "-o swy+")), INPUT: Accept(("-i swy+",))}


@pytest.fixture
def host() -> Iterator[Netns]:
    with namespaces() as make:
        made = make()
        made.run("iptables-nft -P FORWARD DROP; ip6tables-nft -P INPUT DROP")
        made.run("iptables-nft -A FORWARD -i lan0 -j ACCEPT")
        yield made


@pytest.fixture
def target(host: Netns) -> Iterator[AcceptTarget]:
    made = AcceptTarget(host.path)
    yield made
    made.close()


def test_accepts_keep_the_contract_of_targets(target):
    puts_and_deletes(target, WANTED)
    changes_what_is_there(target, WANTED, {FORWARD: Accept(("-o swy+",))})
    behind = Accept(("-i swy+ -o docker0 -j RETURN", "-i swy+", "-o swy+"))
    changes_what_is_there(target, WANTED, {FORWARD: behind})


def test_dockers_bridges_are_seen_where_nothing_refuses_and_a_drop_of_ours_comes_last(host, target):
    host.run("iptables-nft -P FORWARD ACCEPT; iptables-nft -N DOCKER")
    host.run("iptables-nft -A FORWARD -o docker0 -j DOCKER")
    host.run("iptables-nft -A FORWARD -i docker0 -j ACCEPT")
    docker = Unguarded(program="iptables-nft", bridges=("docker0",))
    assert {docker} == target.observe().unguarded
    wanted = {FORWARD: Accept(("-o docker0 -j DROP",))}
    assert {} == target.put(wanted)

    assert wanted == target.read()
    assert {docker} == target.observe().unguarded
    last = host.run("iptables-nft -S FORWARD").splitlines()[-1]
    assert "-A FORWARD -o docker0 -m comment --comment seaway -j DROP" == last

    host.run("iptables-nft -P FORWARD DROP")
    assert frozenset() == target.observe().unguarded


@pytest.mark.parametrize(
    "damage",
    [
        "iptables-nft -F FORWARD",
        "iptables-nft -D FORWARD 2",
        "iptables-nft -A FORWARD -i swy+ -m comment --comment seaway -j ACCEPT",
        "iptables-nft -I FORWARD -m comment --comment seaway -j DROP",
        'iptables-nft -I FORWARD -m comment --comment seaway -j LOG --log-prefix "a\\\\b"',
        "iptables-nft -I INPUT -s 192.0.2.1 -m comment --comment seaway -j ACCEPT",
    ],
)
def test_what_others_do_to_them_is_found_and_mended(host, target, damage):
    finds_and_repairs_drift(target, WANTED, lambda: host.run(damage))


def test_ours_come_first_and_the_rules_of_others_stay(host, target):
    assert {} == target.put(WANTED)
    rules = host.run("iptables-nft -S FORWARD").splitlines()
    assert [
        "-P FORWARD DROP",
        "-A FORWARD -i swy+ -m comment --comment seaway -j ACCEPT",
        "-A FORWARD -o swy+ -m comment --comment seaway -j ACCEPT",
        "-A FORWARD -i lan0 -j ACCEPT",
    ] == rules
    assert {} == target.delete(set(WANTED))
    assert [rules[0], rules[3]] == host.run("iptables-nft -S FORWARD").splitlines()


def test_a_chain_that_is_gone_fails_alone(target):
    one_failure_holds_back_nothing(
        target, WANTED, {("iptables-nft", "DOCKER-USER"): Accept(("-i swy+",))}
    )


def test_firewalls_are_looked_at_again_only_when_something_changed(host, target):
    assert target.stirred()
    drops = {Barrier(program=program, chain=chain) for program, chain in (FORWARD, INPUT)}
    assert drops == target.observe().barriers
    assert not target.stirred()
    host.run("iptables-nft -N DOCKER-USER; iptables-nft -I FORWARD -j DOCKER-USER")
    assert target.stirred()
    (asks,) = target.observe().barriers - drops
    assert (True, ()) == (asks.docker_user, asks.bridges)
    host.run("iptables-nft -N DOCKER; iptables-nft -A FORWARD -o docker0 -j DOCKER")
    (asks,) = target.observe().barriers - drops
    assert ("docker0",) == asks.bridges


def test_a_table_that_is_none_of_iptables_hides_no_other(host, target):
    host.run("nft -f -", text="table ip filter { set s { type ipv4_addr; }; }")
    host.run("nft -f -", text="table ip filter { chain x { ip saddr @s meta cpu 1 accept; }; }")
    assert {INPUT} <= {(b.program, b.chain) for b in target.observe().barriers}
    assert {} == target.put({INPUT: WANTED[INPUT]})
    assert WANTED[INPUT] == target.read()[INPUT]


def test_looking_makes_no_table():
    with namespaces() as make:
        empty = make()
        other = AcceptTarget(empty.path)
        assert set() == other.observe().barriers
        assert {} == other.read()
        other.close()
        assert "" == empty.run("nft list ruleset")
        assert "" == empty.run("cat /proc/net/ip_tables_names")
