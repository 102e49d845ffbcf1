"""Packets in parts: the first is remembered, the later ones follow it or are refused."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cast import (
    ANNA,
    BERT,
    CARL,
    DEVICE,
    HOST,
    SMALL,
    WORLD,
    Outcome,
    World,
    datagram,
    dropped,
    forwarded,
    passed,
    sent,
)

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def parts(family: int, dst: str, number: int, **fields: object) -> list[Packet]:
    """A datagram in three."""
    whole = bytes(UDP(sport=1, dport=2, len=108, chksum=9) / Raw(b"x" * 100))
    pieces = [whole[at : at + 40] for at in (0, 40, 80)]
    if family == 4:
        return [
            sent(4, dst, id=number, proto=17, frag=5 * i, flags="MF" if i < 2 else 0, **fields)
            / Raw(piece)
            for i, piece in enumerate(pieces)
        ]
    return [
        sent(6, dst, **fields)
        / IPv6ExtHdrFragment(id=number, offset=5 * i, m=int(i < 2), nh=17)
        / Raw(piece)
        for i, piece in enumerate(pieces)
    ]


@FAMILIES
def test_later_fragments_follow_the_first(world, family):
    for part in parts(family, BERT.address(family), 1):
        assert forwarded(part, BERT) == world.send(part)


@FAMILIES
def test_a_later_fragment_alone_is_refused(world, family):
    _, middle, last = parts(family, BERT.address(family), 2)

    assert dropped("fragment") == world.send(middle)
    assert dropped("fragment") == world.send(last)


@FAMILIES
def test_what_belongs_together_has_the_same_addresses_and_number(world, family):
    first, *_ = parts(family, BERT.address(family), 3)
    assert forwarded(first, BERT) == world.send(first)

    for other in (
        parts(family, BERT.address(family), 4),
        parts(family, WORLD[family], 3),
    ):
        assert dropped("fragment") == world.send(other[1])


@FAMILIES
def test_a_fragment_cannot_be_placed_in_anothers_name(world, family):
    source = BERT.address(family)
    first, later, _ = parts(family, HOST[family], 5, src=source)

    assert dropped("spoofed_address") == world.send(first)
    assert dropped("spoofed_address") == world.send(later)


@FAMILIES
def test_fragments_go_to_the_host_and_the_world_too(world, family):
    for dst in (HOST[family], WORLD[family]):
        for part in parts(family, dst, 6):
            assert passed(part) == world.send(part)


@FAMILIES
def test_every_fragment_is_judged_by_isolation(world, family):
    for part in parts(family, CARL.address(family), 7):
        assert dropped("isolated") == world.send(part)


@FAMILIES
def test_a_first_fragment_without_a_whole_transport_header_is_refused(world, family):
    first, *_ = parts(family, BERT.address(family), 8)
    header = 34 if family == 4 else 62
    for kept in range(header, header + 8):
        frame = Ether(bytes(first)[:kept])
        if family == 4:
            frame["IP"].len = kept - 14
            del frame["IP"].chksum
        else:
            frame["IPv6"].plen = kept - 54
        assert dropped("truncated") == world.send(frame)


def test_headers_behind_the_fragment_header_are_followed(world):
    """Later fragments name what the first's fragment header named, not its transport."""
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    first = sent(6, BERT.v6) / IPv6ExtHdrFragment(id=9, m=1) / options / datagram(24)
    later = sent(6, BERT.v6) / IPv6ExtHdrFragment(id=9, offset=5, nh=60) / Raw(b"z" * 8)

    assert forwarded(first, BERT) == world.send(first)
    assert forwarded(later, BERT) == world.send(later)


def test_two_fragment_headers_contradict_each_other(world):
    frame = sent(6, BERT.v6) / IPv6ExtHdrFragment(id=9, m=1) / IPv6ExtHdrFragment(id=9, m=1)

    assert dropped("malformed") == world.send(frame / datagram())


def test_an_atomic_fragment_is_a_whole_packet(world):
    frame = sent(6, BERT.v6) / IPv6ExtHdrFragment(id=10, m=0, offset=0) / datagram()

    assert forwarded(frame, BERT) == world.send(frame)


def test_behind_a_first_that_the_stack_is_to_cut_it_gets_the_others_too(world):
    """It may put the datagram together before. Those of a small one with that number do not."""
    large, small = (sent(4, SMALL.v4, id=13, flags="MF") / datagram(n) for n in (1400, 104))
    later = sent(4, SMALL.v4, id=13, frag=200, proto=17) / Raw(b"k" * 40)
    for first, goes in ((large, passed), (small, lambda frame: forwarded(frame, SMALL))):
        for frame in (first, later):
            assert goes(frame) == world.send(frame)


def test_what_the_stack_of_the_host_has_cut_is_delivered(world):
    """The kernel sends the first fragment first."""
    world.enter(ANNA)
    packet = sent(4, ANNA.v4, src=WORLD[4], id=11) / datagram(300)
    for part in fragment(packet, fragsize=104):
        frame = Ether(bytes(part))
        expected = delivered(frame)
        assert expected == send_down(world, frame)


def send_down(world: World, frame: Packet) -> Outcome:
    return world.send(frame, program="to_endpoint", ingress_ifindex=DEVICE + 50)


def delivered(frame: Packet) -> Outcome:
    expected = frame.copy()
    expected.dst, expected.src = ANNA.mac, "02:53:57:59:00:01"
    return Outcome("host", bytes(expected), {})


@FAMILIES
def test_a_later_fragment_of_the_stack_without_its_first_is_refused(world, family):
    _, later, _ = parts(family, ANNA.address(family), 12, src=WORLD[family])

    assert dropped("fragment") == send_down(world, later)
