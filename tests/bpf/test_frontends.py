"""A service's port on every host: whole frames, of the host that is asked and of the others.

The scene is that of `beyond`: the host under test has number 1, anna is its own endpoint, nora is
north's, sam is south's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import count
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from tests.bpf.test_services import WatchedTarget

import beyond as others
from beyond import FAMILIES, LONE, NORTH, SOUTH, frame_of, goes, hopped, portless, sends
from cast import ANNA, BERT, HOST, WORLD, Actor, Outcome, dropped, ip, passed
from edge import (
    ANY,
    LOOPBACK,
    PROTOCOLS,
    PUBLIC,
    UPLINK_MTU,
    WIRE,
    answers,
    arrives,
    leaves,
    number,
    reaches,
    redirected,
    says,
)
from seaway.bpf import abi, trial
from seaway.bpf.services import ServiceTarget
from seaway.bpf.table import Table
from seaway.model.addresses import mapped
from seaway.names import OVERLAY_ID
from serviced import ONE_IN_A_MILLION, by_slots, chi_squared, frontend, port_key

KINDS = pytest.mark.parametrize("kind", PROTOCOLS)
ASKING, PORT, BACKEND = 40000, 8080, 80
AT_ONCE = 4096  # flows that tokens are there for, of any one payer
HERE = OVERLAY_ID + 1  # the identifier of what this host was asked


@dataclass(frozen=True)
class Nth:
    """One of several backends of north's."""

    number: int

    def address(self, family: int) -> str:
        return NORTH.address(family, self.number)


Place = Actor | others.Beyond | Nth


class World(others.World):
    """With services."""

    pinned = "frontends"

    def _reset(self) -> None:
        super()._reset()
        self.drains: dict[abi.PortKey, float] = {}
        self.services = ServiceTarget(self.plane, lambda *_: None, self.drains)
        self.services.delete(set(self.services.read()))

    def lead(self, *places: Place, slots: Sequence[int] | None = (0,), **how: Any) -> None:
        """Port 8080 to these, by a table that has these slots in turn; None: by the usual one."""
        how.setdefault("algorithm", abi.SERVICE_MAGLEV)
        drain = how.pop("drain", 30.0)
        for place in places:
            if isinstance(place, Actor):
                self.enter(place, flags=place.record.flags | abi.ENDPOINT_PUBLISHED)
        given: dict[str, Any] = {"drain": drain}
        if slots is not None:
            given["table"] = by_slots(slots) if slots else b""
        made = {
            port_key(ANY[family], PORT, protocol): replace(
                frontend([(place.address(family), BACKEND) for place in places], **how), **given
            )
            for family in (4, 6)
            for protocol, _ in PROTOCOLS.values()
        }
        assert {} == self.place.run(self.services.put, made)
        self.drains |= dict.fromkeys(made, drain)

    def led_to(self, family: int, clients: Sequence[tuple[int, int]]) -> Counter[bytes]:
        """Whom these datagrams were carried to, by the last octets of who asks and his ports."""
        found = Counter[bytes]()
        for begin in range(0, len(clients), AT_ONCE):
            found.update(self.place.run(self.lead_these, family, clients[begin:][:AT_ONCE]))
            self.spend_all(left=AT_ONCE)
        return found

    def lead_these(self, family: int, clients: Sequence[tuple[int, int]]) -> Counter[bytes]:
        """The same, on the stage."""
        frame, found = bytearray(bytes(asks(family, "udp"))), Counter[bytes]()
        source, port = {4: (29, 34), 6: (37, 54)}[family]
        inside = {4: slice(80, 84), 6: slice(88, 104)}[family]  # behind what carries by IPv4
        program, wire = self.plane.programs["from_wire"].fd, trial.Context(WIRE, WIRE)
        for octet, own in clients:
            frame[source], frame[port : port + 2] = octet, number(own)
            found[trial.run(program, bytes(frame), wire).frame[inside]] += 1
        return found

    def remember(self, family: int, kind: str, asked: others.Beyond, sport: int = ASKING) -> None:
        """A flow from the client to anna, by another host: as from_overlay enters it."""
        client, anna = (mapped(ip_address(a[family])) for a in (WORLD, {4: ANNA.v4, 6: ANNA.v6}))
        protocol = PROTOCOLS[kind][0]
        there = client, anna, number(ASKING), number(BACKEND)
        back = anna, client, number(BACKEND), number(sport)
        flows = Table(self.plane.maps["flows"])
        for ends, to, flags, ingress in (
            (there, (client, anna, number(sport), number(BACKEND)), 0, asked.number),
            (back, (anna, client, number(BACKEND), number(ASKING)), 1, 0),
        ):
            key = abi.FlowKey(*ends, protocol, ingress=ingress)
            epoch = self.place.run(lambda: next(Table(self.plane.maps["epochs"]).elements()))[1]
            flow = abi.Flow(
                *to,
                epoch=int.from_bytes(epoch, "little"),
                seen=0,
                flags=flags,
                container=ANNA.record.container,
                tag=tag(key),
                ingress=asked.number,
            )
            assert {} == self.place.run(flows.update, [(key.pack(), flow.pack())])


