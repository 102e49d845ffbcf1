"""Random, damaged and truncated frames: the programs say what an independent oracle says.

Deterministic: the same seed makes the same frames. `seaway`'s promise is at least 100,000 of
them in every run; each is also checked for what would hurt most, a foreign source let through.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

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
    NEAR,
    OLGA,
    SHY,
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
from seaway.model.addresses import Address
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC
from stage import Stage

CASES = 30_000  # for each program and seed
SEEDS = [1, 2]
ROUTED = [ip_network(p) for p in ("192.0.2.0/24", "2001:db8::/64")]
ROUTES = "; ".join(
    (
        "ip link add out0 type veth peer name out1",
        "ip link set out1 up",
        "ip link set out0 up",
        *(f"ip route add {prefix} dev out0" for prefix in ROUTED),
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    )
)
ELSEWHERE = {4: "203.0.113.9", 6: "2001:db8:dead::9"}  # where no route leads
DOWN = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC)  # as the stack of the host writes it
WORDS = {trial.OK: "host", trial.SHOT: "drop"}
ADDRESSES = [
    *(a for actor in CAST for a in (actor.v4, actor.v6)),
    *(a for group in (HOST, WORLD, UNKNOWN, ELSEWHERE) for a in group.values()),
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
        near = {4: "169.254.169.254", 6: "fe80::9"}
        for target in (*targets, ELSEWHERE[family], near[family]):
            for sender in (SHY, NEAR):
                frames.append(sent(family, target, src=sender.address(family)) / segment())
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


def from_endpoint(world: World, seed: int) -> tuple[Counter[str], Counter[str]]:
    """What was said, and what of it to her who must not ask the host."""
    program, draw = world.plane.programs["from_endpoint"].fd, random.Random(seed)
    oracle = Oracle(routed=ROUTED)
    said: Counter[str] = Counter()
    bound: Counter[str] = Counter()
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
        bound[found] += HOLDERS.get(source(frame)) is SHY
    return said, bound


def source(frame: bytes) -> Address:
    """Of a sound frame; of another, nonsense."""
    octets = frame[26:30] if frame[12:14] == b"\x08\x00" else frame[22:38].ljust(16, b"\0")
    return ip_address(octets)


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


@pytest.fixture(scope="module")
def routes(place: Stage) -> Iterator[None]:
    """By the host, to some of the world."""
    place.shell(ROUTES)
    yield
    place.shell("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0; ip link del out0")


@pytest.mark.usefixtures("routes")
@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_container_sends_gets_no_other_verdict_than_the_oracles(world, seed):
    said, bound = world.place.run(from_endpoint, world, seed)

    assert CASES == said.total()
    assert CASES * 0.05 < said["host"]  # the frames were not all nonsense
    assert CASES * 0.02 < said["forward"]
    assert CASES * 0.02 < said["answer"]
    assert all(CASES * 0.001 < bound[word] for word in ("host", "forward", "drop"))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_stack_delivers_gets_no_other_verdict_than_the_oracles(world, seed):
    said = world.place.run(to_endpoint, world, seed)

    assert CASES == said.total()
    assert CASES * 0.05 < said["host"]
