"""What asks a service past the hooks of sockets: led to a backend frame by frame, and back.

The host is that of `beyond`: bert is a backend here, nora one behind north.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from beyond import (
    EXCEEDED,
    FAMILIES,
    NORTH,
    TOO_BIG,
    UNREACHABLE,
    Beyond,
    World,
    answered,
    frame_of,
    goes,
    hopped,
    inner,
    portless,
    sends,
)
from cast import ANNA, BERT, CARL, SMALL, Actor, Outcome, dropped, forwarded, ip, sent
from edge import ANY, PROTOCOLS, PUBLIC, arrives, piece, reaches, redirected, says
from seaway.bpf import abi
from seaway.bpf.services import ServiceTarget
from seaway.bpf.table import Table
from seaway.desired.network.networks import SERVICES
from seaway.model.addresses import mapped
from seaway.names import GATEWAY_MAC
from serviced import VIP, VIPS, frontend, port_key

KINDS = pytest.mark.parametrize("kind", PROTOCOLS)
ASKING, PORT, BACKEND = 40000, 80, 7000
PORT_UNREACHABLE = {4: (3, 3, 0), 6: (1, 4, 0)}
LED, LEFT = 8, 64  # FLOW_LED, FLOW_LEFT


@dataclass(frozen=True)
class Shop:
    """Services on that host."""

    world: World
    services: ServiceTarget

    def serve(self, *backends: Actor | Beyond, port: int = PORT, **how: Any) -> None:
        """A port of the VIP of each family, by port 7000 of these."""
        self._put(
            {
                port_key(VIP[family], port, protocol): frontend(
                    [(b.address(family), BACKEND) for b in backends], **how
                )
                for family in (4, 6)
                for protocol, _ in PROTOCOLS.values()
            }
        )

    def publish(self, port: int, *backends: Actor | Beyond) -> None:
        """A port of every host, by port 7000 of these."""
        self._put(
            {
                port_key(ANY[family], port, protocol): frontend(
                    [(b.address(family), BACKEND) for b in backends]
                )
                for family in (4, 6)
                for protocol, _ in PROTOCOLS.values()
            }
        )

    def _put(self, frontends: dict[abi.PortKey, abi.Frontend]) -> None:
        assert {} == self.world.place.run(self.services.put, frontends)

    def drain_until(self, gone: Actor, seconds: float) -> None:
        """Connections to who left may go on for so long."""
        until = (time.monotonic_ns() + round(seconds * 1e9)).to_bytes(8, "little")
        keys = [
            abi.LeavingKey(
                port_key(VIP[family], PORT, protocol).pack(),
                mapped(ip_address(gone.address(family))) + BACKEND.to_bytes(2, "big") + bytes(2),
            ).pack()
            for family in (4, 6)
            for protocol, _ in PROTOCOLS.values()
        ]
        table = Table(self.world.plane.maps["leaving"])
        self.world.place.run(table.update, [(key, until) for key in keys])

    def led(self) -> list[abi.Flow]:
        return [flow for flow in self.world.flows().values() if flow.flags & LED]


@pytest.fixture
def shop(beyond):
    services = beyond.place.run(ServiceTarget, beyond.plane, lambda *_: None)
    beyond.place.run(services.delete, set(beyond.place.run(services.read)))
    beyond.place.run(beyond.targets["subnets"].put, dict.fromkeys(VIPS, SERVICES))
    return Shop(beyond, services)


def asks(family: int, payload: Packet, sender: Actor = ANNA, **fields: Any) -> Packet:
    return sent(family, VIP[family], sender, **fields) / payload


def request(kind: str, size: int = 20, **fields: Any) -> Packet:
    return says(kind, ASKING, fields.pop("port", PORT), size, **fields)


def led(kind: str, size: int = 20, **fields: Any) -> Packet:
    """The same, as it reaches a backend."""
    return says(kind, ASKING, BACKEND, size, **fields)


def answer(kind: str, size: int = 20, **fields: Any) -> Packet:
    return says(kind, BACKEND, ASKING, size, **fields)


def returned(family: int, kind: str, size: int = 20, ttl: int = 63, **fields: Any) -> Outcome:
    """An answer, as it reaches anna."""
    frame = reaches(family, ANNA, VIP[family], ttl=ttl) / says(kind, PORT, ASKING, size, **fields)
    return redirected(frame)


def back(shop: Shop, family: int, payload: Packet, backend: Actor = BERT, **fields: Any) -> Outcome:
    frame = sent(family, ANNA.address(family), backend, **fields) / payload
    return shop.world.send(frame, ifindex=backend.record.ifindex)


def to(family: int, actor: Actor, payload: Packet, **fields: Any) -> Outcome:
    return forwarded(sent(family, actor.address(family), **fields) / payload, actor)


# There and back


@FAMILIES
@KINDS
@pytest.mark.parametrize("size", [0, 1, 20, 1300])
def test_a_request_reaches_a_backend_here_and_the_answer_bears_the_vip(shop, family, kind, size):
    shop.serve(BERT)
    for _ in range(2):
        found = shop.world.send(asks(family, request(kind, size)))
        assert to(family, BERT, led(kind, size)) == found
        assert returned(family, kind, size) == back(shop, family, answer(kind, size))
    assert 2 == len(shop.led())


@FAMILIES
def test_a_flow_takes_nothing_over_from_a_carried_one_before_it(shop, family):
    """Both are made at one place of a CPU."""
    shop.serve(BERT)
    shop.publish(8080, NORTH)
    for sport in range(ASKING, ASKING + 8):
        outside = arrives(family, PUBLIC[family]) / UDP(sport=sport, dport=8080)
        assert "redirect" == shop.world.from_wire(outside).verdict
        shop.world.send(asks(family, UDP(sport=sport, dport=PORT) / b"x"))
    assert [0] * 16 == [flow.ingress for flow in shop.led()]


@FAMILIES
@KINDS
def test_a_request_reaches_a_backend_of_another_host_and_the_answer_bears_the_vip(
    shop, family, kind
):
    shop.serve(NORTH)
    expected = hopped(sent(family, NORTH.address(family)) / led(kind))
    assert goes(NORTH, expected) == portless(shop.world.send(asks(family, request(kind))))

    frame = frame_of(inner(family, NORTH, ANNA.address(family), answer(kind)))
    assert returned(family, kind) == shop.world.from_wire(sends(NORTH, frame))
    assert returned(family, kind) == shop.world.from_overlay(frame)


@FAMILIES
@KINDS
def test_what_the_hosts_stack_delivers_bears_the_vip_as_well(shop, family, kind):
    """An answer that it had to cut, or one of a backend outside."""
    shop.serve(BERT)
    shop.world.send(asks(family, request(kind)))
    frame = Ether(src=GATEWAY_MAC, dst="02:00:00:00:00:99") / ip(
        family, BERT.address(family), ANNA.address(family)
    )
    found = shop.world.send(
        frame / answer(kind),
        "to_endpoint",
        ifindex=ANNA.record.ifindex,
        ingress_ifindex=BERT.record.ifindex,
    )
    expected = reaches(family, ANNA, VIP[family]) / says(kind, PORT, ASKING)
    assert ("host", bytes(expected)) == (found.verdict, found.frame)


def test_a_datagram_without_a_checksum_stays_without(shop):
    shop.serve(BERT)
    found = shop.world.send(asks(4, request("udp", chksum=0)))
    assert to(4, BERT, led("udp", chksum=0)) == found
    assert returned(4, "udp", chksum=0) == back(shop, 4, answer("udp", chksum=0))


@FAMILIES
def test_later_parts_follow_the_first(shop, family):
    shop.serve(BERT)
    head, body = UDP(sport=ASKING, dport=PORT, len=120, chksum=0), bytes(range(112))
    whole = [bytes(head) + body, bytes(UDP(sport=ASKING, dport=BACKEND, len=120, chksum=0)) + body]
    if family == 6:  # a sum that is right stays right; no other is known of a part
        difference = _sum(VIP[6], PORT) - _sum(BERT.v6, BACKEND)
        first = 0x1234
        whole = [
            frame[:6] + check.to_bytes(2) + frame[8:]
            for frame, check in zip(whole, (first, _check(first, difference)), strict=True)
        ]
    for number in range(3):
        frame = piece(sent_to, family, (VIP[family],), whole[0], number)
        wanted = piece(sent_to, family, (BERT.address(family),), whole[1], number)
        assert forwarded(wanted, BERT) == shop.world.send(frame)


def sent_to(family: int, dst: str, **fields: Any) -> Packet:
    return sent(family, dst, **fields)


def _sum(address: str, port: int) -> int:
    packed = ip_address(address).packed
    return sum(int.from_bytes(packed[i : i + 2]) for i in range(0, len(packed), 2)) + port


def _check(check: int, difference: int) -> int:
    return 0xFFFF - (0xFFFF - check - difference) % 0xFFFF


@FAMILIES
@KINDS
def test_a_container_that_asks_itself_is_asked_by_the_vip(shop, family, kind):
    shop.serve(ANNA)
    frame = Ether(src=ANNA.mac, dst=GATEWAY_MAC) / ip(family, VIP[family], ANNA.address(family))
    assert forwarded(frame / led(kind), ANNA) == shop.world.send(asks(family, request(kind)))
    assert returned(family, kind) == shop.world.send(asks(family, answer(kind)))


@FAMILIES
@KINDS
def test_two_services_of_one_backend_keep_their_flows_apart(shop, family, kind):
    for port in (PORT, PORT + 1):
        shop.serve(BERT, port=port)
    shop.world.send(asks(family, request(kind)))
    second = Ether(shop.world.send(asks(family, request(kind, port=PORT + 1))).frame)[kind.upper()]
    assert (True, BACKEND) == (second.sport >= 0x8000, second.dport)

    found = back(shop, family, says(kind, BACKEND, second.sport))
    expected = reaches(family, ANNA, VIP[family], ttl=63) / says(kind, PORT + 1, ASKING)
    assert redirected(expected) == found
    assert returned(family, kind) == back(shop, family, answer(kind))


@FAMILIES
@KINDS
def test_who_asks_the_backend_itself_is_answered_by_it(shop, family, kind):
    shop.serve(BERT)
    shop.world.send(asks(family, request(kind)))
    fields = {"flags": "S"} if kind == "tcp" else {}
    shop.world.send(sent(family, BERT.address(family)) / led(kind, **fields))
    assert [] == shop.led()
    plain = sent(family, ANNA.address(family), BERT) / answer(kind)
    assert forwarded(plain, ANNA) == back(shop, family, answer(kind))


@FAMILIES
@KINDS
def test_a_backend_with_published_ports_is_led_to_like_any_other(shop, family, kind):
    shop.world.publish(("198.51.100.1" if family == 4 else "2001:db8:100::1", 8080), (BERT, 9))
    shop.serve(BERT)
    fields = {"flags": "S"} if kind == "tcp" else {}
    for _ in range(2):
        found = shop.world.send(asks(family, request(kind, **fields)))
        assert to(family, BERT, led(kind, **fields)) == found
        assert returned(family, kind) == back(shop, family, answer(kind))


# What is refused


def reset(family: int, numbers: dict[str, Any]) -> Outcome:
    head = {"id": 0, "flags": "DF"} if family == 4 else {}
    frame = Ether(src=GATEWAY_MAC, dst=ANNA.mac) / ip(
        family, VIP[family], ANNA.address(family), **head
    )
    answer = TCP(sport=PORT, dport=ASKING, window=0, **numbers)
    return Outcome("redirect", bytes(frame / answer), {"refused": 1})


SEGMENTS: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "opens": ({"flags": "S", "seq": 7}, 0, {"flags": "RA", "seq": 0, "ack": 8}),
    "opens, with data": ({"flags": "S", "seq": 7}, 9, {"flags": "RA", "seq": 0, "ack": 17}),
    "goes on": ({"flags": "PA", "seq": 7, "ack": 99}, 21, {"flags": "R", "seq": 99, "ack": 0}),
    "ends": ({"flags": "F", "seq": 0xFFFFFFFF}, 1, {"flags": "RA", "seq": 0, "ack": 1}),
    "has options": (
        {"flags": "S", "seq": 1, "options": [("MSS", 1400)]},
        0,
        {"flags": "RA", "seq": 0, "ack": 2},
    ),
}


@FAMILIES
@pytest.mark.parametrize("what", SEGMENTS)
@pytest.mark.parametrize("why", ["no backend", "no service"])
def test_a_segment_that_nobody_takes_is_answered_with_a_reset(shop, family, what, why):
    if why == "no backend":
        shop.serve()
    asked, size, expected = SEGMENTS[what]
    frame = asks(family, request("tcp", size, **asked))
    assert reset(family, expected) == shop.world.send(frame)


@FAMILIES
def test_a_reset_is_answered_by_none(shop, family):
    shop.serve()
    for flags in ("R", "RA"):
        frame = asks(family, request("tcp", 0, flags=flags))
        assert dropped("refused") == shop.world.send(frame)


@FAMILIES
def test_a_datagram_that_nobody_takes_is_answered_in_words(shop, family):
    frame = asks(family, request("udp"))
    assert answered("no_endpoint", frame, UNREACHABLE[family]) == shop.world.send(frame)
    shop.serve()
    assert answered("refused", frame, PORT_UNREACHABLE[family]) == shop.world.send(frame)


@FAMILIES
@KINDS
def test_a_silent_service_says_nothing(shop, family, kind):
    shop.serve(flags=abi.SERVICE_SILENT)
    assert dropped("silent") == shop.world.send(asks(family, request(kind)))


@FAMILIES
@KINDS
def test_a_backend_is_isolated_as_by_its_own_address(shop, family, kind):
    shop.serve(CARL)
    assert dropped("isolated") == shop.world.send(asks(family, request(kind)))
    shop.world.connect(1, 3)
    assert to(family, CARL, led(kind)) == shop.world.send(asks(family, request(kind)))


@FAMILIES
@KINDS
@pytest.mark.parametrize("backend", [BERT, NORTH], ids=["here", "there"])
def test_what_has_come_too_far_is_quoted_as_it_was_sent(shop, family, kind, backend):
    shop.serve(backend)
    frame = asks(family, request(kind), ttl=1)
    assert answered("ttl_exceeded", frame, EXCEEDED[family]) == shop.world.send(frame)


@FAMILIES
@KINDS
@pytest.mark.parametrize(("backend", "mtu"), [(SMALL, 1300), (NORTH, 1350)], ids=["here", "there"])
def test_what_does_not_fit_is_quoted_as_it_was_sent(shop, family, kind, backend, mtu):
    shop.serve(backend)
    fields = {"flags": "DF"} if family == 4 else {}
    frame = asks(family, request(kind, 1380), **fields)
    tells = (*TOO_BIG[family], mtu)
    assert answered("too_big", frame, tells) == shop.world.send(frame)


@FAMILIES
@KINDS
def test_who_opens_too_much_waits(shop, family, kind):
    shop.serve(BERT)
    shop.world.spend(ANNA.record.ifindex, left=1)
    assert "redirect" == shop.world.send(asks(family, request(kind))).verdict
    shop.serve(BERT, affinity=100)
    kept = Table(shop.world.plane.maps["affinities"])
    before = shop.world.place.run(lambda: dict(kept.elements()))
    other = asks(family, says(kind, ASKING + 1, PORT))
    assert dropped("flow_limit") == shop.world.send(other)
    assert before == shop.world.place.run(lambda: dict(kept.elements()))
    shop.serve(BERT)
    assert "redirect" == shop.world.send(asks(family, request(kind))).verdict


# Errors of others


def error(family: int, ends: tuple[str, str], quote: Packet) -> Packet:
    """Port unreachable, from the first to the second end, about what the quote says."""
    src, dst = ends
    says_so = ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
    return ip(family, src, dst) / says_so / bytes(quote)


@FAMILIES
@KINDS
def test_an_error_about_a_request_quotes_the_vip(shop, family, kind):
    """From the backend, of this host or of another."""
    me = ANNA.address(family)
    told = ip(family, me, VIP[family], ttl=63) / request(kind)
    for backend, host in ((BERT, None), (NORTH, NORTH)):
        shop.serve(backend)
        shop.world.forget_flows()
        shop.world.send(asks(family, request(kind)))
        it = backend.address(family)
        said = error(family, (it, me), ip(family, me, it, ttl=63) / led(kind))
        if host:
            found = shop.world.from_wire(sends(host, frame_of(said)))
            assert found.frame == bytes(sends(host, frame_of(said)))  # its device judges it
            found = shop.world.from_overlay(frame_of(said))
        else:
            frame = Ether(src=BERT.mac, dst=GATEWAY_MAC) / said
            found = shop.world.send(frame, ifindex=BERT.record.ifindex)
        expected = Ether(src=BERT.mac, dst=GATEWAY_MAC) / error(family, (VIP[family], me), told)
        assert forwarded(expected, ANNA) == found


@FAMILIES
@KINDS
def test_an_error_about_an_answer_reaches_the_backend_as_about_its_own(shop, family, kind):
    shop.serve(BERT)
    shop.world.send(asks(family, request(kind)))
    me, it = ANNA.address(family), BERT.address(family)
    said = error(
        family, (me, VIP[family]), ip(family, VIP[family], me, ttl=63) / says(kind, PORT, ASKING)
    )
    expected = error(family, (me, it), ip(family, it, me, ttl=63) / answer(kind))
    head = Ether(src=ANNA.mac, dst=GATEWAY_MAC)
    assert forwarded(head / expected, BERT) == shop.world.send(head / said)


@FAMILIES
def test_hosts_speak_of_packets_to_others_and_no_container_does(shop, family):
    shop.serve(NORTH)
    shop.world.send(asks(family, request("udp")))
    me, head = ANNA.address(family), Ether(src=BERT.mac, dst=GATEWAY_MAC)
    quote = ip(family, me, NORTH.address(family)) / led("udp")
    known = ip(family, me, VIP[family]) / request("udp")
    for speaker, heard in ((NORTH.address(family, 8), quote), (NORTH.own(family), known)):
        said = frame_of(error(family, (speaker, me), quote))
        expected = head / error(family, (speaker, me), heard)
        assert forwarded(expected, ANNA) == shop.world.from_overlay(said)


# Backends that go


@FAMILIES
def test_a_connection_to_a_backend_that_went_is_reset(shop, family):
    shop.serve(BERT)
    shop.world.send(asks(family, request("tcp", 0, flags="S")))
    shop.serve(SMALL)
    shop.drain_until(BERT, -1)
    goes_on = asks(family, request("tcp", flags="A", ack=99))
    assert reset(family, {"flags": "R", "seq": 99, "ack": 0}) == shop.world.send(goes_on)
    opens = asks(family, request("tcp", 0, flags="S"))
    assert to(family, SMALL, led("tcp", 0, flags="S")) == shop.world.send(opens)


@FAMILIES
def test_a_connection_goes_on_while_its_backend_drains_and_a_new_one_does_not(shop, family):
    shop.serve(BERT)
    opens, goes_on = (request("tcp", 0, flags=flags) for flags in ("S", "A"))
    shop.world.send(asks(family, opens))
    shop.serve(SMALL)  # and 30 seconds to drain
    for _ in range(2):
        found = shop.world.send(asks(family, goes_on))
        assert to(family, BERT, led("tcp", 0, flags="A")) == found
        assert returned(family, "tcp") == back(shop, family, answer("tcp"))
    found = shop.world.send(asks(family, opens))
    assert to(family, SMALL, led("tcp", 0, flags="S")) == found


@FAMILIES
@pytest.mark.parametrize(("flags", "turns"), [("A", 1), ("FA", 2), ("R", 2)])
def test_from_a_port_that_was_used_before_a_backend_is_drawn_anew(shop, family, flags, turns):
    """Where the connection before it is over; in one that goes on it was sent once more."""
    shop.serve(BERT, SMALL, algorithm=abi.SERVICE_ROUND_ROBIN)
    opens = asks(family, request("tcp", 0, flags="S"))
    led_to = {shop.world.send(opens).frame[:6]}
    first = BERT if BERT.record.mac in led_to else SMALL
    assert returned(family, "tcp", flags=flags) == back(
        shop, family, answer("tcp", flags=flags), first
    )
    shop.world.send(asks(family, request("tcp", 0, flags="FA")))
    led_to.add(shop.world.send(opens).frame[:6])
    assert turns == len(led_to)


@FAMILIES
def test_a_backend_that_drains_is_looked_for_when_it_left_and_when_its_time_is_over(shop, family):
    """And not with each packet. If it is one again by then, its connections go on."""

    def judged() -> tuple[bool, int]:
        """Whether it was, since the last change; and as what."""
        (flow,) = (f for f in shop.led() if f.dst == mapped(ip_address(BERT.address(family))))
        ((_, epoch),) = shop.world.place.run(
            lambda: list(Table(shop.world.plane.maps["epochs"]).elements())
        )
        return flow.epoch == int.from_bytes(epoch, "little"), flow.flags & LEFT

    def goes_on() -> Outcome:
        return shop.world.send(asks(family, request("tcp", 0, flags="A")))

    expected = to(family, BERT, led("tcp", 0, flags="A"))
    shop.serve(BERT)
    shop.world.send(asks(family, request("tcp", 0, flags="S")))
    for _ in range(2):
        shop.serve(SMALL)
        assert (False, 0) == judged()
        assert [expected, expected] == [goes_on(), goes_on()]
        assert (True, LEFT) == judged()
        shop.serve(SMALL, BERT)
        shop.drain_until(BERT, -1)
        assert expected == goes_on()
        assert (True, 0) == judged()
    shop.serve(SMALL)
    shop.drain_until(BERT, -1)
    assert {"refused": 1} == goes_on().drops


@FAMILIES
def test_a_datagram_is_led_to_another_backend_at_once(shop, family):
    shop.serve(BERT)
    frame = asks(family, request("udp"))
    assert to(family, BERT, led("udp")) == shop.world.send(frame)
    shop.serve(SMALL)
    assert to(family, SMALL, led("udp")) == shop.world.send(frame)


@FAMILIES
def test_a_connection_that_is_forgotten_is_led_as_before_or_reset(shop, family):
    """By chance, the same number is drawn again; by a turn, another one would be."""
    opens, goes_on = (request("tcp", 0, flags=flags) for flags in ("S", "A"))
    for algorithm in (abi.SERVICE_RANDOM, abi.SERVICE_ROUND_ROBIN, abi.SERVICE_LEAST):
        shop.serve(BERT, SMALL, algorithm=algorithm)
        shop.world.send(asks(family, opens))
        first = shop.world.send(asks(family, goes_on))
        assert "redirect" == first.verdict
        shop.world.forget_flows()
        again = shop.world.send(asks(family, goes_on))
        if algorithm == abi.SERVICE_RANDOM:
            assert first == again
        else:
            assert reset(family, {"flags": "R", "seq": 0, "ack": 0}) == again


@FAMILIES
@KINDS
def test_who_gets_an_address_after_somebody_gets_none_of_his_flows(shop, family, kind):
    shop.serve(BERT)
    shop.world.send(asks(family, request(kind)))
    shop.world.enter(ANNA, container=99)
    shop.world.send(asks(family, request(kind, flags="A") if kind == "tcp" else request(kind)))
    assert all(flow.container == 99 for flow in shop.led())


# Who pays


@FAMILIES
def test_only_whom_such_a_flow_is_for_pays_for_it(shop, family):
    """A bit of its device says so: without it nothing is looked up."""
    shop.serve(BERT)
    table = Table(shop.world.plane.maps["led"])
    number = ANNA.record.ifindex
    word, bit = number // 32, 1 << number % 32
    zero = word.to_bytes(4, "little"), bytes(4)
    shop.world.place.run(table.update, [zero])
    shop.world.send(asks(family, request("udp")))
    assert bit == int.from_bytes(
        dict(shop.world.place.run(lambda: list(table.elements())))[zero[0]], "little"
    )

    shop.world.place.run(table.update, [zero])
    plain = sent(family, ANNA.address(family), BERT) / answer("udp")
    assert forwarded(plain, ANNA) == back(shop, family, answer("udp"))
