"""What must not be had by way of a published port, or of a flow that is remembered."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest
from scapy.packet import Packet, Raw

from cast import ANNA, BERT, CARL, HOST, UNKNOWN, dropped, passed
from edge import ANY, OTHER, PROTOCOLS, PUBLIC, answers, arrives, leaves, reaches, says
from seaway.bpf import abi

FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("kind", PROTOCOLS)
ASKING, PORT, BACKEND = 40000, 8080, 80
NOBODY = {  # that a router would carry
    4: ("127.0.0.1", "0.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.169.254", "169.254.1.1"),
    6: ("::1", "::", "ff02::1", "fe80::1"),
}


def error(family: int, head: Packet, about: Packet) -> Packet:
    told = ICMP(type=3, code=1) if family == 4 else ICMPv6DestUnreach(code=3)
    return head / told / Raw(bytes(about)[14:])


@FAMILIES
@KINDS
def test_a_client_on_the_wire_has_an_address_of_the_outside(edge, family, kind):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    for source in (*NOBODY[family], PUBLIC[family], OTHER[family], CARL.address(family)):
        frame = arrives(family, PUBLIC[family], source) / says(kind, ASKING, PORT)
        assert passed(frame) == edge.from_wire(frame)
    assert {} == edge.flows()


@FAMILIES
def test_who_tells_an_error_on_the_wire_has_an_address_of_the_outside(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    edge.from_wire(arrives(family, PUBLIC[family]) / says("udp", ASKING, PORT))
    answer = leaves(family, PUBLIC[family]) / says("udp", PORT, ASKING)
    for source in (*NOBODY[family], PUBLIC[family]):
        frame = error(family, arrives(family, PUBLIC[family], source), answer)
        assert passed(frame) == edge.from_wire(frame)


@FAMILIES
def test_a_container_tells_no_error_about_what_was_not_sent_to_it(edge, family):
    """Else it could end the connections of others, or speak into a network closed to it."""
    for actor in (ANNA, BERT):
        edge.publish((ANY[family], PORT + actor.record.ifindex), (actor, BACKEND))
    port = PORT + BERT.record.ifindex
    edge.from_wire(arrives(family, PUBLIC[family]) / says("udp", ASKING, port))
    frame = error(
        family,
        answers(family, ANNA),
        reaches(family, BERT) / says("udp", ASKING, BACKEND),
    )
    assert passed(frame) == edge.send(frame)

    edge.from_bert(answers(family, BERT, PUBLIC[family]) / says("udp", ASKING, port - 101))
    frame = error(
        family,
        answers(family, ANNA, PUBLIC[family]),
        reaches(family, BERT, PUBLIC[family]) / says("udp", port - 101, ASKING),
    )
    assert passed(frame) == edge.send(frame)


@FAMILIES
def test_a_closed_container_tells_its_host_no_error_about_what_another_was_asked(edge, family):
    for actor in (ANNA, BERT):
        edge.enter(actor, flags=abi.ENDPOINT_HOST_CLOSED)
    asked = reaches(family, BERT, HOST[family]) / says("udp", ASKING, BACKEND)
    known = {"ifindex": BERT.record.ifindex}
    assert "host" == edge.send(asked, "to_endpoint", **known).verdict

    frame = error(family, answers(family, ANNA, HOST[family]), asked)
    assert dropped("host_closed") == edge.send(frame)
    frame = error(family, answers(family, BERT, HOST[family]), asked)
    assert passed(frame) == edge.from_bert(frame)


def test_a_redirect_is_not_translated(edge):
    edge.publish((ANY[4], PORT), (ANNA, BACKEND))
    edge.from_wire(arrives(4, PUBLIC[4]) / says("udp", ASKING, PORT))
    for head, about in (
        (arrives(4, PUBLIC[4]), leaves(4, PUBLIC[4]) / says("udp", PORT, ASKING)),
        (answers(4, ANNA), reaches(4, ANNA) / says("udp", ASKING, BACKEND)),
    ):
        frame = head / ICMP(type=5, code=1, gw="192.0.2.66") / Raw(bytes(about)[14:])
        send = edge.send if head.src == ANNA.mac else edge.from_wire
        assert passed(frame) == send(frame)


@FAMILIES
def test_an_error_about_a_flow_that_has_ended_is_none_of_ours(edge, family):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    edge.from_wire(arrives(family, PUBLIC[family]) / says("udp", ASKING, PORT))
    edge.unpublish(ANY[family], PORT)

    about = leaves(family, PUBLIC[family]) / says("udp", PORT, ASKING)
    frame = error(family, arrives(family, PUBLIC[family]), about)
    assert passed(frame) == edge.from_wire(frame)


@FAMILIES
@KINDS
def test_without_a_token_a_neighbour_is_refused_as_its_answer_would_go_astray(edge, family, kind):
    edge.publish((ANY[family], PORT), (BERT, BACKEND), origin=PUBLIC[family])
    edge.spend(ANNA.record.ifindex)

    frame = answers(family, ANNA, PUBLIC[family]) / says(kind, ASKING, PORT)
    assert dropped("flow_limit") == edge.send(frame)


@FAMILIES
@KINDS
def test_without_a_token_no_flow_goes_the_way_of_another(edge, family, kind):
    """One port, two addresses of the host: an answer can look like one of them only."""
    edge.publish((ANY[family], PORT), (BERT, BACKEND), origin=PUBLIC[family])
    first = edge.from_wire(arrives(family, OTHER[family]) / says(kind, ASKING, PORT))
    edge.spend(BERT.record.ifindex, outside=True)

    assert "redirect" == first.verdict
    for asked, sport in ((PUBLIC[family], ASKING), (OTHER[family], ASKING + 1)):
        frame = arrives(family, asked) / says(kind, sport, PORT)
        assert dropped("flow_limit") == edge.from_wire(frame)
    frame = arrives(family, PUBLIC[family]) / says(kind, ASKING + 1, PORT)
    assert "redirect" == edge.from_wire(frame).verdict


@FAMILIES
def test_an_answer_that_nobody_waits_for_opens_no_way_that_is_closed(edge, family):
    """From its published port a container gets no further than from any other."""
    edge.publish((ANY[family], PORT), (ANNA, BACKEND), origin=PUBLIC[family])
    for target, reason in (
        (NOBODY[family][-1], "link_local"),
        ("224.0.0.1" if family == 4 else "ff0e::1", "multicast"),
        ("127.0.0.1" if family == 4 else "::1", "internal"),
    ):
        for kind in PROTOCOLS:
            frame = answers(family, ANNA, target) / says(kind, BACKEND, ASKING, **opening(kind))
            assert dropped(reason) == edge.send(frame)
    done = edge.send(answers(family, ANNA, UNKNOWN[family]) / says("udp", BACKEND, ASKING))
    assert ("redirect", {"no_endpoint": 1}) == (done.verdict, done.drops)
    assert {} == edge.flows()


def opening(kind: str) -> dict[str, object]:
    return {"flags": "A"} if kind == "tcp" else {}


@FAMILIES
def test_who_may_answer_the_host_may_not_ask_it(edge, family):
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    edge.send(reaches(family, ANNA, HOST[family]) / says("tcp", ASKING, BACKEND), "to_endpoint")
    edge.send(reaches(family, ANNA, HOST[family]) / ping(family), "to_endpoint")
    assert 4 == len(edge.flows())

    opens = answers(family, ANNA, HOST[family]) / says("tcp", BACKEND, ASKING, flags="S")
    assert dropped("host_closed") == edge.send(opens)
    assert dropped("host_closed") == edge.send(answers(family, ANNA, HOST[family]) / ping(family))


def ping(family: int) -> Packet:
    return ICMP(type=8) if family == 4 else ICMPv6EchoRequest()


@FAMILIES
def test_an_error_of_the_host_is_no_question(edge, family):
    """A container makes the host tell one, by a packet that lives too short."""
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    about = answers(family, ANNA) / says("udp", ASKING, BACKEND)
    told = error(family, reaches(family, ANNA, HOST[family]), about)

    assert "host" == edge.send(told, "to_endpoint").verdict
    assert {} == edge.flows()


@FAMILIES
def test_a_flow_ends_with_the_container_that_asked(edge, family):
    """Its address may be another's by now: nobody answers that one."""
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    edge.enter(ANNA, network=3)
    asked = answers(family, ANNA, PUBLIC[family]) / says("udp", ASKING, PORT)
    assert "redirect" == edge.send(asked).verdict
    edge.enter(ANNA, network=3, container=77)

    answer = answers(family, BERT, ANNA.address(family)) / says("udp", BACKEND, ASKING)
    assert dropped("isolated") == edge.from_bert(answer)
    assert {} == edge.flows()


