"""What published ports leave alone: the host's loopback, others' connections, and direct ones."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, PadN

from cast import ANNA, BERT, HOST, Outcome, dropped, passed
from edge import (
    ANY,
    LOOPBACK,
    PROTOCOLS,
    PUBLIC,
    answers,
    arrives,
    leaves,
    reaches,
    redirected,
    says,
)

FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("kind", PROTOCOLS)
ASKING, PORT, BACKEND = 40000, 8080, 80


def flagged(flags: str) -> dict[str, object]:
    return {"flags": flags}


@FAMILIES
@KINDS
def test_a_port_of_the_loopback_is_not_reached_from_outside(edge, family, kind):
    """The kernel would drop such a packet as a martian, but we see it first (CVE-2020-8558)."""
    for place in (LOOPBACK[family], ANY[family]):
        edge.publish((place, PORT), (ANNA, BACKEND))
        frame = arrives(family, LOOPBACK[family]) / says(kind, ASKING, PORT)
        assert passed(frame) == edge.from_wire(frame)
    assert {} == edge.flows()


@FAMILIES
def test_the_answer_to_a_connection_from_here_is_no_question(edge, family):
    """Out of a port that is a published one besides; what follows it is the host's, too."""
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    for flags in ("SA", "A", "PA", "FA", "A"):
        frame = arrives(family, PUBLIC[family]) / says("tcp", 443, PORT, **flagged(flags))
        assert passed(frame) == edge.from_wire(frame)

    opens = arrives(family, PUBLIC[family]) / says("tcp", 443, PORT, **flagged("S"))
    expected = reaches(family, BERT, ttl=63) / says("tcp", 443, BACKEND, **flagged("S"))
    assert redirected(expected) == edge.from_wire(opens)
    follows = arrives(family, PUBLIC[family]) / says("tcp", 443, PORT, **flagged("A"))
    expected = reaches(family, BERT, ttl=63) / says("tcp", 443, BACKEND, **flagged("A"))
    assert redirected(expected) == edge.from_wire(follows)


def opening(kind: str) -> dict[str, object]:
    return {"flags": "S"} if kind == "tcp" else {}


@FAMILIES
@KINDS
def test_who_asked_by_the_host_before_is_answered_directly_when_he_asks_so(edge, family, kind):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    edge.send(answers(family, ANNA, PUBLIC[family]) / says(kind, ASKING, PORT))
    assert 2 == len(edge.flows())

    near, mine = BERT.address(family), ANNA.address(family)
    asked = edge.send(answers(family, ANNA, near) / says(kind, ASKING, BACKEND, **opening(kind)))
    expected = reaches(family, BERT, mine, ttl=63) / says(kind, ASKING, BACKEND, **opening(kind))
    assert redirected(expected) == asked
    assert {} == edge.flows()
    answer = edge.from_bert(answers(family, BERT, mine) / says(kind, BACKEND, ASKING))
    expected = reaches(family, ANNA, near, ttl=63) / says(kind, BACKEND, ASKING)
    assert redirected(expected) == answer


@FAMILIES
@KINDS
def test_the_host_is_answered_from_whose_port_a_container_asked_itself(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    edge.send(answers(family, ANNA, PUBLIC[family]) / says(kind, ASKING, PORT))
    assert 2 == len(edge.flows())
    asked = reaches(family, ANNA, HOST[family]) / says(kind, ASKING, BACKEND, **opening(kind))
    assert "host" == edge.send(asked, "to_endpoint").verdict

    answer = answers(family, ANNA, HOST[family]) / says(kind, BACKEND, ASKING)
    assert passed(answer) == edge.send(answer)
    assert {} == edge.flows()


@FAMILIES
def test_a_stream_goes_on_whatever_else_is_said_directly(edge, family):
    """Only who opens a connection, or sends a datagram, asks anew."""
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    edge.send(answers(family, ANNA, PUBLIC[family]) / says("tcp", ASKING, PORT))
    stray = answers(family, ANNA, BERT.address(family))
    edge.send(stray / says("tcp", ASKING, BACKEND, **flagged("A")))

    assert 2 == len(edge.flows())


@FAMILIES
def test_who_is_asked_too_often_may_still_ask(edge, family):
    """Its answers do not spend what it asks with."""
    edge.publish((ANY[family], PORT), (ANNA, BACKEND), origin=PUBLIC[family])
    edge.publish((ANY[family], PORT + 1), (BERT, BACKEND), sole=False)
    edge.spend(ANNA.record.ifindex, outside=True)
    edge.spend(ANNA.record.ifindex, left=1)
    for sport in range(ASKING, ASKING + 5):
        edge.from_wire(arrives(family, PUBLIC[family]) / says("tcp", sport, PORT))
        answer = answers(family, ANNA) / says("tcp", BACKEND, sport, **flagged("SA"))
        expected = leaves(family, PUBLIC[family], ttl=63)
        expected = expected / says("tcp", PORT, sport, **flagged("SA"))
        assert redirected(expected) == edge.send(answer)

    frame = answers(family, ANNA, PUBLIC[family]) / says("udp", ASKING, PORT + 1)
    assert "redirect" == edge.send(frame).verdict


@pytest.mark.parametrize("broken", ["extensions", "cut"])
def test_nobody_outside_is_one_of_ours_however_strange_his_packet(edge, broken):
    head = arrives(6, PUBLIC[6], ANNA.v6)
    if broken == "cut":
        frame = bytes(head / says("tcp", 1, 22))[:60]
    else:
        for _ in range(8):
            head = head / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
        frame = bytes(head / says("tcp", 1, 22))

    assert dropped("spoofed_address") == edge.from_wire(frame)


def test_options_that_nobody_follows_are_the_hosts(edge):
    frame = bytes(arrives(4, PUBLIC[4]))[:14] + b"\x43" + bytes(30)

    assert Outcome("pass", frame, {}).frame == edge.from_wire(frame).frame


@FAMILIES
def test_a_flow_ends_with_the_address_that_was_asked(edge, family):
    """As a virtual address moves to another host (VRRP)."""
    edge.publish((ANY[family], PORT), (ANNA, BACKEND), sole=False)
    edge.from_wire(arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT))
    edge.lose(PUBLIC[family])

    answer = answers(family, ANNA) / says("tcp", BACKEND, ASKING, **flagged("A"))
    assert dropped("no_flow") == edge.send(answer)