def tag(key: abi.FlowKey) -> int:
    """flow_tag of bpf/lib/flow.h"""
    found = int.from_bytes(key.src_port, "little") << 16 | int.from_bytes(key.dst_port, "little")
    for i in range(0, 16, 4):
        src, dst = (int.from_bytes(a[i : i + 4], "little") for a in (key.src, key.dst))
        found = (found * 31 + (src ^ dst << 1 & 0xFFFFFFFF)) & 0xFFFFFFFF
    return found ^ key.protocol ^ key.ingress << 8


@pytest.fixture
def world(stood: World) -> World:
    stood.reset()
    return stood


def flagged(kind: str, flags: str = "S") -> dict[str, str]:
    return {"flags": flags} if kind == "tcp" else {}


def asks(family: int, kind: str, sport: int = ASKING, size: int = 20, **fields: Any) -> Packet:
    head = arrives(family, PUBLIC[family], **fields)
    return head / says(kind, sport, PORT, size, **flagged(kind))


def led(family: int, kind: str, to: Place, sport: int = ASKING, size: int = 20) -> Packet:
    """What the question is on its way, from layer 3."""
    head = ip(family, WORLD[family], to.address(family), ttl=63)
    return head / says(kind, sport, BACKEND, size, **flagged(kind))


@FAMILIES
@KINDS
@pytest.mark.parametrize("size", [0, 1, 20, 21, 1000])
def test_a_request_is_carried_to_the_host_that_has_the_backend(world, family, kind, size):
    world.lead(NORTH)
    for _ in range(2):  # then by its flow
        found = world.from_wire(asks(family, kind, size=size))
        expected = goes(NORTH, led(family, kind, NORTH, size=size), vni=HERE)
        assert expected == portless(found)
    assert 2 == len(world.flows())


@FAMILIES
@KINDS
@pytest.mark.parametrize("size", [0, 1, 20, 21, 1000])
def test_its_answer_leaves_as_if_the_host_had_answered(world, family, kind, size):
    world.lead(NORTH)
    world.from_wire(asks(family, kind))

    reply = ip(family, NORTH.address(family), WORLD[family]) / says(kind, BACKEND, ASKING, size)
    expected = leaves(family, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING, size)
    found = world.from_wire(sends(NORTH, frame_of(reply), vni=HERE))
    assert redirected(expected) == found


@FAMILIES
@KINDS
def test_a_backend_of_this_host_is_reached_at_once(world, family, kind):
    world.lead(ANNA)
    expected = Ether(bytes(reaches(family, ANNA, ttl=63) / led(family, kind, ANNA)[1]))
    assert redirected(expected) == world.from_wire(asks(family, kind))

    answer = answers(family, ANNA) / says(kind, BACKEND, ASKING)
    expected = leaves(family, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING)
    assert redirected(expected) == world.send(answer)


@FAMILIES
@KINDS
def test_an_endpoints_own_port_goes_first(world, family, kind):
    world.lead(NORTH)
    world.publish((ANY[family], PORT), (BERT, BACKEND))

    expected = reaches(family, BERT, ttl=63) / led(family, kind, BERT)[1]
    assert redirected(expected) == world.from_wire(asks(family, kind))


@FAMILIES
@KINDS
def test_a_packet_whose_flow_is_forgotten_gets_the_same_backend(world, family, kind):
    world.lead(NORTH, SOUTH, ANNA, slots=(0, 1, 2))
    for sport in range(ASKING, ASKING + 20):
        first = portable(world.from_wire(asks(family, kind, sport)))
        assert 2 == world.forget_flows()
        assert first == portable(world.from_wire(asks(family, kind, sport)))
        world.forget_flows()


