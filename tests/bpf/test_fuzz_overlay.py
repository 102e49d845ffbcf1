"""Random, damaged and truncated frames between hosts: the programs say what an independent oracle
says, and nothing is passed on with a source that its sender may not have.

Deterministic: the same seed makes the same frames.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from beyond import (
    ADDED,
    BEYOND,
    FAR,
    HOSTS,
    LONE,
    NORTH,
    SOUTH,
    TUNNEL,
    Beyond,
    World,
    frame_of,
    sends,
)
from cast import ANNA, BERT, CARL, CAST, HOST, SHY, SMALL, UNKNOWN, datagram, ip, segment, sent
from cast import WORLD as OUTSIDE
from edge import OTHER, PUBLIC, WIRE, WIRE_MAC, standing
from fuzz import hop, options, outcome, spoil, unchanged
from oracle import GATEWAY, HOLDERS, read
from oracle_overlay import OverlayOracle, owner, sender_of
from seaway.bpf import trial
from seaway.names import OVERLAY_MAC
from stage import mac_octets

CASES = 12_000  # for each program and seed
SEEDS = [1, 2]
WORDS = {trial.OK: "host", trial.NEXT: "host", trial.SHOT: "drop"}
ADDRESSES = [
    *(a for actor in CAST for a in (actor.v4, actor.v6)),
    *(h.address(f) for h in HOSTS for f in (4, 6)),
    *(h.own(f) for h in HOSTS for f in (4, 6)),
    *(h.underlay(f) for h in HOSTS for f in (4, 6)),
    *(a for group in (HOST, OUTSIDE, UNKNOWN, PUBLIC, OTHER) for a in group.values()),
    *("224.0.0.1", "ff02::1", "127.0.0.1", "::1", f"::ffff:{BERT.v4}"),
]
PACKED = [bytes(ip(6 if ":" in a else 4, a, a)) for a in ADDRESSES]
PLACES = [data[8:24] if data[0] >> 4 == 6 else data[12:16] for data in PACKED]
GSO = (0, 0, 0, 0, 0, 900, 1300)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with standing(World, BEYOND) as made:
        made.reset()
        yield made


def payloads() -> list[Packet]:
    return [datagram(), segment(), segment(1290), datagram(1400), Raw(b"zz")]


def inner(family: int) -> list[Packet]:
    """What hosts carry: layer 3."""
    sources = [h.address(family) for h in HOSTS] + [h.own(family) for h in (NORTH, LONE)]
    targets = [a.address(family) for a in (ANNA, BERT, SMALL, CARL, SHY)]
    targets += [FAR.address(family), SOUTH.address(family), LONE.address(family)]
    targets += [HOST[family], UNKNOWN[family], OUTSIDE[family]]
    made = [ip(family, s, t) / p for s in sources for t in targets for p in payloads()[:2]]
    me = ANNA.address(family)
    made += [ip(family, NORTH.address(family), me) / p for p in payloads()]
    made += [ip(family, NORTH.address(family), me, ttl=1) / segment()]
    made += [ip(family, LONE.address(family), t) / datagram() for t in (BERT.address(family), me)]
    if family == 4:
        made += [
            ip(4, NORTH.address(4), me, id=5, flags="MF") / datagram(64),
            ip(4, NORTH.address(4), me, id=5, frag=9, proto=17) / Raw(b"k" * 40),
            ip(4, NORTH.address(4), me, ttl=1) / ICMP(type=3) / IP(src=me) / datagram(),
        ]
    else:
        made += [
            ip(6, NORTH.address(6), me) / IPv6ExtHdrFragment(id=5, m=1) / datagram(64),
            ip(6, NORTH.address(6), me) / hop() / options() / segment(),
        ]
    return made


def by_wire() -> list[bytes]:
    """Each flow has a port of its own: hardly one has to wait behind another's train."""
    frames: list[Packet] = []
    ports = count(0xC000)
    for family in (4, 6):
        for packet in inner(family):
            for host, outer in SENDERS:
                frames.append(sends(host, frame_of(packet), outer, port=next(ports)))
            frames.append(Ether(src=NORTH.mac, dst=WIRE_MAC) / packet)
        for target in (ANNA, BERT):
            plain = ip(family, NORTH.address(family), target.address(family)) / datagram()
            frames += [sends(NORTH, frame_of(plain), f, port=next(ports)) for f in 40 * (4, 6)]
    return [bytes(frame) for frame in frames]


SENDERS = [(NORTH, 4), (NORTH, 6), (SOUTH, 6), (LONE, 4)]


def from_device() -> list[bytes]:
    return [bytes(frame_of(packet)) for family in (4, 6) for packet in inner(family)]


def from_stack() -> list[bytes]:
    head = Ether(src=OVERLAY_MAC, dst="00:00:00:00:00:00")
    return [
        bytes(head / ip(family, source, target) / payload)
        for family in (4, 6)
        for source in (HOST[family], ANNA.address(family), CARL.address(family), OUTSIDE[family])
        for target in [h.address(family) for h in HOSTS] + [NORTH.own(family), UNKNOWN[family]]
        for payload in payloads()
    ]


def from_anna() -> list[bytes]:
    return [
        bytes(sent(family, target, src=sender.address(family), **fields) / payload)
        for family in (4, 6)
        for sender in (ANNA, SHY)
        for target in [h.address(family) for h in HOSTS] + [NORTH.own(family), BERT.address(family)]
        for payload in payloads()
        for fields in ({}, {"ttl": 1}, {"flags": "DF"} if family == 4 else {})
    ]


