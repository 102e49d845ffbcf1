"""Three hosts with an endpoint each, a service that they publish, and a client on their wire.

    ┌── anna ──┐    ┌── a ──┐          ┌── b ──┐          ┌── c ──┐    ┌── carl ──┐
    │     eth0 ┼────┤  eth0 ┼── wire ──┼ eth0  ├── wire ──┼ eth0  ├────┼ eth0     │
    └──────────┘    └───────┘     │    └───────┘          └───────┘    └──────────┘
                                client       bert is b's
All are on one wire, but a and c do not see each other. None of them forwards by its firewall.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

from dataplane import Container
from namespaces import Netns, namespaces
from outside import ANY, opened
from seaway.bpf import abi
from seaway.bpf.running import Running
from seaway.bpf.services import ServiceTarget
from seaway.bpf.table import Table
from seaway.model.addresses import mapped
from serviced import BACKEND, TCP, UDP, by_slots, frontend, port_key, serving
from stage import carries
from waiting import wait
from wired import WiredHost, wires

PORT = 8080
CLIENT = {4: "198.18.0.77", 6: "fd53::77"}


@dataclass
class Mesh:
    a: WiredHost
    b: WiredHost
    c: WiredHost
    anna: Container
    bert: Container
    carl: Container
    client: Netns
    services: dict[int, ServiceTarget] = field(default_factory=dict)
    targets: set[int] = field(default_factory=set)  # ports of containers that are published

    @property
    def hosts(self) -> tuple[WiredHost, ...]:
        return self.a, self.b, self.c

    @property
    def containers(self) -> tuple[Container, ...]:
        return self.anna, self.bert, self.carl

    def open(self, family: int, kind: int, sport: int = 0) -> socket.socket:
        made = opened(self.client, family, kind)
        if sport:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((CLIENT[family], sport))
        return made

    def publish(
        self, places: Sequence[Container], port: int = PORT, target: int = BACKEND, **how: Any
    ) -> None:
        """A port of all hosts, by these containers."""
        how.setdefault("algorithm", abi.SERVICE_MAGLEV)
        by_table = places and how["algorithm"] == abi.SERVICE_MAGLEV
        laid = by_slots(range(len(places))) if by_table else b""
        made = {
            port_key(ANY[family], port, protocol): replace(
                frontend([(c.address(family), target) for c in places], **how), table=laid
            )
            for family in (4, 6)
            for protocol in (TCP, UDP)
        }
        self.targets.add(target)
        self._expose()
        for host in self.hosts:
            assert {} == host.place.run(self._services(host).put, made)

    def _expose(self) -> None:
        for host, container in zip(self.hosts, self.containers, strict=True):
            host.expose(container, *self.targets)

    def withdraw(self) -> None:
        self.targets.clear()
        self._expose()
        self.remove()
        for host in self.hosts:
            forget(host)

    def remove(self) -> None:
        """The services alone."""
        for host in self.hosts:
            services = self._services(host)
            assert {} == host.place.run(services.delete, set(host.place.run(services.read)))

    def end_drain(self) -> None:
        """Of all that left, the time in which connections may end is over."""
        for host in self.hosts:
            leaving = Table(host.plane.maps["leaving"])
            keys = [key for key, _ in host.place.run(lambda t: list(t.elements()), leaving)]
            assert {} == host.place.run(leaving.update, [(key, bytes(8)) for key in keys])

    def running(self, container: Container) -> dict[int, int]:
        """Connections to its addresses, by the numbers of the hosts that count them."""
        addresses = {mapped(ip_address(container.address(family))) for family in (4, 6)}
        found = {}
        for host in self.hosts:
            running = host.place.run(Running, host.plane, self._services(host).serves)
            found[host.number] = host.place.run(running.to, addresses)
        return {number: connections for number, connections in found.items() if connections}

    def counted(self, host: WiredHost, reason: str) -> int:
        """So many packets were refused there, by whatever device they came."""
        found = host.place.run(host.counters.drops)
        return sum(n for (_, why), n in found.items() if why == reason)

    def _services(self, host: WiredHost) -> ServiceTarget:
        found = self.services.get(host.number)
        if found is None:
            found = host.place.run(ServiceTarget, host.plane, lambda *_: None)
            self.services[host.number] = found
        return found


def forget(host: WiredHost) -> int:
    """As a table of flows does when it is full. How many entries there were."""

    def work() -> int:
        flows = [Table(host.plane.maps[name]) for name in ("flows", "inner_flows")]
        known = [(some, [key for key, _ in some.elements()]) for some in flows]
        for some, keys in known:
            some.delete(keys)
        return sum(len(keys) for _, keys in known)

    return host.place.run(work)


@contextmanager
def meshes(way: str = "auto", families: Sequence[Sequence[int]] = ((4, 6),) * 3) -> Iterator[Mesh]:
    """One. `families`: of each host's addresses on the wire, as of `WiredHost`."""
    with namespaces() as make, wires() as wire, ExitStack() as stack:
        a, b, c = wire(3, by_host=["families"], families=families, way=way)
        a.wire.part(a, c)
        a.reach(c, via=b)
        c.reach(a, via=b)
        room = min(host.room for host in (a, b, c))
        flags = abi.ENDPOINT_PUBLISHED
        anna, bert, carl = (h.add(make(), 1, room, flags=flags) for h in (a, b, c))
        for host in (a, b, c):
            host.put("identities", {ip_network(address): 1 for address in host.underlay})
            host.place.shell("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
        client = make()
        _attach(a, client)
        for container in (anna, bert, carl):
            stack.enter_context(serving(container))
        yield Mesh(a, b, c, anna, bert, carl, client)


def _attach(host: WiredHost, client: Netns) -> None:
    place = host.wire.place
    client.run(f"ip link add eth0 type veth peer name out netns {place.process}")
    client.run("ip link set eth0 addrgenmode none; ip link set eth0 up")
    client.run(f"ip addr add {CLIENT[4]}/24 dev eth0; ip addr add {CLIENT[6]}/64 dev eth0 nodad")
    place.shell("ip link set out master wire up")
    assert wait(lambda: carries(place, "out"))


def address_of(host: WiredHost, family: int) -> str:
    """By which the client asks it."""
    return next(str(a) for a in host.underlay if a.version == family)
