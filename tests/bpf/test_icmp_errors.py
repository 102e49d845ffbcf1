"""What a container is told when its packet cannot go on: whole answers, and when there is none."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    PadN,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cast import (
    ANNA,
    BERT,
    CARL,
    HOST,
    SMALL,
    UNKNOWN,
    Outcome,
    World,
    datagram,
    dropped,
    ip,
    segment,
    sent,
)
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PAYLOADS = pytest.mark.parametrize("payload", [datagram, segment])
QUOTED = 128
GATEWAY = {4: str(GATEWAY4), 6: str(GATEWAY6)}
ERRORS = {
    ("too_big", 4): lambda: ICMP(type=3, code=4, nexthopmtu=1300),
    ("too_big", 6): lambda: ICMPv6PacketTooBig(mtu=1300),
    ("ttl_exceeded", 4): lambda: ICMP(type=11, code=0),
    ("ttl_exceeded", 6): lambda: ICMPv6TimeExceeded(code=0),
    ("no_endpoint", 4): lambda: ICMP(type=3, code=1),
    ("no_endpoint", 6): lambda: ICMPv6DestUnreach(code=3),
}


def error(reason: str, frame: Packet, source: dict[int, str] = GATEWAY) -> Outcome:
    family = 4 if IP in frame else 6
    fields = {"tos": 0xC0, "flags": "DF", "id": 0} if family == 4 else {}
    packet = bytes(frame)[14:]
    answer = (
        Ether(src=GATEWAY_MAC, dst=ANNA.mac)
        / ip(family, source[family], ANNA.address(family), **fields)
        / ERRORS[reason, family]()
        / Raw(packet[:QUOTED])
    )
    return Outcome("redirect", bytes(answer), {reason: 1})


def too_long(family: int, payload: Packet) -> Packet:
    fields = {"flags": "DF"} if family == 4 else {}
    return sent(family, SMALL.address(family), **fields) / payload


@FAMILIES
@PAYLOADS
def test_what_does_not_fit_is_answered_with_the_mtu(world, family, payload):
    for size in (1290, 1400, 1441):
        frame = too_long(family, payload(size))
        assert error("too_big", frame) == world.send(frame)


@FAMILIES
def test_a_train_of_segments_that_do_not_fit_is_answered_once(world, family):
    frame = too_long(family, segment(2800))

    assert error("too_big", frame) == world.send(frame, gso_size=1400, gso_segments=2)


@FAMILIES
@PAYLOADS
def test_the_last_hop_ends_here(world, family, payload):
    for ttl in (0, 1):
        frame = sent(family, BERT.address(family), ttl=ttl) / payload(40)
        assert error("ttl_exceeded", frame) == world.send(frame)


@FAMILIES
@PAYLOADS
def test_an_address_of_ours_that_nobody_has_is_unreachable(world, family, payload):
    for size in (0, 1, 40, 99, 1400):
        frame = sent(family, UNKNOWN[family]) / payload(size)
        assert error("no_endpoint", frame) == world.send(frame)


@FAMILIES
def test_a_question_of_ping_is_answered_too(world, family):
    question = ICMP() if family == 4 else ICMPv6EchoRequest()
    frame = sent(family, UNKNOWN[family]) / question

    assert error("no_endpoint", frame) == world.send(frame)


@FAMILIES
def test_the_error_comes_from_the_host_where_it_has_an_address(world, family):
    hosted = world.place.run(World, world.place, "hosted", host4=HOST[4], host6=HOST[6])
    hosted.reset()
    frame = sent(family, UNKNOWN[family]) / datagram()
    found = hosted.send(frame)
    world.place.run(hosted.close)

    assert error("no_endpoint", frame, HOST) == found


@FAMILIES
def test_headers_before_the_transport_are_quoted_as_well(world, family):
    frame = sent(4, UNKNOWN[4], options=Raw(b"\x01" * 40)) / segment(9)
    if family == 6:
        frame = sent(6, UNKNOWN[6]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
        frame /= segment(9)

    assert error("no_endpoint", frame) == world.send(frame)


@FAMILIES
def test_an_error_is_never_answered(world, family):
    inner = ip(family, BERT.address(family), ANNA.address(family)) / datagram()
    for make in (v for (_, f), v in ERRORS.items() if f == family):
        frame = sent(family, UNKNOWN[family]) / make() / Raw(bytes(inner))
        assert dropped("no_endpoint") == world.send(frame)
        ended = sent(family, BERT.address(family), ttl=1) / make() / Raw(bytes(inner))
        assert dropped("ttl_exceeded") == world.send(ended)


@FAMILIES
def test_a_later_fragment_is_never_answered(world, family):
    first = fragment(family, UNKNOWN[family], 0, segment(40))
    later = fragment(family, UNKNOWN[family], 60, Raw(b"z" * 40))

    assert error("no_endpoint", first) == world.send(first)
    assert dropped("no_endpoint") == world.send(later)


def fragment(family: int, dst: str, offset: int, payload: Packet) -> Packet:
    """`offset` in bytes, of a packet that goes on."""
    if family == 4:
        return sent(4, dst, id=77, flags="MF", frag=offset // 8, proto=6) / payload
    header = IPv6ExtHdrFragment(id=77, m=1, offset=offset // 8, nh=6)
    return sent(6, dst) / header / payload


@FAMILIES
def test_isolation_is_not_answered(world, family):
    for ttl in (1, 64):
        frame = sent(family, CARL.address(family), ttl=ttl) / datagram(1400)
        assert dropped("isolated") == world.send(frame)


@FAMILIES
def test_an_answer_is_correct_for_every_length(world, family):
    """Odd ones too: the checksum pads."""
    for size in range(64):
        frame = sent(family, UNKNOWN[family]) / datagram(size)
        found = world.send(frame)
        answer = Ether(found.frame)
        sums = [layer for layer in (IP, ICMP, ICMPv6DestUnreach) if layer in answer]
        again = Ether(found.frame)
        for layer in sums:
            field = "cksum" if layer is ICMPv6DestUnreach else "chksum"
            delattr(again[layer], field)
        assert bytes(again) == found.frame
        assert (IPv6 in answer) == (family == 6)


def test_a_sequence_number_of_tcp_is_always_quoted(world):
    """Without it the sender would not believe the error."""
    frame = sent(4, UNKNOWN[4], options=Raw(b"\x01" * 40)) / TCP(seq=0x01020304) / Raw(b"x" * 900)

    assert b"\x01\x02\x03\x04" in world.send(frame).frame