def portable(outcome: Outcome) -> Outcome:
    """Whether it is carried or not."""
    carried = outcome.frame[:6] in {bytes.fromhex(h.mac.replace(":", "")) for h in (NORTH, SOUTH)}
    return portless(outcome) if carried else outcome


@FAMILIES
def test_the_table_spreads_clients_evenly_and_by_ports_and_addresses(world, family):
    """Whom a slot names is asked by its share of them."""
    world.lead(NORTH, ANNA, slots=(0, 1, 1, 1))
    own = 0
    for sport in range(ASKING, ASKING + 400):
        own += world.from_wire(asks(family, "udp", sport)).frame[:6] == ANNA.record.mac
    assert 240 < own < 355  # 300, and 6 times its deviation


@pytest.mark.parametrize(
    ("family", "algorithm", "weights", "flows"),
    [
        (4, abi.SERVICE_MAGLEV, (1,) * 10, 100_000),
        (6, abi.SERVICE_MAGLEV, range(1, 11), 100_000),
        (4, abi.SERVICE_RANDOM, range(1, 11), 10_000),
        (6, abi.SERVICE_ROUND_ROBIN, (1,) * 10, 10_000),
    ],
)
def test_of_very_many_flows_each_of_ten_backends_has_its_share(
    world, family, algorithm, weights, flows
):
    """Of clients that have neighbouring addresses and ports."""
    backends = [Nth(n) for n in range(1, 11)]
    world.lead(*backends, slots=None, algorithm=algorithm, weights=weights)
    clients = [(100 + n % 100, 20_000 + n // 100) for n in range(flows)]
    found = world.led_to(family, clients)
    shares = [len(clients) * weight / sum(weights) for weight in weights]
    counts = [found[ip_address(to.address(family)).packed] for to in backends]
    assert len(clients) == sum(counts)
    assert chi_squared(counts, shares) < ONE_IN_A_MILLION[9]


@FAMILIES
def test_a_client_with_affinity_has_one_backend_by_the_table(world, family):
    world.lead(NORTH, ANNA, slots=(0, 1), affinity=100)
    found = {
        world.from_wire(asks(family, "udp", sport)).frame[:6]
        for sport in range(ASKING, ASKING + 20)
    }
    assert 1 == len(found)


@FAMILIES
@pytest.mark.parametrize("slots", [(), (7,), (0xFFFF,)])
def test_where_the_table_names_nobody_a_backend_is_drawn(world, family, slots):
    world.lead(ANNA, slots=slots)
    assert "redirect" == world.from_wire(asks(family, "tcp")).verdict


@FAMILIES
def test_who_has_no_weight_is_not_drawn(world, family):
    world.lead(NORTH, ANNA, slots=(), algorithm=abi.SERVICE_RANDOM, weights=(0, 5))
    for sport in range(20):
        frame = world.from_wire(asks(family, "udp", ASKING + sport)).frame
        assert ANNA.record.mac == frame[:6]


# Nobody is there


@FAMILIES
@pytest.mark.parametrize("flags", ["S", "A", "FA", "PA", ""])
def test_tcp_is_reset_where_there_is_refused(world, family, flags):
    world.lead(slots=())
    segment = says("tcp", ASKING, PORT, 9, flags=flags, seq=100, ack=7, options=[("NOP", None)] * 4)
    if "A" in flags:
        reset = TCP(sport=PORT, dport=ASKING, flags="R", seq=7, ack=0, window=0)
    else:
        after = 100 + 9 + ("S" in flags)
        reset = TCP(sport=PORT, dport=ASKING, flags="RA", seq=0, ack=after, window=0)
    head = {"flags": "DF", "id": 0} if family == 4 else {}
    expected = Outcome(
        "redirect", bytes(leaves(family, PUBLIC[family], **head) / reset), {"refused": 1}
    )
    assert expected == world.from_wire(arrives(family, PUBLIC[family]) / segment)


@FAMILIES
def test_a_reset_is_not_answered(world, family):
    world.lead(slots=())
    segment = says("tcp", ASKING, PORT, 0, flags="R")
    assert dropped("refused") == world.from_wire(arrives(family, PUBLIC[family]) / segment)


@FAMILIES
def test_a_datagram_is_told_that_the_port_is_closed(world, family):
    world.lead(slots=())
    frame = asks(family, "udp")
    told = ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
    assert told_to_client(frame, told, "refused") == world.from_wire(frame)


def told_to_client(frame: Packet, told: Packet, reason: str) -> Outcome:
    family = 4 if frame.type == 0x800 else 6
    fields = {"tos": 0xC0, "flags": "DF", "id": 0} if family == 4 else {}
    answer = leaves(family, PUBLIC[family], **fields) / told / Raw(bytes(frame)[14:][:128])
    return Outcome("redirect", bytes(answer), {reason: 1})


@FAMILIES
@KINDS
def test_a_silent_service_says_nothing(world, family, kind):
    world.lead(slots=(), flags=abi.SERVICE_SILENT)
    assert dropped("silent") == world.from_wire(asks(family, kind))


@FAMILIES
@KINDS
def test_who_is_nowhere_is_nobody(world, family, kind):
    """A backend that is no endpoint of ours, nor of a host that is known."""
    world.lead(LONE)
    world.forget(LONE)
    found = world.from_wire(asks(family, kind))
    assert ("redirect", {"refused": 1}) == (found.verdict, found.drops)


@FAMILIES
def test_a_container_is_refused_by_its_gateway(world, family):
    world.lead(slots=())
    frame = answers(family, ANNA, PUBLIC[family]) / says("tcp", ASKING, PORT, 0, flags="S", seq=1)
    head = {"flags": "DF", "id": 0} if family == 4 else {}
    reset = TCP(sport=PORT, dport=ASKING, flags="RA", seq=0, ack=2, window=0)
    expected = reaches(family, ANNA, PUBLIC[family], **head) / reset
    assert Outcome("redirect", bytes(expected), {"refused": 1}) == world.send(frame)


# Who asks from inside


@FAMILIES
@KINDS
def test_a_container_asks_by_its_host(world, family, kind):
    world.lead(BERT)
    asked = answers(family, ANNA, PUBLIC[family]) / says(kind, ASKING, PORT)
    expected = reaches(family, BERT, ANNA.address(family), ttl=63) / says(kind, ASKING, BACKEND)
    assert redirected(expected) == world.send(asked)
    answer = answers(family, BERT, ANNA.address(family)) / says(kind, BACKEND, ASKING)
    expected = reaches(family, ANNA, PUBLIC[family], ttl=63) / says(kind, PORT, ASKING)
    assert redirected(expected) == world.from_bert(answer)

    world.lead(ANNA)
    asked = answers(family, ANNA, PUBLIC[family]) / says(kind, ASKING + 1, PORT)
    expected = reaches(family, ANNA, HOST[family], ttl=63) / says(kind, ASKING + 1, BACKEND)
    assert redirected(expected) == world.send(asked)


# As the host that has the backend, or relays


@FAMILIES
@KINDS
@pytest.mark.parametrize("sport", [ASKING, 0x9000])
def test_what_another_host_was_asked_arrives_where_its_flow_is_known(world, family, kind, sport):
    """From another port, where the client's was taken."""
    world.lead(ANNA)
    world.remember(family, kind, NORTH, sport)
    asked = ip(family, WORLD[family], ANNA.address(family)) / says(kind, ASKING, BACKEND)
    expected = reaches(family, ANNA, ttl=63) / says(kind, sport, BACKEND)
    found = world.from_wire(sends(NORTH, frame_of(asked), vni=OVERLAY_ID + NORTH.number))
    assert redirected(expected) == found

    answer = answers(family, ANNA) / says(kind, BACKEND, sport)
    back = ip(family, ANNA.address(family), WORLD[family], ttl=63) / says(kind, BACKEND, ASKING)
    expected = goes(NORTH, back, vni=OVERLAY_ID + NORTH.number)
    assert expected == portless(world.send(answer))


@FAMILIES
def test_an_unknown_flow_is_no_business_of_the_short_cut(world, family):
    world.lead(ANNA)
    asked = ip(family, WORLD[family], ANNA.address(family)) / says("udp", ASKING, BACKEND)
    frame = sends(NORTH, frame_of(asked), vni=OVERLAY_ID + NORTH.number)
    assert passed(frame) == world.from_wire(frame)


@FAMILIES
@KINDS
def test_who_relays_keeps_whose_it_is(world, family, kind):
    """From north, which was asked, to lone and back."""
    vni, there = OVERLAY_ID + NORTH.number, LONE.address(family)
    world.revive(LONE)
    world.path(LONE, LONE)
    asked = frame_of(ip(family, WORLD[family], there) / says(kind, ASKING, BACKEND))
    found = world.from_wire(sends(NORTH, asked, vni=vni))
    assert goes(LONE, hopped(asked), vni=vni) == portless(found)

    answer = frame_of(ip(family, there, WORLD[family]) / says(kind, BACKEND, ASKING))
    found = world.from_wire(sends(LONE, answer, vni=vni))
    assert goes(NORTH, hopped(answer), vni=vni) == portless(found)
    assert {} == world.flows()


ELSE = {4: "192.0.2.8", 6: "2001:db8::8"}
# Who sends it, from whom to whom, and the number of the host that is said to have been asked.
LIES = {
    "of an endpoint of ours": lambda f: (NORTH, BERT.address(f), ANNA.address(f), 2),
    "of our host": lambda f: (NORTH, HOST[f], ANNA.address(f), 2),
    "of another host's": lambda f: (NORTH, SOUTH.address(f), ANNA.address(f), 2),
    "of the loopback": lambda f: (NORTH, LOOPBACK[f], ANNA.address(f), 2),
    "by who was not asked and does not relay": lambda f: (LONE, WORLD[f], ANNA.address(f), 2),
    "under our own number": lambda f: (NORTH, WORLD[f], ANNA.address(f), 1),
    "under nobody's number": lambda f: (NORTH, WORLD[f], ANNA.address(f), 99),
    "an answer to one of us": lambda f: (NORTH, NORTH.address(f), BERT.address(f), 1),
    "an answer to no question": lambda f: (NORTH, NORTH.address(f), ELSE[f], 1),
}


@FAMILIES
@pytest.mark.parametrize("lie", list(LIES))
def test_a_lie_is_no_business_of_the_short_cut(world, family, lie):
    """from_overlay refuses it, as tests/netns sees."""
    world.lead(ANNA)
    world.remember(family, "udp", NORTH)
    host, source, target, asked = LIES[lie](family)
    packet = frame_of(ip(family, source, target) / says("udp", ASKING, BACKEND))
    frame = sends(host, packet, vni=OVERLAY_ID + asked)
    assert passed(frame) == world.from_wire(frame)


# Errors, and what does not fit


@FAMILIES
@KINDS
def test_an_error_about_an_answer_goes_to_the_backend(world, family, kind):
    """A router of the outside says so; what it quotes is what the backend sent."""
    world.lead(NORTH)
    world.from_wire(asks(family, kind))
    router = "198.51.100.254" if family == 4 else "2001:db8:100::fe"
    told = ICMP(type=3, code=1) if family == 4 else ICMPv6DestUnreach(code=3)
    outside = leaves(family, PUBLIC[family]) / says(kind, PORT, ASKING)
    inside = ip(family, NORTH.address(family), WORLD[family]) / says(kind, BACKEND, ASKING)

    error = arrives(family, PUBLIC[family], router) / told / Raw(bytes(outside)[14:])
    expected = ip(family, router, NORTH.address(family), ttl=63) / told / Raw(bytes(inside))
    assert goes(NORTH, expected, vni=HERE) == portless(world.from_wire(error))


@FAMILIES
@KINDS
def test_an_error_of_the_backend_goes_back_to_the_host_that_was_asked(world, family, kind):
    world.lead(ANNA)
    world.remember(family, kind, NORTH, 0x9000)
    told = ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
    asked = ip(family, WORLD[family], ANNA.address(family)) / says(kind, 0x9000, BACKEND)
    before = ip(family, WORLD[family], ANNA.address(family)) / says(kind, ASKING, BACKEND)

    error = answers(family, ANNA) / told / Raw(bytes(asked))
    back = ip(family, ANNA.address(family), WORLD[family], ttl=63) / told / Raw(bytes(before))
    expected = goes(NORTH, back, vni=OVERLAY_ID + NORTH.number)
    assert expected == portless(world.send(error))


@FAMILIES
def test_the_client_is_told_what_does_not_fit_and_what_lived_too_long(world, family):
    world.lead(NORTH)
    room = UPLINK_MTU - others.ADDED[NORTH.family]
    told = ICMP(type=3, code=4, nexthopmtu=room) if family == 4 else ICMPv6PacketTooBig(mtu=room)
    large = asks(family, "udp", size=UPLINK_MTU - 60)
    assert told_to_client(large, told, "too_big") == world.from_wire(large)
    old = asks(family, "udp", ttl=1)
    told = ICMP(type=11, code=0) if family == 4 else ICMPv6TimeExceeded(code=0)
    assert told_to_client(old, told, "ttl_exceeded") == world.from_wire(old)


@FAMILIES
def test_where_no_link_leads_the_client_is_told(world, family):
    world.lead(NORTH)
    world.bury(NORTH)
    frame = asks(family, "udp")
    told = ICMP(type=3, code=1) if family == 4 else ICMPv6DestUnreach(code=3)
    assert told_to_client(frame, told, "no_path") == world.from_wire(frame)


# Changes


@FAMILIES
def test_after_a_change_datagrams_go_on_to_another_and_connections_stay(world, family):
    world.lead(NORTH)
    for kind in PROTOCOLS:
        world.from_wire(asks(family, kind))
    world.lead(ANNA)
    follows = arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT, flags="A")
    assert NORTH.mac == Ether(world.from_wire(follows).frame).dst
    assert ANNA.mac == Ether(world.from_wire(asks(family, "udp")).frame).dst
    assert ANNA.mac == Ether(world.from_wire(asks(family, "tcp")).frame).dst  # it opens one anew


@FAMILIES
@pytest.mark.parametrize(("drain", "verdict"), [(30.0, {}), (0.0, {"refused": 1})])
def test_a_connection_to_a_backend_that_left_ends_with_its_time_to_drain(
    world, family, drain, verdict
):
    world.lead(NORTH)
    world.from_wire(asks(family, "tcp"))
    world.lead(ANNA, drain=drain)
    follows = arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT, flags="A")
    assert verdict == world.from_wire(follows).drops


