"""From facts to packets: hosts that are told of each other carry each other's packets.

┌── anna ──┐    ┌── host1 ──┐         ┌── host2 ──┐          ┌── host3 ──┐    ┌── carl ──┐
│     eth0 ┼────┤      eth0 ┼── wire ─┼ eth0      ├── wire ──┼ eth0      ├────┼ eth0     │
└──────────┘    └───────────┘         └───────────┘          └───────────┘    └──────────┘
bert is on host2. In the last tests host1 and host3 do not see each other.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations, product

import pytest
from scapy.layers.inet import UDP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from beyond import frame_of
from cast import ip
from dataplane import Container
from namespaces import namespaces
from nodes import Node, introduce, nodes
from seaway.names import OVERLAY_DEVICE, OVERLAY_ID, OVERLAY_PORT
from stage import Stage
from talk import PORT, exchange, flush, hop, listener, transfer
from waiting import wait
from ways import look_anew

MAPS = ("tunnels", "underlays", "members", "next_hops", "paths", "remotes")
NEW = ("vxlan", *MAPS, "attachments", "routes")
BOTH = (4, 6)
HEADERS = {4: 28, 6: 48}  # of a ping: bytes
SOON = 10.0  # seconds: the kernel keeps a MAC for longer than that
FOREIGN = ("unknown_host", "spoofed_address")


def test_two_hosts_that_know_of_each_other_speak_and_one_that_forgets_is_alone():
    with nodes(2) as (_, (a, b)):
        for node in (a, b):
            assert [{}] * (len(MAPS) + 1) == [node.held(name) for name in ("vxlan", *MAPS)]
            assert OVERLAY_DEVICE not in node.place.shell("ip -br link")
        before = {name: a.held(name) for name in (*NEW, "nft")}

        introduce(a, b)
        for address in b.own.values():
            a.place.shell(f"ping -c1 -W2 {address}")
        assert {OVERLAY_DEVICE} == a.held("vxlan").keys()
        assert {block.prefix for block in b.blocks} < a.held("routes").keys()

        a.part(b)
        a.settle()
        assert before == {name: a.held(name) for name in before}
        assert OVERLAY_DEVICE not in a.place.shell("ip -br link")


@dataclass(frozen=True)
class Trio:
    wire: Stage
    hosts: list[Node]
    containers: list[Container]

    def settle(self) -> None:
        for host in self.hosts:
            host.settle()
        for container in self.containers:
            flush(container)

    def have(self, encapsulation: str = "always", **changed: int) -> None:
        for host in self.hosts:
            host.have(encapsulation=encapsulation, **changed)
        self.settle()
        for one, other in permutations(self.hosts, 2):  # as their probes do all the time
            one.place.shell(f"ping -c1 -w10 {other.record.underlay[0]}")

    def be_reached_at(self, *underlay: str) -> None:
        """All of them, by addresses that end in their numbers."""
        for host in self.hosts:
            host.be_reached_at(*(f"{before}{host.number}" for before in underlay))
        introduce(*self.hosts)

    def largest(self, family: int) -> int:
        """What goes from anna to carl at once, in bytes of layer 3: the wire's MTU, or less by
        what may carry it.
        """
        anna, carl = self.containers[0], self.containers[2]
        for size in (1500, 1450, 1430):
            told = f"ping -c1 -W2 -M do -s {size - HEADERS[family]} {carl.address(family)}"
            try:
                anna.netns.run(told)
            except RuntimeError:
                continue
            return size
        return 0


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    with namespaces() as make, nodes(3) as (wire, hosts):
        introduce(*hosts)
        yield Trio(wire, hosts, [host.attach(make()) for host in hosts])


@pytest.fixture(params=["both", "ipv6-only"])
def reached(trio: Trio, request: pytest.FixtureRequest) -> Iterator[Trio]:
    """Where the underlay has both families, and where it has IPv6 alone."""
    if request.param == "both":
        yield trio
        return
    for host in trio.hosts:
        host.place.shell(f"ip addr del 198.18.0.{host.number}/24 dev eth0")
    trio.be_reached_at("fd53::")
    yield trio
    for host in trio.hosts:
        host.place.shell(f"ip addr add 198.18.0.{host.number}/24 dev eth0")
    trio.be_reached_at("198.18.0.", "fd53::")


def test_hosts_of_which_no_path_is_told_reach_each_other_directly(reached):
    anna, _, carl = reached.containers
    for family in BOTH:
        for one, other in permutations(reached.containers, 2):
            assert exchange(one, other, family)
        told = [hop(anna, carl.address(family), family, number) for number in (1, 2)]
        assert [reached.hosts[0].own[family], reached.hosts[2].own[family]] == told
        assert transfer(anna, carl, family, 2)


@pytest.mark.parametrize("encapsulation", ["always", "auto", "never"])
def test_the_cluster_says_whether_packets_go_as_they_are(reached, encapsulation):
    reached.have(encapsulation)
    added = 50 if reached.hosts[0].record.underlay[0].version == 4 else 70
    try:
        for family in BOTH:
            assert exchange(reached.containers[0], reached.containers[2], family)
            assert 1500 - (added if encapsulation == "always" else 0) == reached.largest(family)
    finally:
        reached.have("always")


def test_a_cluster_may_have_another_port_and_identifier_and_change_them(reached):
    anna, _, carl = reached.containers
    usual = {"overlay_port": OVERLAY_PORT, "overlay_id": OVERLAY_ID}
    try:
        for port, number in ((4790, 42), (8472, (1 << 24) - 1)):
            reached.have(overlay_port=port, overlay_id=number)
            for family in BOTH:
                assert exchange(anna, carl, family)
                assert reached.largest(family) in {1450, 1430}
                assert transfer(anna, carl, family, 2)
            assert port.to_bytes(2) == reached.hosts[0].held("underlays")[0].port
            sockets = reached.hosts[0].place.shell("ss -Hlun")
            assert f":{port} " in sockets
            assert f":{OVERLAY_PORT} " not in sockets
    finally:
        reached.have(**usual)
    assert all(exchange(anna, carl, family) for family in BOTH)


@pytest.mark.parametrize("encapsulation", ["auto", "never"])
def test_a_host_whose_kernel_forgets_anothers_mac_asks_for_it_itself(reached, encapsulation):
    """And loses no more than the moment of that; who only sends asks for nothing meanwhile."""
    anna, _, carl = reached.containers
    first, _, third = reached.hosts
    first.place.shell("ip addr replace fe80::1/64 dev eth0 nodad")  # from which the kernel asks
    reached.have(encapsulation)
    try:
        for family, (one, other) in product(BOTH, ((third, first), (first, third))):
            assert soon_hears(carl, anna, family)
            address = other.record.underlay[0]
            one.place.shell(f"ip neigh flush dev eth0 to {address}")
            look_anew()
            assert soon_hears(carl, anna, family), (family, one.record.name)
    finally:
        reached.have("always")


def soon_hears(receiver: Container, sender: Container, family: int) -> bool:
    """What is sent one way, again and again."""
    with (
        listener(receiver, family, socket.SOCK_DGRAM) as there,
        sender.socket(family, socket.SOCK_DGRAM) as here,
    ):
        there.settimeout(0.01)

        def heard() -> bytes:
            here.sendto(b"one way", (receiver.address(family), PORT))
            with suppress(TimeoutError):
                return there.recv(100)
            return b""

        return wait(heard, SOON)


@pytest.mark.parametrize("encapsulation", ["always", "auto"])
def test_a_container_that_forges_a_carrier_is_nobody_who_may_carry(reached, encapsulation):
    """Not its host, as which it would be masqueraded on its way to the world."""
    anna, bert, carl = reached.containers
    third = reached.hosts[2]
    reached.have(encapsulation)
    try:
        for target, family in product(third.record.underlay, BOTH):
            reached.hosts[0].place.shell(f"ping -c1 -W2 {target}")  # its MAC is known
            before = third.drops(*FOREIGN)
            inner = ip(family, bert.address(family), carl.address(family))
            words = inner / UDP(sport=9, dport=PORT) / Raw(b"forged")
            carrier = VXLAN(vni=OVERLAY_ID, flags=8) / frame_of(words)
            with (
                listener(carl, family, socket.SOCK_DGRAM) as server,
                anna.socket(target.version, socket.SOCK_DGRAM) as forger,
            ):
                forger.sendto(bytes(carrier), (str(target), OVERLAY_PORT))
                assert wait(lambda before=before: third.drops(*FOREIGN) > before)
                server.setblocking(False)
                with pytest.raises(BlockingIOError):
                    server.recv(100)
    finally:
        reached.have("always")


def test_a_host_that_is_told_to_be_behind_another_is_reached_by_that(reached):
    a, b, c = reached.hosts
    anna, _, carl = reached.containers
    for port in ("p1", "p3"):
        reached.wire.shell(f"bridge link set dev {port} isolated on")
    try:
        a.go(c, via=b)
        c.go(a, via=b)
        reached.settle()
        for family in BOTH:
            assert exchange(anna, carl, family)
            assert b.own[family] == hop(anna, carl.address(family), family, 2)
        assert all(transfer(anna, carl, family, 2) for family in BOTH)
    finally:
        for port in ("p1", "p3"):
            reached.wire.shell(f"bridge link set dev {port} isolated off")
        for one, other in ((a, c), (c, a)):
            one.go(other, None)
        reached.settle()
