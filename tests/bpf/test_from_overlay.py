"""From other hosts, out of the overlay's device: whole frames, for every verdict.

Inside a run without a device nobody has taken a packet out of its carrier: so from_overlay takes it
for one that came as it is. What it says of carriers is seen with real packets (tests/netns).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from beyond import (
    DIRECT,
    EXCEEDED,
    FAMILIES,
    FAR,
    LONE,
    NORTH,
    PAYLOADS,
    SOUTH,
    TOO_BIG,
    TUNNEL,
    UNREACHABLE,
    burdens,
    frame_of,
    goes,
    hopped,
    inner,
    portless,
    sends,
)
from cast import (
    ANNA,
    BERT,
    HOST,
    SMALL,
    UNKNOWN,
    Outcome,
    datagram,
    dropped,
    forwarded,
    ip,
    passed,
    segment,
)
from edge import ANY, PROTOCOLS, UPLINK_MTU, WIRE, answers, piece, reaches, redirected, says
from frames import told
from oracle import read
from seaway.names import GATEWAY_MAC


@FAMILIES
@PAYLOADS
def test_what_was_taken_out_of_its_carrier_arrives(beyond, family, payload):
    packet = frame_of(inner(family, NORTH, ANNA.address(family), payload))

    assert forwarded(packet, ANNA) == beyond.from_overlay(packet)


@FAMILIES
def test_what_is_for_the_host_goes_to_its_stack(beyond, family):
    packet = frame_of(inner(family, NORTH, HOST[family], segment()))

    assert passed(packet) == beyond.from_overlay(packet)


@FAMILIES
@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize("way", ["short cut", "device"])
def test_who_asked_by_the_host_before_is_answered_directly_when_he_asks_so(
    beyond, family, kind, way
):
    beyond.publish((ANY[family], 8080), (ANNA, 80))
    beyond.from_overlay(frame_of(inner(family, NORTH, HOST[family], says(kind, 40000, 8080))))
    assert 2 == len(beyond.flows())

    opening = {"flags": "S"} if kind == "tcp" else {}
    asks = frame_of(inner(family, NORTH, ANNA.address(family), says(kind, 40000, 80, **opening)))
    found = beyond.from_overlay(asks) if way == "device" else beyond.from_wire(sends(NORTH, asks))
    assert forwarded(asks, ANNA) == found
    assert {} == beyond.flows()
    answer = answers(family, ANNA, NORTH.address(family)) / says(kind, 80, 40000)
    assert goes(NORTH, hopped(answer)) == portless(beyond.send(answer))


@FAMILIES
def test_fragments_for_a_published_port_follow_their_first(beyond, family):
    beyond.publish((ANY[family], 8080), (ANNA, 80))
    near = NORTH.address(family)
    asked = bytes(ip(family, near, HOST[family]) / says("udp", 40000, 8080, 100))
    led = bytes(reaches(family, ANNA, near) / says("udp", 40000, 80, 100))[14:]
    at = 20 if family == 4 else 40
    for i in range(3):
        frame = frame_of(piece(ip, family, (near, HOST[family]), asked[at:], i))
        expected = piece(reaches, family, (ANNA, near), led[at:], i, ttl=63)
        assert redirected(expected) == beyond.from_overlay(frame)


@FAMILIES
def test_a_fragment_for_the_host_that_comes_before_its_first_is_the_stacks(beyond, family):
    late = piece(ip, family, (NORTH.address(family), HOST[family]), bytes(100), 1)

    assert passed(frame_of(late)) == beyond.from_overlay(frame_of(late))


REFUSED = {
    "of nobody's source": "spoofed_address",
    "of the world": "spoofed_address",
    "of our own endpoint": "spoofed_address",
    "of our own host": "spoofed_address",
    "to another network": "isolated",
    "a neighbour's question": "neighbour",
    "to all": "multicast",
    "to the world": "not_here",
    "to the loopback": "internal",
    "to a link's address": "link_local",
    "cut off": "truncated",
    "damaged": "malformed",
}


@FAMILIES
@pytest.mark.parametrize("case", list(REFUSED))
def test_what_must_not_come_is_refused(beyond, family, case):
    packet = burdens(family)[case]
    assert dropped(REFUSED[case]) == beyond.from_overlay(packet)


@FAMILIES
@pytest.mark.parametrize("kind", PROTOCOLS)
def test_each_of_another_hosts_endpoints_has_tokens_of_its_own(beyond, family, kind):
    """None pays for all that come by the same device."""
    beyond.publish((ANY[family], 8080), (ANNA, 80))
    beyond.spend(TUNNEL)

    def asks(number: int, port: int) -> Outcome:
        near = NORTH.address(family, number)
        packet = ip(family, near, HOST[family]) / says(kind, port, 8080)
        return beyond.from_overlay(frame_of(packet))

    assert "redirect" == asks(7, 40000).verdict
    beyond.spend_all()
    assert dropped("flow_limit") == asks(7, 40001)
    assert ["redirect"] * 63 == [asks(n, 40001).verdict for n in range(64) if n != 7]


def answered_remotely(reason: str, packet: Packet, tells: tuple[int, int, int]) -> Outcome:
    """By our host, to north's endpoint."""
    data = bytes(packet)
    found = read(data, 0)
    body = told(data, found, tells, HOST[found.version])[2:]
    return replace(goes(NORTH, body), drops={reason: 1})