@FAMILIES
@KINDS
def test_a_flow_ends_with_its_service(world, family, kind):
    world.lead(NORTH)
    frame = asks(family, kind)
    assert "redirect" == world.from_wire(frame).verdict
    world.place.run(world.services.delete, set(world.place.run(world.services.read)))
    assert passed(frame) == world.from_wire(frame)
    assert {} == world.flows()


def kept(world: World) -> list[bytes]:
    """The clients of whom a backend is kept."""
    table = Table(world.plane.maps["affinities"])
    return world.place.run(lambda: [key for key, _ in table.elements()])


@FAMILIES
@KINDS
def test_who_pays_for_no_flow_takes_no_place_among_those_whose_backend_is_kept(world, family, kind):
    """Else a flood from forged addresses drives them out."""
    world.place.run(Table(world.plane.maps["affinities"]).delete, kept(world))
    world.lead(ANNA, slots=(), algorithm=abi.SERVICE_RANDOM, affinity=100)
    assert "redirect" == world.from_wire(asks(family, kind)).verdict
    (client,) = kept(world)
    world.spend_all()
    for sport in range(ASKING, ASKING + 5):
        frame = arrives(family, PUBLIC[family], ELSE[family])
        frame = frame / says(kind, sport, PORT, **flagged(kind))
        assert dropped("flow_limit") == world.from_wire(frame)
    assert [client] == kept(world)


