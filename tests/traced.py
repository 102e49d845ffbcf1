"""Hosts of a cluster as their programs know them: derived from facts, and no kernel.

Host number n is 10.223.0.n in the cluster, 192.0.2.n and 2001:db8::n in the underlay. Its blocks
are 10.208.n.0/26 of network web, 10.208.(64 + n).0/26 of db, and fd00:NETWORK::n00/122. VIPs are in
10.222.0.0/16 and fd00:e::/112.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from msgspec.structs import replace

from fakes_kernel import FakeLookups, FakeTarget, next_door
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.desired.network.paths import Routes
from seaway.desired.network.tables import Tables
from seaway.desired.network.topology import Topology
from seaway.desired.network.trace import walk
from seaway.desired.network.walked import Walked
from seaway.facts import Facts
from seaway.model.addresses import Address
from seaway.model.facts import (
    Attached,
    Block,
    Cluster,
    Endpoint,
    Host,
    HostAddresses,
    Network,
    Overlay,
    Path,
    Peer,
    Uplinks,
    path_key,
)
from seaway.model.links import LinkState
from seaway.model.publications import parse_mapping
from seaway.model.services import Service, ServicePort, Vip
from seaway.model.trace import Lead, Step, Traced
from seaway.records import distant, fact_key

NETWORKS = {"web": 1, "db": 2}
VIPS = (ip_network("10.222.0.0/16"), ip_network("fd00:e::/112"))
VIP, VIP6 = ip_address("10.222.0.7"), ip_address("fd00:e::7")
THIRD = {"web": 0, "db": 64}
DEVICE = 7  # of the overlay


def block(network: str, host: int, family: int) -> str:
    if family == 4:
        return f"10.208.{THIRD[network] + host}.0/26"
    return f"fd00:{NETWORKS[network]}::{host}00/122"


def record(name: str, number: int, families: Sequence[int]) -> dict[str, Any]:
    own = {4: f"10.223.0.{number}", 6: f"fd00:f::{number}"}
    under = {4: f"192.0.2.{number}", 6: f"2001:db8::{number}"}
    return {
        "name": name,
        "number": number,
        "addresses": tuple(ip_address(own[f]) for f in (4, 6)),
        "underlay": tuple(ip_address(under[f]) for f in families),
    }


class Node:
    """One host."""

    def __init__(self, name: str, number: int, encapsulation: str = "always") -> None:
        self.name = name
        self.number = number
        self.facts = Facts(DERIVATIONS, INDEXES)
        self.lookups = FakeLookups({d.name: FakeTarget(d.name) for d in DERIVATIONS})
        self.leads: dict[Address, Lead | None] = {}
        self.tables = Tables(self.lookups.find, self._lead)
        cluster = Cluster(
            id="x", pools=(), service_subnets=VIPS, host_subnets=(), encapsulation=encapsulation
        )  # type: ignore[call-arg]
        self.learn(cluster, "cluster")
        self.learn(Overlay(ifindex=DEVICE), "host")
        self.learn(Uplinks(ipv6=True), "host")
        for network in NETWORKS:
            self.network(network)

    def _lead(self, address: Address) -> Lead | None:
        own = {a for h in self.facts.all(HostAddresses) for a in h.addresses}
        if address in own:
            return Lead("lo", 65536, local=True)
        if any(address in subnet for subnet in VIPS):
            return None  # unreachable
        return self.leads[address] if address in self.leads else next_door(address)

    def learn(self, fact: Any, key: str) -> None:
        self.facts.change(type(fact), key, fact)

    def network(self, name: str, **options: Any) -> None:
        subnets = (f"10.208.{THIRD[name]}.0/18", f"fd00:{NETWORKS[name]}::/64")
        number = NETWORKS[name]
        made = Network(name=name, number=number, subnets=tuple(map(ip_network, subnets)), **options)
        self.learn(made, name)

    def meet(self, numbers: Mapping[str, int], families: Sequence[int]) -> None:
        for name, number in numbers.items():
            kind = Host if name == self.name else Peer
            known = record(name, number, families)
            self.learn(kind(**known), name)
            for network in NETWORKS:
                for family in (4, 6):
                    prefix = ip_network(block(network, number, family))
                    self.learn(Block(prefix=prefix, network=network, host=name), str(prefix))
            if name == self.name:
                own = {*known["addresses"], *known["underlay"], ip_address("127.0.0.1")}
                self.learn(HostAddresses(addresses=frozenset(own)), "host")

    def path(self, host: str, via: str, backup: str = "", **more: Any) -> None:
        path = Path(host=host, via=via, backup=backup, **more)
        self.learn(path, path_key(host, path.routing))

    def attach(
        self, network: str, number: int, *ports: str, container: str = "", **more: Any
    ) -> Endpoint:
        """Its name is made of its host, its network and its number."""
        addresses = (f"{ip_network(block(network, self.number, f))[number]}" for f in (4, 6))
        name = f"{self.name}-{network}{number}"
        made = Endpoint(
            id=f"{self.number:04x}{NETWORKS[network]:04x}{number:08x}",
            name=name,
            container=container or name,
            interface="eth0",
            host=self.name,
            network=network,
            netns=f"/run/netns/{container or name}",
            netns_inode=1,
            addresses=tuple(map(ip_interface, addresses)),
            mac="02:00:00:00:00:01",
            mtu=1400,
            ports=tuple(p for text in ports for p in parse_mapping(text)),
            **more,
        )
        self.learn(made, made.id)
        ifindex = 100 * NETWORKS[network] + number
        self.learn(Attached(endpoint=made.id, ifindex=ifindex), made.id)
        return made

    def settle(self) -> None:
        """The kernel has what it should."""
        for name, desired in self.facts.derive().items():
            there = self.lookups.targets[name].objects
            for key, value in desired.items():
                there[key] = value
                if value is None:
                    del there[key]


class Hosts(dict[str, Node]):
    """All of them, by name; numbered in this order."""

    def __init__(
        self, names: Iterable[str], encapsulation: str = "always", families: Sequence[int] = (4,)
    ) -> None:
        numbers = {name: number for number, name in enumerate(names, 1)}
        super().__init__({n: Node(n, number, encapsulation) for n, number in numbers.items()})
        for node in self.values():
            node.meet(numbers, families)

    def serve(self, **how: Any) -> Service:
        """Port 80 of a service of network web, by all that have its label and are known to each."""
        usual = {
            "name": "shop",
            "network": "web",
            "addresses": (VIP, VIP6),
            "selector": {"app": "shop"},
            "ports": (ServicePort(port=80, target=8080),),
        }
        service = Service(**(usual | how))
        vips = [
            Vip(address=a, network=service.network, service=service.name) for a in service.addresses
        ]
        for node in self.values():
            for fact in (service, *vips):
                node.learn(fact, str(fact_key(fact)))
            for other in self.values():
                if node is not other:
                    node.path(other.name, other.name)
                    for endpoint in other.facts.all(Endpoint):
                        node.learn(distant(endpoint), str(fact_key(distant(endpoint))))
        return service

    def trace(self, at: str, packet: Traced, *, settle: bool = True) -> list[Step]:
        """From that host on, as the hosts themselves ask each other."""
        node = self[at]
        if settle:
            node.settle()
        return self._follow(walk(node.facts, node.tables, packet), settle=settle)

    def _follow(self, walked: Walked, *, settle: bool) -> list[Step]:
        steps, onward, branches = walked
        assert steps
        if onward:
            return [*steps, *self.trace(*onward, settle=settle)]
        *before, last = steps
        if not branches:
            return list(steps)
        assert last.service
        ways = [
            replace(way, steps=tuple(self._follow(behind, settle=settle)))
            for way, behind in branches
        ]
        return [*before, replace(last, service=replace(last.service, ways=tuple(ways)))]


def linked(states: Sequence[LinkState]) -> tuple[Hosts, dict[str, Routes]]:
    """Hosts that have the paths of this link state, and those."""
    names = [state.host for state in states]
    hosts, found = Hosts(names), {}
    for name in names:
        topology, routes = Topology(), Routes(name, "hops")
        for state in states:
            topology.change(state.host, state)
        routes.change(topology.take())
        for other, route in routes.found.items():
            hosts[name].path(other, route.nexts[0], route.backup)
        unreached = set(names) - routes.found.keys() - {name}
        hosts[name].lookups.dead |= {hosts[other].number for other in unreached}
        found[name] = routes
    return hosts, found


def asks(source: Any, destination: Any, port: int = 80, **more: Any) -> Traced:
    """The first packet between two addresses, or endpoints' first ones of the same family."""
    to = _address(destination, 4)
    more = {"protocol": "tcp"} | more
    return Traced(source=_address(source, to.version), destination=to, port=port, **more)


def _address(end: Any, family: int) -> Address:
    if isinstance(end, Endpoint):
        return next(i.ip for i in end.addresses if i.version == family)
    return ip_address(end)


def ways_of(steps: Sequence[Step]) -> dict[str, list[str]]:
    """Behind a service: what is told of each host's backend."""
    asked = steps[-1].service
    assert asked
    return {way.host: told(way.steps) for way in asked.ways}


def told(steps: Iterable[Step]) -> list[str]:
    """In short: where, what, and to whom or why not."""
    return [f"{s.host} {s.at} {s.decision} {s.reason or s.to}".strip() for s in steps]
