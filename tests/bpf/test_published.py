"""Published ports: from the wire into a container and back, whole frames."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    PadN,
)
from scapy.packet import Packet, Raw

from cast import ANNA, BERT, HOST, SMALL, UNKNOWN, WORLD, Outcome, dropped, passed
from edge import (
    ANY,
    OTHER,
    PROTOCOLS,
    PUBLIC,
    ROUTER_MAC,
    UPLINK_MTU,
    Edge,
    answers,
    arrives,
    leaves,
    piece,
    reaches,
    redirected,
    says,
)
from seaway.bpf import abi

FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("kind", PROTOCOLS)
ASKING, PORT, BACKEND = 40000, 8080, 80


def ask(edge: Edge, family: int, kind: str, port: int = PORT, sport: int = ASKING) -> Outcome:
    return edge.from_wire(arrives(family, PUBLIC[family]) / says(kind, sport, port))


@FAMILIES
@KINDS
@pytest.mark.parametrize("size", [0, 1, 20, 21, 1300])
def test_a_request_reaches_the_backend_with_the_address_of_the_client(edge, family, kind, size):
    edge.publish((PUBLIC[family], PORT), (BERT, BACKEND))
    frame = arrives(family, PUBLIC[family]) / says(kind, ASKING, PORT, size)

    expected = reaches(family, BERT, ttl=63) / says(kind, ASKING, BACKEND, size)
    assert redirected(expected) == edge.from_wire(frame)
    assert redirected(expected) == edge.from_wire(frame)  # by its flow now
    assert 2 == len(edge.flows())


@FAMILIES
@KINDS
@pytest.mark.parametrize("size", [0, 1, 20, 21, 1300])
def test_the_answer_leaves_by_the_uplink_from_the_address_that_was_asked(edge, family, kind, size):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    ask(edge, family, kind)

    answer = answers(family, ANNA) / says(kind, BACKEND, ASKING, size)
    expected = leaves(family, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING, size)
    assert redirected(expected) == edge.send(answer)


@FAMILIES
def test_a_datagram_without_a_checksum_stays_without(edge, family):
    """In IPv6 there is none; a sum that comes to zero is written as ones."""
    if family == 4:
        edge.publish((ANY[4], PORT), (BERT, BACKEND))
        frame = arrives(4, PUBLIC[4]) / says("udp", ASKING, PORT, chksum=0)
        expected = reaches(4, BERT, ttl=63) / says("udp", ASKING, BACKEND, chksum=0)
        assert redirected(expected) == edge.from_wire(frame)
    for tail in range(0x10000 - 40, 0x10000):
        edge.publish((ANY[family], PORT), (BERT, BACKEND))
        body = Raw(tail.to_bytes(2, "big"))
        frame = arrives(family, PUBLIC[family]) / UDP(sport=ASKING, dport=PORT) / body
        expected = reaches(family, BERT, ttl=63) / UDP(sport=ASKING, dport=BACKEND) / body
        assert redirected(expected) == edge.from_wire(frame)


@FAMILIES
@KINDS
def test_what_is_not_published_goes_to_the_host_as_it_came(edge, family, kind):
    edge.publish((OTHER[family], PORT), (BERT, BACKEND))
    for target, port in ((PUBLIC[family], PORT), (OTHER[family], PORT + 1), (WORLD[family], PORT)):
        frame = arrives(family, target) / says(kind, ASKING, port)
        assert passed(frame) == edge.from_wire(frame)
    assert (
        "redirect" == edge.from_wire(arrives(family, OTHER[family]) / says(kind, 1, PORT)).verdict
    )


@FAMILIES
def test_every_address_of_the_host_is_the_hosts_only(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    frame = arrives(family, "192.0.2.99" if family == 4 else "2001:db8::99") / says("tcp", 1, PORT)

    assert passed(frame) == edge.from_wire(frame)


@FAMILIES
def test_nobody_outside_is_one_of_ours(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    for source in (ANNA.address(family), UNKNOWN[family]):
        frame = arrives(family, PUBLIC[family], source) / says("tcp", 1, PORT)
        assert dropped("spoofed_address") == edge.from_wire(frame)


@FAMILIES
@KINDS
def test_two_publications_of_one_port_keep_their_flows_apart(edge, family, kind):
    for port in (PORT, PORT + 1):
        edge.publish((ANY[family], port), (ANNA, BACKEND), sole=False)
    first, second = (ask(edge, family, kind, port) for port in (PORT, PORT + 1))

    assert redirected(reaches(family, ANNA, ttl=63) / says(kind, ASKING, BACKEND)) == first
    other = _source_port(second.frame, family)
    assert other >= 0x8000
    assert other != ASKING
    assert redirected(reaches(family, ANNA, ttl=63) / says(kind, other, BACKEND)) == second
    for port, asked in ((ASKING, PORT), (other, PORT + 1)):
        answer = edge.send(answers(family, ANNA) / says(kind, BACKEND, port))
        expected = leaves(family, PUBLIC[family], ttl=63) / says(kind, asked, ASKING)
        assert redirected(expected) == answer
    assert second == ask(edge, family, kind, PORT + 1)


def _source_port(frame: bytes, family: int) -> int:
    at = 14 + (20 if family == 4 else 40)
    return int.from_bytes(frame[at : at + 2], "big")


@FAMILIES
@KINDS
def test_a_neighbour_asks_by_the_address_of_the_host(edge, family, kind):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    asked = edge.send(answers(family, ANNA, PUBLIC[family]) / says(kind, ASKING, PORT))
    expected = reaches(family, BERT, ANNA.address(family), ttl=63) / says(kind, ASKING, BACKEND)
    assert redirected(expected) == asked

    answer = edge.from_bert(
        answers(family, BERT, ANNA.address(family)) / says(kind, BACKEND, ASKING)
    )
    expected = reaches(family, ANNA, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING)
    assert redirected(expected) == answer


@FAMILIES
@KINDS
def test_a_container_asks_itself_by_the_address_of_the_host(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    asked = edge.send(answers(family, ANNA, PUBLIC[family]) / says(kind, ASKING, PORT))
    expected = reaches(family, ANNA, HOST[family], ttl=63) / says(kind, ASKING, BACKEND)
    assert redirected(expected) == asked

    answer = edge.send(answers(family, ANNA, HOST[family]) / says(kind, BACKEND, ASKING))
    expected = reaches(family, ANNA, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING)
    assert redirected(expected) == answer


@FAMILIES
def test_a_container_that_must_not_reach_its_host_asks_no_published_port(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)

    frame = answers(family, ANNA, PUBLIC[family]) / says("tcp", ASKING, PORT)
    assert dropped("host_closed") == edge.send(frame)


@FAMILIES
@KINDS
def test_what_a_published_container_says_besides_is_not_touched(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND), origin=PUBLIC[family])
    for sport in (ASKING, BACKEND + 1):
        frame = answers(family, ANNA) / says(kind, sport, 443)
        assert passed(frame) == edge.send(frame)
    frame = answers(family, ANNA, BERT.address(family)) / says(kind, BACKEND, 443)
    expected = reaches(family, BERT, ANNA.address(family), ttl=63) / says(kind, BACKEND, 443)
    assert redirected(expected) == edge.send(frame)
    frame = answers(family, ANNA) / says("tcp", BACKEND, 443, flags="S")
    assert passed(frame) == edge.send(frame)
    frame = answers(family, ANNA, PUBLIC[family]) / says(kind, BACKEND, ASKING)
    assert passed(frame) == edge.send(frame)  # to the host itself, which asked


@FAMILIES
@KINDS
def test_a_flow_ends_with_its_publication(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    ask(edge, family, kind)
    edge.unpublish(ANY[family], PORT)

    answer = answers(family, ANNA) / says(kind, BACKEND, ASKING, **opening(kind))
    assert dropped("no_flow") == edge.send(answer)
    frame = arrives(family, PUBLIC[family]) / says(kind, ASKING, PORT)
    assert passed(frame) == edge.from_wire(frame)
    assert {} == edge.flows()


def opening(kind: str) -> dict[str, object]:
    return {"flags": "A"} if kind == "tcp" else {}


@FAMILIES
@KINDS
def test_a_flow_goes_on_when_something_else_changes(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    asked = ask(edge, family, kind)
    edge.publish((ANY[family], PORT + 1), (BERT, BACKEND))

    answer = answers(family, ANNA) / says(kind, BACKEND, ASKING)
    expected = leaves(family, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING)
    assert redirected(expected) == edge.send(answer)
    assert asked == ask(edge, family, kind)


@FAMILIES
@KINDS
def test_a_forgotten_flow_is_made_again_by_the_client_and_by_the_answer(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND), origin=PUBLIC[family])
    asked = ask(edge, family, kind)
    answer = answers(family, ANNA) / says(kind, BACKEND, ASKING, **opening(kind))
    expected = leaves(family, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING, **opening(kind))
    for _ in range(2):
        assert 2 == edge.forget_flows()
        assert redirected(expected) == edge.send(answer)
        assert asked == ask(edge, family, kind)
        assert 2 == edge.forget_flows()
        assert asked == ask(edge, family, kind)


@FAMILIES
@KINDS
def test_an_answer_that_may_belong_to_two_is_refused_when_its_flow_is_forgotten(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND), sole=False)
    ask(edge, family, kind)
    edge.forget_flows()

    answer = answers(family, ANNA) / says(kind, BACKEND, ASKING, **opening(kind))
    assert dropped("no_flow") == edge.send(answer)


@FAMILIES
@KINDS
def test_without_a_token_a_sole_publication_does_without_a_flow(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND), origin=PUBLIC[family])
    for outside in (False, True):
        edge.spend(ANNA.record.ifindex, outside=outside)

    expected = reaches(family, ANNA, ttl=63) / says(kind, ASKING, BACKEND)
    assert redirected(expected) == ask(edge, family, kind)
    answer = answers(family, ANNA) / says(kind, BACKEND, ASKING, **opening(kind))
    expected = leaves(family, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING, **opening(kind))
    assert redirected(expected) == edge.send(answer)
    assert {} == edge.flows()


@FAMILIES
def test_without_a_token_what_needs_a_flow_is_refused(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND), sole=False)
    edge.spend(BERT.record.ifindex, outside=True)

    assert dropped("flow_limit") == ask(edge, family, "udp")


@FAMILIES
def test_who_asks_pays_and_not_who_is_asked(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND), sole=False)
    edge.spend(ANNA.record.ifindex)

    frame = answers(family, ANNA, PUBLIC[family]) / says("udp", ASKING, PORT)
    assert dropped("flow_limit") == edge.send(frame)
    assert "redirect" == ask(edge, family, "udp").verdict


@FAMILIES
def test_the_wire_is_told_what_does_not_fit_and_what_lived_too_long(edge, family):
    edge.publish((ANY[family], PORT), (SMALL, BACKEND))
    fields = {"flags": "DF"} if family == 4 else {}
    large = arrives(family, PUBLIC[family], **fields) / says("tcp", ASKING, PORT, 1350)
    told = ICMP(type=3, code=4, nexthopmtu=1300) if family == 4 else ICMPv6PacketTooBig(mtu=1300)
    assert told_on_wire(large, told, "too_big") == edge.from_wire(large)
    old = arrives(family, PUBLIC[family], ttl=1) / says("tcp", ASKING, PORT)
    told = ICMP(type=11, code=0) if family == 4 else ICMPv6TimeExceeded(code=0)
    assert told_on_wire(old, told, "ttl_exceeded") == edge.from_wire(old)


def told_on_wire(frame: Packet, told: Packet, reason: str) -> Outcome:
    family = 4 if IP in frame else 6
    fields = {"tos": 0xC0, "flags": "DF", "id": 0} if family == 4 else {}
    answer = leaves(family, PUBLIC[family], **fields) / told / Raw(bytes(frame)[14:][:128])
    return Outcome("redirect", bytes(answer), {reason: 1})


@FAMILIES
def test_an_answer_that_does_not_fit_the_uplink_is_told_to_the_container(edge, family):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    ask(edge, family, "udp")
    answer = answers(family, ANNA) / says("udp", BACKEND, ASKING, UPLINK_MTU)
    done = edge.send(answer)

    assert ("redirect", {"too_big": 1}) == (done.verdict, done.drops)
    at = 14 + (20 if family == 4 else 40)
    assert UPLINK_MTU == int.from_bytes(done.frame[at + 4 : at + 8], "big")


@FAMILIES
@KINDS
def test_an_answer_goes_to_a_client_on_the_link_that_the_kernel_has_yet_to_ask_for(
    edge, family, kind
):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    near = "198.51.100.7" if family == 4 else "2001:db8:100::7"
    edge.from_wire(arrives(family, PUBLIC[family], near) / says(kind, ASKING, PORT))

    done = edge.send(answers(family, ANNA, near) / says(kind, BACKEND, ASKING))
    expected = leaves(family, PUBLIC[family], near, ttl=63) / says(kind, PORT, ASKING)
    assert ("redirect", {}) == (done.verdict, done.drops)
    assert bytes(expected)[12:] == done.frame[12:]  # the kernel writes the MACs
    large = answers(family, ANNA, near) / says(kind, BACKEND, ASKING, UPLINK_MTU)
    assert {"too_big": 1} == edge.send(large).drops


@FAMILIES
def test_an_answer_to_where_no_route_leads_is_refused(edge, family):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    nowhere = "203.0.113.9" if family == 4 else "2001:db8:dead::9"
    edge.from_wire(arrives(family, PUBLIC[family], nowhere) / says("tcp", ASKING, PORT))

    answer = answers(family, ANNA, nowhere) / says("tcp", BACKEND, ASKING)
    assert dropped("no_route") == edge.send(answer)


@FAMILIES
@KINDS
@pytest.mark.parametrize("size", [4, 40])
def test_an_error_about_the_answer_reaches_the_container_as_it_knows_it(edge, family, kind, size):
    """A router of the outside cannot pass the answer on. Quoted are 8 bytes of it, or more."""
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    ask(edge, family, kind)
    outside = leaves(family, PUBLIC[family]) / says(kind, PORT, ASKING)
    inside = answers(family, ANNA) / says(kind, BACKEND, ASKING)
    cut = (20 if family == 4 else 40) + (8 if size == 4 else 40)

    def error(head: Packet, about: Packet) -> Packet:
        told = ICMP(type=3, code=1) if family == 4 else ICMPv6DestUnreach(code=3)
        return head / told / Raw(bytes(about)[14:][:cut])

    router = "198.51.100.254" if family == 4 else "2001:db8:100::fe"
    frame = error(arrives(family, PUBLIC[family], router), outside)
    expected = error(reaches(family, ANNA, router, ttl=63), inside)
    assert redirected(expected) == edge.from_wire(frame)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_what_stands_behind_an_error_is_no_part_of_it(edge, kind):
    """Where the quoted header is cut short, a frame's padding does not complete it."""
    edge.publish((ANY[4], PORT), (ANNA, BACKEND))
    ask(edge, 4, kind)

    def error(head: Packet, about: Packet) -> bytes:
        return bytes(head / ICMP(type=3, code=1) / Raw(bytes(about)[14:][:28])) + b"padding" * 5

    outside = leaves(4, PUBLIC[4]) / says(kind, PORT, ASKING)
    inside = answers(4, ANNA) / says(kind, BACKEND, ASKING)
    frame = error(arrives(4, PUBLIC[4]), outside)
    expected = Outcome("redirect", error(reaches(4, ANNA, ttl=63), inside), {})
    assert expected == edge.from_wire(frame)