@FAMILIES
def test_a_client_keeps_the_backend_that_another_algorithm_chose(world, family):
    world.lead(NORTH, ANNA, slots=(), algorithm=abi.SERVICE_ROUND_ROBIN, affinity=100)
    found = {world.from_wire(asks(family, "udp", ASKING + n)).frame[:6] for n in range(10)}
    assert 1 == len(found)


@FAMILIES
@pytest.mark.parametrize("drain", [30.0, 0.0])
def test_a_connection_outlives_its_service_while_it_has_time(world, family, drain):
    world.lead(NORTH, drain=drain)
    world.from_wire(asks(family, "tcp"))
    world.place.run(world.services.delete, set(world.place.run(world.services.read)))
    follows = arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT, flags="A")
    if drain:
        assert NORTH.mac == Ether(world.from_wire(follows).frame).dst
        reply = ip(family, NORTH.address(family), WORLD[family]) / says("tcp", BACKEND, ASKING)
        found = world.from_wire(sends(NORTH, frame_of(reply), vni=HERE))
        expected = leaves(family, PUBLIC[family], ttl=63) / says("tcp", PORT, ASKING)
        assert redirected(expected) == found
    opens = asks(family, "tcp")
    assert passed(opens) == world.from_wire(opens)
    assert passed(follows) == world.from_wire(follows)