@FAMILIES
def test_what_cannot_go_on_is_answered_to_the_other_host(beyond, family):
    me = ANNA.address(family)
    whole = {"flags": "DF"} if family == 4 else {}
    cases = {
        "ttl_exceeded": (inner(family, NORTH, me, datagram(), ttl=1), EXCEEDED[family]),
        "too_big": (
            inner(family, NORTH, SMALL.address(family), datagram(1310), **whole),
            (*TOO_BIG[family], SMALL.record.mtu),
        ),
        "no_endpoint": (
            inner(family, NORTH, UNKNOWN[family], datagram()),
            UNREACHABLE[family],
        ),
        "no_path": (inner(family, NORTH, LONE.address(family), datagram()), UNREACHABLE[family]),
    }
    for reason, (packet, tells) in cases.items():
        frame = frame_of(packet)
        expected = answered_remotely(reason, frame, tells)
        assert expected == portless(beyond.from_overlay(frame)), reason


@FAMILIES
def test_what_we_relay_to_a_host_that_is_reached_otherwise_is_carried_anew(beyond, family):
    beyond.path(LONE, SOUTH)
    packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))

    assert goes(SOUTH, hopped(packet)) == portless(beyond.from_overlay(packet))


@FAMILIES
def test_what_we_relay_is_carried_though_its_end_is_next_door(beyond, family):
    """Who gets a packet as it is expects it from the very host of its source."""
    beyond.meet(SOUTH, DIRECT)
    packet = frame_of(inner(family, FAR, SOUTH.address(family), datagram()))

    assert goes(SOUTH, hopped(packet)) == portless(beyond.from_overlay(packet))


def test_what_the_receiver_does_not_take_and_may_be_cut_is_the_stacks(beyond):
    packet = frame_of(inner(4, NORTH, SMALL.v4, datagram(1310)))

    assert passed(packet) == beyond.from_overlay(packet)


@pytest.mark.parametrize("to", ["us", "another host"])
def test_behind_a_first_fragment_that_the_stack_is_to_cut_it_gets_the_others_too(beyond, to):
    """At the wire nothing is said of them, though later ones would fit."""
    beyond.path(LONE, NORTH)
    source, target = FAR.address(4), SMALL.v4 if to == "us" else LONE.address(4)
    first = frame_of(ip(4, source, target, id=7, flags="MF") / datagram(UPLINK_MTU - 28))
    later = frame_of(ip(4, source, target, id=7, frag=180, proto=17) / Raw(b"k" * 40))
    for frame in (first, later):
        carrier = sends(NORTH, frame)
        assert passed(carrier) == beyond.from_wire(carrier)
        assert passed(frame) == beyond.from_overlay(frame)


@FAMILIES
def test_what_the_stack_has_cut_of_another_hosts_packet_is_delivered(beyond, family):
    down = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC) / inner(
        family, NORTH, ANNA.address(family), datagram()
    )
    delivered = Ether(src=GATEWAY_MAC, dst=ANNA.mac) / down[1]
    found = beyond.send(down, "to_endpoint", ingress_ifindex=TUNNEL)
    assert Outcome("host", bytes(delivered), {}) == found

    for device in (0, WIRE, BERT.record.ifindex):
        spoofed = beyond.send(down, "to_endpoint", ingress_ifindex=device)
        assert dropped("spoofed_address") == spoofed