@KINDS
def test_an_error_quotes_options_of_ipv4_too(edge, kind):
    edge.publish((ANY[4], PORT), (ANNA, BACKEND))
    ask(edge, 4, kind)
    options = {"options": Raw(b"\x01" * 8)}
    outside = leaves(4, PUBLIC[4], **options) / says(kind, PORT, ASKING)
    inside = answers(4, ANNA, **options) / says(kind, BACKEND, ASKING)
    told = ICMP(type=11, code=0)

    frame = arrives(4, PUBLIC[4]) / told / Raw(bytes(outside)[14:])
    expected = reaches(4, ANNA, ttl=63) / told / Raw(bytes(inside)[14:])
    assert redirected(expected) == edge.from_wire(frame)


@FAMILIES
@KINDS
def test_an_error_of_the_container_reaches_the_client_as_it_knows_it(edge, family, kind):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    ask(edge, family, kind)
    outside = arrives(family, PUBLIC[family], ttl=63) / says(kind, ASKING, PORT)
    inside = reaches(family, ANNA, ttl=63) / says(kind, ASKING, BACKEND)

    def error(head: Packet, about: Packet) -> Packet:
        told = ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
        return head / told / Raw(bytes(about)[14:])

    frame = error(answers(family, ANNA), inside)
    expected = error(leaves(family, PUBLIC[family], ttl=63), outside)
    assert redirected(expected) == edge.send(frame)