SAYS = {"F": 128, "R": 256, "RA": 256, "FA": 128, "FPA": 128, "A": 0, "S": 0, "SA": 0}


@FAMILIES
@pytest.mark.parametrize("flags", SAYS)
def test_each_direction_of_a_flow_notes_how_it_ends(world, family, flags):
    world.lead(ANNA)
    world.from_wire(asks(family, "tcp"))
    answer = answers(family, ANNA) / says("tcp", BACKEND, ASKING, flags=flags)
    assert "redirect" == world.send(answer).verdict
    noted = {bool(flow.flags & 1): flow.flags & 384 for flow in world.flows().values()}
    assert {False: 0, True: SAYS[flags]} == noted
    if flags == "SA":
        return
    world.from_wire(arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT, flags="FA"))
    noted = {bool(flow.flags & 1): flow.flags & 384 for flow in world.flows().values()}
    assert {False: 128, True: SAYS[flags]} == noted
    world.from_wire(asks(family, "tcp"))  # from that port again
    world.send(answers(family, ANNA) / says("tcp", BACKEND, ASKING, flags="SA"))
    noted = {bool(flow.flags & 1): flow.flags & 384 for flow in world.flows().values()}
    assert {False: 0 if SAYS[flags] else 128, True: 0} == noted  # or once more: it is still closed


