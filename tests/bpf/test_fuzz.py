"""Random, damaged and truncated frames: the programs say what an independent oracle says.

Deterministic: the same seed makes the same frames. `seaway`'s promise is at least 100,000 of
them in every run; each is also checked for what would hurt most, a foreign source let through.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from cast import (
    ANNA,
    ANNA2,
    BERT,
    CARL,
    CAST,
    HOST,
    OLGA,
    SMALL,
    UNKNOWN,
    WORLD,
    World,
    datagram,
    ip,
    segment,
    sent,
)
from fuzz import hop, options, outcome, spoil, unchanged
from oracle import GATEWAY, HOLDERS, Oracle
from seaway.bpf import trial
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC

CASES = 30_000  # for each program and seed
SEEDS = [1, 2]
DOWN = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC)  # as the stack of the host writes it
WORDS = {trial.OK: "host", trial.SHOT: "drop"}
ADDRESSES = [
    *(a for actor in CAST for a in (actor.v4, actor.v6)),
    *(a for group in (HOST, WORLD, UNKNOWN) for a in group.values()),
    *("169.254.1.1", "169.254.169.254", "127.0.0.1", "224.0.0.1", "0.0.0.0"),
    *("fe80::1", "::1", "ff02::1", "::", f"::ffff:{BERT.v4}"),
]


def corpus_down() -> list[bytes]:
    """What the stack may deliver to anna, and what a container would send there."""
    frames: list[Packet] = []
    for family in (4, 6):
        me, others = ANNA.address(family), (BERT, OLGA, CARL, ANNA2, ANNA)
        sources = [a.address(family) for a in others] + [WORLD[family], UNKNOWN[family]]
        for source in [*sources, HOST[family], HOST[family], WORLD[family]]:
            down = DOWN / ip(family, source, me)
            frames += [down / datagram(), down / segment(), down / Raw(b"zz")]
    frames += [
        DOWN / ip(4, WORLD[4], ANNA.v4, id=5, flags="MF") / datagram(64),
        DOWN / ip(4, WORLD[4], ANNA.v4, id=5, frag=9, proto=17) / Raw(b"k"),
        DOWN / ip(6, WORLD[6], ANNA.v6) / hop() / options() / segment(),
        DOWN / ip(6, WORLD[6], ANNA.v6) / IPv6ExtHdrFragment(m=1) / datagram(8),
    ]
    return [bytes(frame) for frame in frames] + corpus()[:20]


def corpus() -> list[bytes]:
    """Sound frames of every kind that anna may send."""
    frames: list[Packet] = []
    for family in (4, 6):
        others = (BERT, SMALL, OLGA, CARL, ANNA2, ANNA)
        targets = [a.address(family) for a in others] + [
            HOST[family],
            WORLD[family],
            UNKNOWN[family],
        ]
        for target in targets:
            frames += [sent(family, target) / p for p in (datagram(), segment(), Raw(b"zz"))]
            frames.append(sent(family, target, src=ANNA2.address(family)) / datagram(1350))
            frames.append(sent(family, target, ttl=1) / segment(1400))
        frames.append(sent(family, BERT.address(family)) / (ICMP() if family == 4 else Raw(b"q")))
    frames += [
        sent(4, BERT.v4, options=Raw(b"\x01" * 8)) / datagram(),
        sent(4, BERT.v4, id=5, flags="MF") / datagram(64),
        sent(4, BERT.v4, id=5, frag=9, proto=17) / Raw(b"k" * 40),
        sent(4, SMALL.v4, flags="DF") / segment(1400),
        sent(4, BERT.v4, ttl=1) / ICMP(type=3) / IP(src=BERT.v4, dst=ANNA.v4) / datagram(),
        sent(6, BERT.v6) / IPv6ExtHdrFragment(id=5, m=1) / datagram(64),
        sent(6, BERT.v6) / IPv6ExtHdrFragment(id=5, offset=9, nh=17) / Raw(b"k" * 40),
        sent(6, BERT.v6) / hop() / options() / IPv6ExtHdrFragment(id=6) / options() / segment(),
        sent(6, BERT.v6) / hop() / options() / options() / options() / options() / segment(),
        sent(6, BERT.v6) / options() / options() / hop() / hop() / hop() / hop() / segment(),
        sent(6, UNKNOWN[6]) / ICMPv6DestUnreach() / Raw(b"inner"),
        Ether(src=ANNA.mac, dst="ff:ff:ff:ff:ff:ff")
        / ARP(hwsrc=ANNA.mac, psrc=ANNA.v4, pdst=str(GATEWAY4)),
        Ether(src=ANNA.mac, dst="ff:ff:ff:ff:ff:ff")
        / ARP(hwsrc=ANNA.mac, psrc=ANNA.v4, pdst=UNKNOWN[4]),
        solicitation(ANNA.v6, str(GATEWAY6)),
        solicitation("fe80::9", UNKNOWN[6]),
        solicitation(ANNA.v6, ANNA2.v6),
        sent(6, str(GATEWAY6), ttl=255) / ICMPv6ND_NA(tgt=str(GATEWAY6)),
    ]
    return [bytes(frame) for frame in frames]


def solicitation(src: str, target: str) -> Packet:
    return sent(6, "ff02::1:ff00:1", src=src, ttl=255) / ICMPv6ND_NS(tgt=target)


def frames(sound: list[bytes], seed: int) -> Iterator[bytes]:
    """Sound ones, most of them spoilt a little, a few spoilt much, and noise."""
    draw = random.Random(seed)
    addresses = [ip(6 if ":" in a else 4, a, a) for a in ADDRESSES]
    packed = [bytes(p)[8:24] if p.version == 6 else bytes(p)[12:16] for p in addresses]
    for _ in range(CASES):
        if draw.random() < 0.03:
            noise = draw.randbytes(draw.randrange(14, 200))
            yield noise[:12] + draw.choice((b"\x08\x00", b"\x86\xdd", b"\x08\x06")) + noise[14:]
            continue
        frame = draw.choice(sound)
        for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 8))):
            if len(frame) > 16:
                frame = spoil(draw, frame, packed)
        yield frame


def word(given: bytes, done: trial.Outcome) -> str:
    """What the verdict and the frame that came out mean together."""
    if done.verdict != trial.REDIRECT:
        return WORDS.get(done.verdict, f"verdict {done.verdict}")
    assert done.frame[6:12] == GATEWAY
    return "forward" if unchanged(given, done.frame) else "answer"


def from_endpoint(world: World, seed: int) -> Counter[str]:
    program, oracle, draw = world.plane.programs["from_endpoint"].fd, Oracle(), random.Random(seed)
    said: Counter[str] = Counter()
    for frame in frames(corpus(), seed):
        gso = draw.choice((0, 0, 0, 0, 900, 1400, 0xFFFF))
        done = outcome(program, frame, trial.Context(gso_size=gso, gso_segments=2 if gso else 0))
        if done is None:
            said["refused"] += 1
            continue
        found = word(frame, done)
        assert found in oracle.from_endpoint(frame, gso), (frame.hex(), gso, found)
        if found == "forward":
            check_forwarded(done.frame)
        elif found == "answer":
            assert done.frame[:6] == ANNA.record.mac
        elif found == "host":
            assert done.frame == frame
        said[found] += 1
    return said


def check_forwarded(frame: bytes) -> None:
    """The sender is anna's container, and the MAC is that of the address."""
    packet = Ether(frame)[1]
    assert HOLDERS[ip_address(packet.src)].record.container == ANNA.record.container
    assert frame[:6] == HOLDERS[ip_address(packet.dst)].record.mac


def to_endpoint(world: World, seed: int) -> Counter[str]:
    program, oracle, draw = world.plane.programs["to_endpoint"].fd, Oracle(), random.Random(seed)
    devices = [0, 50, *(actor.record.ifindex for actor in CAST)]
    said: Counter[str] = Counter()
    for frame in frames(corpus_down(), seed):
        came_by = draw.choice(devices)
        done = outcome(program, frame, trial.Context(ingress_ifindex=came_by))
        if done is None:
            said["refused"] += 1
            continue
        found = word(frame, done)
        assert found in oracle.to_endpoint(frame, 0, came_by), (frame.hex(), came_by, found)
        if found == "host":
            assert done.frame == ANNA.record.mac + GATEWAY + frame[12:]
        said[found] += 1
    return said


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("run", [from_endpoint, to_endpoint], ids=lambda f: f.__name__)
def test_no_frame_gets_another_verdict_than_the_oracles(world, run, seed):
    said = world.place.run(run, world, seed)

    assert CASES == said.total()
    assert CASES * 0.05 < said["host"]  # the frames were not all nonsense
    if run is from_endpoint:
        assert CASES * 0.02 < said["forward"]
        assert CASES * 0.02 < said["answer"]