@FAMILIES
def test_an_error_about_nothing_of_ours_goes_to_the_host(edge, family):
    edge.publish((ANY[family], PORT), (ANNA, BACKEND))
    told = ICMP(type=3, code=1) if family == 4 else ICMPv6DestUnreach(code=3)
    about = bytes(leaves(family, PUBLIC[family]) / says("tcp", 22, ASKING))[14:]
    frame = arrives(family, PUBLIC[family]) / told / Raw(about)

    assert passed(frame) == edge.from_wire(frame)


@FAMILIES
def test_fragments_of_a_translated_flow_follow_their_first(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    outside = bytes(arrives(family, PUBLIC[family]) / says("udp", ASKING, PORT, 100))
    inside = bytes(reaches(family, BERT) / says("udp", ASKING, BACKEND, 100))
    at = 14 + (20 if family == 4 else 40)
    for i in range(3):
        sent = piece(arrives, family, (PUBLIC[family],), outside[at:], i)
        expected = piece(reaches, family, (BERT,), inside[at:], i, ttl=63)
        assert redirected(expected) == edge.from_wire(sent)


def test_later_fragments_follow_where_only_the_first_has_extension_headers(edge):
    edge.publish((ANY[6], PORT), (BERT, BACKEND))
    options = bytes(IPv6ExtHdrDestOpt(nh=17, options=[PadN(optdata=b"\0" * 12)]))
    outside = bytes(arrives(6, PUBLIC[6]) / says("udp", ASKING, PORT, 96))
    inside = bytes(reaches(6, BERT) / says("udp", ASKING, BACKEND, 96))
    for at, more in ((0, 1), (64, 0)):

        def cut(head: Packet, body: bytes, at: int = at, more: int = more) -> Packet:
            part = (options + body[54:])[at : at + 64 if more else None]
            return head / IPv6ExtHdrFragment(id=9, offset=at // 8, m=more, nh=60) / Raw(part)

        expected = cut(reaches(6, BERT, ttl=63), inside)
        assert redirected(expected) == edge.from_wire(cut(arrives(6, PUBLIC[6]), outside))


def test_extension_headers_stand_before_what_is_translated(edge):
    edge.publish((ANY[6], PORT), (BERT, BACKEND))
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
    frame = arrives(6, PUBLIC[6]) / options / says("tcp", ASKING, PORT)

    expected = reaches(6, BERT, ttl=63) / options / says("tcp", ASKING, BACKEND)
    assert redirected(expected) == edge.from_wire(frame)


def test_options_of_ipv4_stand_before_what_is_translated(edge):
    edge.publish((ANY[4], PORT), (BERT, BACKEND))
    frame = arrives(4, PUBLIC[4], options=Raw(b"\x01" * 8)) / says("tcp", ASKING, PORT)

    expected = reaches(4, BERT, ttl=63, options=Raw(b"\x01" * 8)) / says("tcp", ASKING, BACKEND)
    assert redirected(expected) == edge.from_wire(frame)


@FAMILIES
def test_only_frames_for_this_host_are_looked_at(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    frame = arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT)
    frame.dst = ROUTER_MAC

    assert passed(frame) == edge.from_wire(frame)


@FAMILIES
@KINDS
def test_the_host_asks_a_container_that_must_not_ask_it(edge, family, kind):
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    answer = answers(family, ANNA, HOST[family]) / says(kind, BACKEND, ASKING, **opening(kind))
    assert dropped("host_closed") == edge.send(answer)
    asked = reaches(family, ANNA, HOST[family]) / says(kind, ASKING, BACKEND)
    assert "host" == edge.send(asked, "to_endpoint").verdict

    assert passed(answer) == edge.send(answer)
    other = answers(family, ANNA, HOST[family]) / says(kind, BACKEND + 1, ASKING, **opening(kind))
    assert dropped("host_closed") == edge.send(other)


@FAMILIES
@KINDS
def test_the_host_is_answered_late_though_another_container_has_come(edge, family, kind):
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    edge.send(reaches(family, ANNA, HOST[family]) / says(kind, ASKING, BACKEND), "to_endpoint")
    edge.enter(BERT)

    answer = answers(family, ANNA, HOST[family]) / says(kind, BACKEND, ASKING, **opening(kind))
    assert passed(answer) == edge.send(answer)


@FAMILIES
def test_a_ping_of_the_host_is_answered_where_its_ports_are_closed(edge, family):
    edge.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    asks, tells = (8, 0) if family == 4 else (128, 129)
    ping, pong = Raw(bytes([asks, 0]) + bytes(10)), Raw(bytes([tells, 0]) + bytes(10))
    fields = {"proto": 1} if family == 4 else {"nh": 58}
    edge.send(reaches(family, ANNA, HOST[family], **fields) / ping, "to_endpoint")

    answer = answers(family, ANNA, HOST[family], **fields) / pong
    assert passed(answer) == edge.send(answer)