@FAMILIES
@pytest.mark.parametrize(("flags", "to"), [("A", NORTH), ("FA", ANNA), ("R", ANNA)])
def test_from_a_port_that_was_used_before_a_backend_is_chosen_anew(world, family, flags, to):
    world.lead(NORTH)
    world.from_wire(asks(family, "tcp"))
    segment = says("tcp", BACKEND, ASKING, flags=flags)
    reply = ip(family, NORTH.address(family), WORLD[family]) / segment
    assert "redirect" == world.from_wire(sends(NORTH, frame_of(reply), vni=HERE)).verdict
    world.from_wire(arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT, flags="FA"))
    world.lead(NORTH, ANNA, slots=(1,))
    assert to.mac == Ether(world.from_wire(asks(family, "tcp")).frame).dst


@FAMILIES
@KINDS
def test_without_a_token_no_flow_is_opened(world, family, kind):
    world.lead(NORTH)
    assert "redirect" == world.from_wire(asks(family, kind)).verdict
    world.spend_all()
    assert dropped("flow_limit") == world.from_wire(asks(family, kind, ASKING + 1))


# While a service changes


@FAMILIES
@pytest.mark.parametrize(
    "algorithm",
    [abi.SERVICE_RANDOM, abi.SERVICE_ROUND_ROBIN, abi.SERVICE_LEAST, abi.SERVICE_MAGLEV],
)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({1: 1, 5: 1, 7: 1}, {1: 1, 3: 0, 5: 1, 7: 1}),  # one comes, and is not ready
        ({1: 1, 2: 0, 5: 1, 7: 1}, {1: 1, 5: 1, 7: 1}),
        ({1: 0, 2: 0, 3: 0, 4: 0, 9: 1}, {4: 0, 5: 0, 9: 1}),
        ({2: 3, 4: 1, 6: 0}, {1: 0, 2: 3, 3: 0, 5: 1, 6: 0, 8: 0}),
        ({8: 1}, {1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0, 8: 2}),
    ],
)
def test_between_any_two_writes_who_has_no_weight_gets_nothing(
    world, family, algorithm, before, after
):
    """And everybody is led to somebody. Each write moves others to another slot."""
    key, turn = port_key(ANY[family], PORT, PROTOCOLS["udp"][0]), count(1024)
    weighty = {
        ip_address(NORTH.address(family, n)).packed
        for each in (before, after)
        for n, weight in each.items()
        if weight
    }
    found = Counter[bytes]()

    def made(weights: dict[int, int]) -> dict[abi.PortKey, abi.Frontend]:
        places = [(NORTH.address(family, n), BACKEND) for n in weights]
        return {key: frontend(places, list(weights.values()), algorithm)}

    def look() -> None:
        found.update(world.lead_these(family, [(9, next(turn)) for _ in range(8)]))

    def walk() -> None:
        world.services.put(made(before))
        target = WatchedTarget(world.plane, look)
        target.read()
        target.put(made(after))
        look()

    world.place.run(walk)
    assert found.keys() <= weighty
    assert found.total() >= 8 * 2
