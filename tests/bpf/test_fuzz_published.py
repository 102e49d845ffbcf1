"""Random, damaged and truncated frames where ports are published: the oracle's verdicts, and
checksums that are right whatever was translated.

One conversation: what comes by the wire, what three containers send, and what the host's stack
delivers take turns, and half of it answers what was said before. Deterministic: the same seed
makes the same frames, but for the port that a client gets where its own is taken.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address

import pytest
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cast import ANNA, BERT, CARL, HOST, OLGA, SMALL, UNKNOWN, WORLD, Actor, ip
from edge import (
    LOOPBACK,
    OTHER,
    PROTOCOLS,
    PUBLIC,
    ROUTER_MAC,
    WIRE,
    WIRE_MAC,
    Edge,
    flagged,
    says,
)
from frames import blank, complains, spoken, sums, told, translated
from fuzz import hop, options, outcome, spoil, unchanged
from oracle import GATEWAY, HOLDERS, read
from oracle_published import UNSEEN, Key, Publication, PublishedOracle, Said
from seaway.bpf import abi, trial
from seaway.model.addresses import Address
from seaway.names import GATEWAY_MAC
from stage import mac_octets

CASES = 33_000  # for each seed, shared by the programs
SEEDS = [1, 2, 3]
SOAK = range(100, 146)
SHUT = Actor(CARL.v4, CARL.v6, CARL.mac, flagged(CARL.record, abi.ENDPOINT_HOST_CLOSED))
SENDERS = (ANNA, BERT, SHUT)
DEVICES = [0, 50, WIRE, *(a.record.ifindex for a in (*SENDERS, OLGA))]
PORTS = {
    ("", 8080): Publication(ANNA, 80, PUBLIC),
    ("", 9090): Publication(BERT, 53, None),
    ("", 9091): Publication(BERT, 53, None),
    **{(PUBLIC[f], 7070): Publication(SMALL, 70, PUBLIC) for f in (4, 6)},
    **{(OTHER[f], 6060): Publication(SHUT, 60, OTHER) for f in (4, 6)},
}
CLIENTS = {
    4: (WORLD[4], "192.0.2.8", "198.51.100.7", "203.0.113.9"),
    6: (WORLD[6], "2001:db8::8", "2001:db8:100::7", "2001:db8:dead::9"),
}
STRANGERS = {
    4: ("127.0.0.1", "169.254.169.254", "224.0.0.1", PUBLIC[4], UNKNOWN[4], HOST[4]),
    6: ("::1", "fe80::1", "ff02::1", PUBLIC[6], UNKNOWN[6], HOST[6]),
}
ASKED = (8080, 8080, 9090, 9091, 9091, 7070, 6060, 22)
ASKING = (40000, 40001, 53)
SIZES = (0, 1, 20, 21, 200, 1290, 1390)


@cache
def addresses() -> list[bytes]:
    named = [HOST, PUBLIC, OTHER, UNKNOWN, *({4: a.v4, 6: a.v6} for a in (*SENDERS, SMALL))]
    texts = [a for group in named for a in group.values()]
    texts += [a for group in (CLIENTS, STRANGERS) for some in group.values() for a in some]
    return [ip_address(text).packed for text in texts]


def dressed(draw: random.Random, family: int, places: tuple[str, str], body: Packet) -> Packet:
    """With options, in parts, or about to die; most are plain."""
    src, dst = places
    kind, number = draw.randrange(12), draw.randrange(1, 4)
    protocol = bytes(ip(4, "0.0.0.0", "0.0.0.0") / body)[9]
    if kind == 0:
        return ip(family, src, dst, ttl=1) / body
    if family == 4:
        fields = {1: {"options": Raw(b"\x01" * 8)}, 2: {"flags": "MF", "id": number}}
        fields |= {3: {"frag": 9, "proto": protocol, "id": number}, 4: {"flags": "DF"}}
        return ip(4, src, dst, **fields.get(kind, {})) / body
    head = ip(6, src, dst)
    extensions = {1: hop() / options(), 2: IPv6ExtHdrFragment(m=1, id=number)}
    extensions[3] = IPv6ExtHdrFragment(offset=9, nh=protocol, id=number)
    extensions[4] = hop() / IPv6ExtHdrFragment(m=1, id=number) / options()
    return head / extensions[kind] / body if kind in extensions else head / body


def body(draw: random.Random, sport: int, dport: int) -> Packet:
    kind = draw.choice(list(PROTOCOLS))
    fields = {"flags": draw.choice(("S", "A", "SA", "R"))} if kind == "tcp" else {}
    if kind == "udp" and draw.random() < 0.2:
        fields = {"chksum": 0}
    return says(kind, sport, dport, draw.choice(SIZES), **fields)


@cache
def by_wire() -> list[bytes]:
    draw, frames = random.Random(1), []
    for _ in range(600):
        family = draw.choice((4, 6))
        some = STRANGERS if draw.random() < 0.1 else CLIENTS
        places = (PUBLIC, PUBLIC, PUBLIC, OTHER, OTHER, OTHER, HOST, UNKNOWN, LOOPBACK)
        asked = draw.choice(places)[family]
        ends = draw.choice(some[family]), asked
        said = body(draw, draw.choice(ASKING), draw.choice(ASKED))
        frames.append(Ether(src=ROUTER_MAC, dst=WIRE_MAC) / dressed(draw, family, ends, said))
    return [bytes(frame) for frame in frames]


@cache
def by_container(actor: Actor) -> list[bytes]:
    draw, frames = random.Random(2), []
    for _ in range(300):
        family = draw.choice((4, 6))
        others = (ANNA, BERT, SHUT, SMALL, OLGA)
        near = [a.address(family) for a in others] + [PUBLIC[family], OTHER[family], HOST[family]]
        far = [*CLIENTS[family], *STRANGERS[family]]
        target = draw.choice(near if draw.random() < 0.7 else far)
        said = body(draw, draw.choice((80, 53, 60, *ASKING)), draw.choice((*ASKED, *ASKING)))
        places = actor.address(family), target
        head = Ether(src=actor.mac, dst=GATEWAY_MAC)
        frames.append(head / dressed(draw, family, places, said))
    return [bytes(frame) for frame in frames]


@cache
def by_stack(actor: Actor) -> list[bytes]:
    draw, frames = random.Random(3), []
    for _ in range(300):
        family = draw.choice((4, 6))
        host = draw.choice((HOST, HOST, PUBLIC, WORLD, {4: BERT.v4, 6: BERT.v6}))
        said = body(draw, draw.choice(ASKING), draw.choice((60, 80, 53)))
        places = host[family], actor.address(family)
        head = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC)
        frames.append(head / dressed(draw, family, places, said))
    return [bytes(frame) for frame in frames]


@dataclass
class Conversation:
    """What was said is in the oracle's flows; who may go on is kept beside them."""

    edge: Edge
    draw: random.Random
    oracle: PublishedOracle
    turns: dict[object, list[Key]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def step(self) -> None:
        program = self.draw.choice(("from_wire", "from_endpoint", "to_endpoint"))
        actor = self.draw.choice(SENDERS)
        frame = self._frame(program, actor)
        for _ in range(self.draw.choice((0, 0, 0, 0, 1, 1, 2, 5))):
            if len(frame) > 16:
                frame = spoil(self.draw, frame, addresses())
        self._try(program, actor, frame)
        fresh, self.oracle.fresh = self.oracle.fresh, []
        for key in fresh:
            holder = HOLDERS.get(key.src)
            self.turns[holder.mac if holder else "outside"].append(key)

    def _frame(self, program: str, actor: Actor) -> bytes:
        if program == "to_endpoint":
            return self.draw.choice(by_stack(actor))
        turns = self.turns["outside" if program == "from_wire" else actor.mac]
        if turns and self.draw.random() < 0.5:
            head = mac_octets(WIRE_MAC) + mac_octets(ROUTER_MAC)
            if program == "from_endpoint":
                head = GATEWAY + actor.record.mac
            return head + self._goes_on(self.draw.choice(turns))
        return self.draw.choice(by_wire() if program == "from_wire" else by_container(actor))

    def _goes_on(self, key: Key) -> bytes:
        """With a packet of the flow, or with an error about one that came."""
        draw, payload = self.draw, self.draw.randbytes(self.draw.choice((0, 1, 30, 61, 1300)))
        ethertype = b"\x08\x00" if key.src.version == 4 else b"\x86\xdd"
        if draw.random() < 0.6:
            flags, ttl = draw.choice((0x10, 0x10, 0x12, 2, 4)), draw.choice((64, 64, 64, 1))
            return ethertype + spoken(key, payload, flags, ttl)
        about = spoken(key.back(), payload)[: draw.choice((28, 40, 48, 57, 58, 70, 500))]
        kinds = [(3, 1), (3, 4), (11, 0), (5, 1)] if key.src.version == 4 else [(1, 4), (2, 0)]
        router = ip_address(CLIENTS[key.src.version][1])
        source = draw.choice((key.src, key.src, router))
        return ethertype + complains(source, key.dst, draw.choice(kinds), about)

    def _try(self, program: str, actor: Actor, frame: bytes) -> None:
        gso, came_by = 0, 0
        device = WIRE if program == "from_wire" else actor.record.ifindex
        if program == "from_endpoint":
            gso = self.draw.choice((0, 0, 0, 0, 900, 1400, 0xFFFF))
        elif program == "to_endpoint":
            came_by = self.draw.choice(DEVICES)
        context = trial.Context(came_by, device, 2 if gso else 0, gso)
        done = outcome(self.edge.plane.programs[program].fd, frame, context)
        if done is None:
            self.said[program]["refused"] += 1
            return
        self.oracle.me = actor
        said = self._ask(program, frame, gso, came_by)
        try:
            check(self.oracle, program, (frame, gso), said, done)
        except AssertionError as error:
            error.add_note(f"{program} {actor.mac} gso {gso} from {came_by}: {frame.hex()}")
            error.add_note(f"{said} {done.verdict} {done.frame.hex()}")
            raise
        self.said[program][said.word] += 1

    def _ask(self, program: str, frame: bytes, gso: int, came_by: int) -> Said:
        if program == "from_wire":
            return self.oracle.from_wire(frame)
        if program == "from_endpoint":
            return self.oracle.sends(frame, gso)
        return self.oracle.gets(frame, gso, came_by)


VERDICTS = {trial.OK: "host", trial.NEXT: "host", trial.SHOT: "drop", trial.REDIRECT: "sent"}


def check(
    oracle: PublishedOracle,
    program: str,
    given: tuple[bytes, int],
    said: Said,
    done: trial.Outcome,
) -> None:
    frame, gso = given
    sent = said.word in {"forward", "answer", "translated"}
    assert ("sent" if sent else said.word) == VERDICTS[done.verdict]
    if said.word == "host":
        assert (said.macs or frame[:12]) + frame[12:] == done.frame
    elif said.word == "forward":
        assert unchanged(frame, done.frame)
        assert said.macs == done.frame[:12]
        assert sums(frame, gso) == sums(done.frame, gso)
    elif said.word == "answer":
        check_answer(program, oracle.me, given, said, done.frame)
    elif said.word == "translated":
        check_translated(oracle, given, said, done.frame)
        check_source(program, read(done.frame, gso).src, read(frame, gso).src)


def check_answer(program, me: Actor, given: tuple[bytes, int], said: Said, answer: bytes) -> None:
    frame, gso = given
    wire = program == "from_wire"
    assert (frame[6:12] + frame[:6] if wire else me.record.mac + GATEWAY) == answer[:12]
    if said.tells:
        packet = read(frame, gso)
        source = str(packet.dst) if wire else HOST[packet.version]
        assert told(frame, packet, said.tells, source) == answer[12:]


def check_translated(oracle, given: tuple[bytes, int], said: Said, taken: bytes) -> None:
    frame, gso = given
    packet, before, after = read(frame, gso), sums(frame, gso), sums(taken, gso)
    said = settled(oracle, packet, said, taken)
    assert blank(translated(frame, packet, said), before)[12:] == blank(taken, after)[12:]
    assert not said.macs or said.macs == taken[:12]
    assert before == after


def settled(oracle: PublishedOracle, packet, said: Said, taken: bytes) -> Said:
    """The port of a client whose own was taken is the one that stands there."""
    flow = said.about or said.to
    if flow.sport != UNSEEN or packet.later:
        return said
    at = 14 + packet.length - len(packet.body)
    if said.about:
        at += 8 + ((taken[at + 8] & 15) * 4 if packet.version == 4 else 40) + 2
    port = int.from_bytes(taken[at : at + 2])
    oracle.settle(said.key, port)
    about = said.about._replace(sport=port) if said.about else None
    return replace(said, to=said.to._replace(sport=port), about=about)


def check_source(program: str, source: Address, given: Address) -> None:
    """Of what goes out or in: the sender's own address, or the host's."""
    host = {ip_address(a) for group in (HOST, PUBLIC, OTHER) for a in group.values()}
    assert source in host or source == given
    assert source not in HOLDERS or program == "from_endpoint"


def converse(edge: Edge, seed: int) -> dict[str, Counter[str]]:
    closed = frozenset({SHUT.mac})
    oracle = PublishedOracle(ports=PORTS, closed=closed)
    conversation = Conversation(edge, random.Random(seed), oracle)
    for _ in range(CASES):
        conversation.step()
    return conversation.said


@pytest.fixture
def busy(edge: Edge) -> Edge:
    """With all ports of the conversation published."""
    if "shut0" not in edge.place.shell("ip -br link"):
        ifindex = SHUT.record.ifindex
        edge.place.shell(f"ip link add shut0 index {ifindex} type veth peer name shut1")
        edge.place.shell("ip link set shut0 up")
    for (address, port), found in PORTS.items():
        for family in {4, 6} if not address else {ip_address(address).version}:
            at = address or {4: "0.0.0.0", 6: "::"}[family]
            origin = found.origin[family] if found.origin else ""
            sole = found.origin is not None
            edge.publish((at, port), (found.actor, found.port), sole=sole, origin=origin)
    return edge


def all_said(edge: Edge, seed: int) -> None:
    said = edge.place.run(converse, edge, seed)

    assert CASES == sum(found.total() for found in said.values())
    for program, least in (("from_wire", 0.1), ("from_endpoint", 0.1)):
        found = said[program]
        assert found.total() * least < found["translated"], found
        assert found["answer"], found
    assert said["to_endpoint"]["host"] > said["to_endpoint"].total() * 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_no_frame_is_translated_otherwise_than_by_the_oracle(busy, seed):
    all_said(busy, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SOAK)
def test_no_frame_of_many_is_translated_otherwise(busy, seed):
    all_said(busy, seed)