def frames(sound: list[bytes], draw: random.Random) -> Iterator[bytes]:
    """Many are sound, most spoilt a little; also inside of what carries them."""
    for _ in range(CASES):
        frame = draw.choice(sound)
        for _ in range(draw.choice((0, 0, 1, 1, 1, 2, 3))):
            cut = draw.choice((0, 0, *ADDED.values()))
            if len(frame) > cut + 16:
                frame = frame[:cut] + spoil(draw, frame[cut:], PLACES)
        yield frame


def carries(frame: bytes) -> tuple[bytes, bytes]:
    """Of a packet that goes to another host: what it carries, and its own header."""
    size = ADDED[4 if frame[12:14] == b"\x08\x00" else 6]
    assert frame[6:12] == mac_octets(WIRE_MAC)
    return frame[size:], frame[:size]


def word(given: bytes, done: trial.Outcome) -> str:
    """What verdict and frame mean together, where it came in without a carrier."""
    if done.verdict != trial.REDIRECT:
        return WORDS.get(done.verdict, f"verdict {done.verdict}")
    if done.frame[6:12] == GATEWAY:
        return "forward" if unchanged(given, done.frame) else "answer"
    packet, _ = carries(done.frame)
    return "carry" if unchanged(given, packet) else "answer"


Check = Callable[[bytes, trial.Outcome, str], None]


def from_wire(world: World, seed: int) -> Counter[str]:
    program, draw, oracle = (
        world.plane.programs["from_wire"].fd,
        random.Random(seed),
        OverlayOracle(),
    )
    said: Counter[str] = Counter()
    for frame in frames(by_wire(), draw):
        gso = draw.choice(GSO)
        done = outcome(program, frame, trial.Context(WIRE, WIRE, 2 if gso else 0, gso))
        if done is None:
            said["refused"] += 1
            continue
        found = wire_word(frame, done)
        assert found in oracle.from_wire(frame, gso), (frame.hex(), gso, found)
        said[found] += 1
    return said


def wire_word(given: bytes, done: trial.Outcome) -> str:
    if done.verdict != trial.REDIRECT:
        assert done.verdict == trial.SHOT or done.frame == given
        return WORDS.get(done.verdict, f"verdict {done.verdict}")
    outer = read(given, 1)
    size = ADDED[outer.version]
    sender = sender_of(outer.src)
    if done.frame[6:12] == GATEWAY:
        assert unchanged(given[size:], done.frame)
        check_source(done.frame, sender)
        assert done.frame[:6] == HOLDERS[read(done.frame, 1).dst].record.mac
        return "arrive"
    packet, head = carries(done.frame)
    assert unchanged(given[size:], packet)
    check_source(packet, sender)
    assert str(read(head + packet, 1).src) == PUBLIC[outer.version]
    return "relay"


def check_source(frame: bytes, sender: Beyond | None) -> None:
    """What hurt most: somebody else's source."""
    source = owner(read(frame, 1).src)
    assert sender
    assert source
    assert source[0] is sender or sender in (NORTH, SOUTH)


def from_overlay(world: World, seed: int) -> Counter[str]:
    program, draw = world.plane.programs["from_overlay"].fd, random.Random(seed)
    oracle = OverlayOracle()
    said: Counter[str] = Counter()
    for frame in frames(from_device(), draw):
        gso = draw.choice(GSO)
        done = outcome(program, frame, trial.Context(0, TUNNEL, 2 if gso else 0, gso))
        if done is None:
            said["refused"] += 1
            continue
        found = word(frame, done)
        assert found in oracle.from_overlay(frame, gso), (frame.hex(), gso, found)
        if found in {"forward", "carry", "host"}:
            assert owner(read(frame, 1).src)
        said[found] += 1
    return said


def to_overlay(world: World, seed: int) -> Counter[str]:
    program, draw = world.plane.programs["to_overlay"].fd, random.Random(seed)
    oracle, said = OverlayOracle(), Counter[str]()
    devices = [0, TUNNEL + 1, WIRE, *(actor.record.ifindex for actor in (ANNA, CARL, BERT))]
    for frame in frames(from_stack(), draw):
        came_by = draw.choice(devices)
        done = outcome(program, frame, trial.Context(came_by, TUNNEL))
        if done is None:
            said["refused"] += 1
            continue
        found = word(frame, done)
        assert found in oracle.to_overlay(frame, came_by), (frame.hex(), came_by, found)
        if found == "host":
            assert frame[12:] == done.frame[12:]
        said[found] += 1
    return said


def from_endpoint(world: World, seed: int) -> Counter[str]:
    program, draw = world.plane.programs["from_endpoint"].fd, random.Random(seed)
    oracle, said = OverlayOracle(), Counter[str]()
    for frame in frames(from_anna(), draw):
        gso = draw.choice(GSO)
        done = outcome(program, frame, trial.Context(gso_size=gso, gso_segments=2 if gso else 0))
        if done is None:
            said["refused"] += 1
            continue
        found = word(frame, done)
        assert found in oracle.from_endpoint(frame, gso), (frame.hex(), gso, found)
        if found == "carry":
            source = HOLDERS[read(frame, gso).src]
            assert source.record.container == ANNA.record.container
        said[found] += 1
    return said


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("play", "least"),
    [
        (from_wire, {"host": 0.1, "arrive": 0.02, "relay": 0.005, "drop": 0.01}),
        (
            from_overlay,
            {"forward": 0.05, "carry": 0.02, "answer": 0.02, "host": 0.01, "drop": 0.05},
        ),
        (to_overlay, {"carry": 0.02, "host": 0.01, "drop": 0.05}),
        (from_endpoint, {"carry": 0.05, "answer": 0.05, "host": 0.01, "drop": 0.05}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_between_hosts_gets_no_other_verdict_than_the_oracles(world, play, least, seed):
    said = world.place.run(play, world, seed)

    assert CASES == said.total()
    assert [] == [w for w, share in least.items() if said[w] < share * CASES], said