@FAMILIES
def test_another_container_does_not_answer_the_host_for_the_one_that_was_asked(edge, family):
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    asked = reaches(family, ANNA, HOST[family]) / says("udp", ASKING, BACKEND)
    edge.send(asked, "to_endpoint")
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED, container=77)

    answer = answers(family, ANNA, HOST[family]) / says("udp", BACKEND, ASKING)
    assert dropped("host_closed") == edge.send(answer)


@FAMILIES
@KINDS
def test_who_is_asked_too_often_may_still_ask(edge, family, kind):
    edge.publish((ANY[family], PORT), (BERT, BACKEND), sole=False)
    edge.publish((ANY[family], PORT + 1), (ANNA, BACKEND))
    edge.spend(BERT.record.ifindex, outside=True)
    asked = arrives(family, PUBLIC[family]) / says(kind, ASKING, PORT)
    assert dropped("flow_limit") == edge.from_wire(asked)

    frame = answers(family, BERT, PUBLIC[family]) / says(kind, ASKING, PORT + 1)
    assert "redirect" == edge.from_bert(frame).verdict


@FAMILIES
def test_two_processors_that_spend_the_last_token_do_not_make_it_many(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    edge.spend(ANNA.record.ifindex, left=-1)

    frame = answers(family, ANNA, PUBLIC[family]) / says("udp", ASKING, PORT)
    assert dropped("flow_limit") == edge.send(frame)
