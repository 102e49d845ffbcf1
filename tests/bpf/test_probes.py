"""Probes of other hosts: answered on the wire, whole frames, let in, or refused.

neighbour ── router ── wire0 ┌─ host 7 ─┐      the neighbour is host 3
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as Frame
from scapy.packet import Raw

from cast import BERT, dropped, passed
from edge import OTHER, PUBLIC, Edge, arrives, leaves, redirected
from seaway.bpf import abi
from seaway.routed.packet import ANSWER, PORT, QUESTION, Packet
from stage import underlay

FAMILIES = pytest.mark.parametrize("family", [4, 6])
HERE, THERE, NUMBER = 7, 3, 0xFEDC_BA98_7654_3210
ASKED = Packet(QUESTION, THERE, HERE, NUMBER, 0x1122_3344_5566_7788)
ANSWERED = Packet(ANSWER, HERE, THERE, NUMBER, 0x1122_3344_5566_7788)


def forgeries(probe: Packet, here: str, there: str) -> list[Packet]:
    """Of who does not know the number of the link. `here`, `there`: which of its fields tells which
    host.
    """
    changes: list[dict[str, int]] = [
        {"number": NUMBER ^ 1},
        {"number": NUMBER ^ (1 << 63)},
        {"number": NUMBER + 1},  # of the link to host 4
        {"number": 0},
        {there: 4},
        {there: 5},  # nobody
        {here: 8},
    ]
    return [probe._replace(**change) for change in changes]


@pytest.fixture
def edge(edge: Edge) -> Edge:
    known = {THERE: abi.LinkNumber(NUMBER, HERE), 4: abi.LinkNumber(NUMBER + 1, HERE)}
    assert not edge.place.run(edge.targets["link_numbers"].put, known)
    return edge


@pytest.fixture
def beside(edge: Edge) -> Iterator[Edge]:
    """It has others beside it, as far as packets tell."""
    underlays = edge.targets["underlays"]
    assert not edge.place.run(underlays.put, {0: underlay(map(ip_address, PUBLIC.values()))})
    yield edge
    edge.place.run(underlays.delete, {0})


def says(probe: Packet, size: int = 0, sport: int = PORT, dport: int = PORT, **more: int) -> Frame:
    return UDP(sport=sport, dport=dport, **more) / Raw(probe.encode(size))


def asks(family: int, probe: Packet = ASKED, size: int = 0, **fields: int) -> Frame:
    return arrives(family, PUBLIC[family], ttl=61) / says(probe, size, **fields)


def answer(family: int, probe: Packet = ASKED, **fields: int) -> Frame:
    said = probe._replace(kind=ANSWER)
    return leaves(family, PUBLIC[family]) / says(said, **fields)


@FAMILIES
@pytest.mark.parametrize("size", [32, 33, 576, 1372, 1452, 1472])
def test_a_question_goes_back_as_its_answer_without_the_zeroes_behind_it(edge, family, size):
    assert redirected(answer(family)) == edge.from_wire(asks(family, size=size))


def test_a_question_of_full_size_without_a_checksum_gets_an_answer_without(edge):
    asked = asks(4, size=1472, chksum=0)
    assert redirected(answer(4, chksum=0)) == edge.from_wire(asked)


@FAMILIES
def test_it_goes_back_to_the_port_that_it_came_from(edge, family):
    asked = asks(family, sport=40000, dport=PORT)
    assert redirected(answer(family, sport=PORT, dport=40000)) == edge.from_wire(asked)


@FAMILIES
def test_the_checksum_of_every_question_becomes_that_of_its_answer(edge, family):
    numbers = random.Random(5)
    for number in range(400):
        probe = ASKED._replace(stamp=numbers.getrandbits(64))
        size = 0 if number % 2 else numbers.randrange(1473)
        assert redirected(answer(family, probe)) == edge.from_wire(asks(family, probe, size))


def test_a_question_without_a_checksum_gets_an_answer_without(edge):
    assert redirected(answer(4, chksum=0)) == edge.from_wire(asks(4, chksum=0))


@FAMILIES
@pytest.mark.parametrize("forged", forgeries(ASKED, here="target", there="source"))
def test_who_does_not_know_the_number_of_the_link_is_refused(edge, family, forged):
    assert dropped("probe_number") == edge.from_wire(asks(family, forged))


@FAMILIES
def test_a_question_that_is_sent_again_gets_its_answer_again(edge, family):
    """Nobody waits for that, and `routed` counts it as replayed: no state here that a clock which
    was set back would spoil.
    """
    for _ in range(2):
        assert redirected(answer(family)) == edge.from_wire(asks(family))


@FAMILIES
@pytest.mark.parametrize("size", [32, 1472])
@pytest.mark.parametrize("sport", [PORT, 40000])
def test_an_answer_of_the_other_end_goes_on_to_the_host(beside, family, size, sport):
    """Whether this host waits for it is known to `routed` alone."""
    frame = asks(family, ANSWERED, size, sport=sport)
    assert passed(frame) == beside.from_wire(frame)


@FAMILIES
@pytest.mark.parametrize(
    "forged",
    [
        *forgeries(ANSWERED, here="source", there="target"),
        ASKED._replace(kind=ANSWER),  # of this host to the other one
    ],
)
def test_an_answer_of_who_does_not_know_the_number_of_the_link_is_refused(beside, family, forged):
    assert dropped("probe_number") == beside.from_wire(asks(family, forged))


def junk(family: int) -> list[Frame]:
    """To that port of this host, and neither question nor answer."""
    head, dst = arrives(family, PUBLIC[family]), PUBLIC[family]
    plain = [
        head / says(ANSWERED._replace(kind=3)),
        head / says(ASKED._replace(kind=0)),
        head / UDP(sport=PORT, dport=PORT) / Raw(ANSWERED.encode()[:-1]),
        head / UDP(sport=PORT, dport=PORT) / Raw(b"\0" + ANSWERED.encode()[1:]),
        head / UDP(sport=53, dport=PORT) / Raw(b"j" * 1400),
        head / UDP(sport=PORT, dport=PORT),
        arrives(family, OTHER[family]) / UDP(sport=PORT, dport=PORT) / Raw(b"junk"),
    ]
    ether = head[Ether].copy()
    ether.remove_payload()
    if family == 4:
        more = ({"options": [IPOption_NOP()] * 4}, {"flags": "MF"})
        unlike = [IP(src="192.0.2.7", dst=dst, **fields) for fields in more]
    else:
        ip = IPv6(src="2001:db8::7", dst=dst)
        parts = (IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(m=1, id=9), IPv6ExtHdrFragment(m=0, id=9))
        unlike = [ip / part for part in parts]
    return plain + [ether / one / says(probe) for one in unlike for probe in (ASKED, ANSWERED)]


@FAMILIES
def test_what_is_no_probe_is_refused_at_their_port(beside, family):
    """Else it would take the room that answers need."""
    for frame in junk(family):
        assert dropped("no_probe") == beside.from_wire(frame), frame.summary()


@FAMILIES
def test_on_a_host_that_is_alone_that_port_is_anybodys(edge, family):
    for frame in junk(family):
        assert passed(frame) == edge.from_wire(frame), frame.summary()


@FAMILIES
def test_what_only_looks_like_it_is_for_that_port_of_this_host_goes_on(beside, family):
    data, nobody = ANSWERED.encode(), {4: "198.51.100.77", 6: "2001:db8:100::77"}
    head = arrives(family, PUBLIC[family])
    frames = [
        head / UDP(sport=PORT, dport=PORT + 1) / Raw(data),
        head / TCP(sport=PORT, dport=PORT) / Raw(data),  # what hosts tell each other in sessions
        arrives(family, nobody[family]) / UDP(sport=PORT, dport=PORT) / Raw(b"junk"),
    ]
    for frame in frames:
        assert passed(frame) == beside.from_wire(frame)


@FAMILIES
def test_one_that_was_cut_off_or_padded_is_what_its_headers_say(edge, family):
    frame = bytes(asks(family))
    for size in range(14 + (20 if family == 4 else 40), len(frame)):
        found = edge.from_wire(frame[:size])
        assert ("host", frame[:size]) == (found.verdict, found.frame)
    padded = edge.from_wire(frame + bytes(9))
    assert (bytes(answer(family)) + bytes(9)) == padded.frame


@FAMILIES
def test_a_container_is_no_host(edge, family):
    """One that claims the address of ours from outside is refused before."""
    frame = asks(family)
    layer = frame[IP if family == 4 else IPv6]
    layer.src = BERT.address(family)
    assert dropped("spoofed_address") == edge.from_wire(frame)


def test_a_question_with_a_tag_of_a_vlan_is_none(edge):
    frame = asks(4)
    tagged = Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=5) / frame.payload
    assert passed(tagged) == edge.from_wire(tagged)


@FAMILIES
def test_what_is_published_on_other_ports_is_not_held_up(edge, family):
    edge.publish((PUBLIC[family], 8080), (BERT, 80))
    found = edge.from_wire(asks(family, dport=8080))
    assert "redirect" == found.verdict
    assert bytes(Ether(found.frame)[UDP].payload) == ASKED.encode()
