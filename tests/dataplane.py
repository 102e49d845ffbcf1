"""A host with endpoints, made of the real targets by hand: no agent, no derivations.

┌─ container ─┐      ┌───── stage ─────┐      ┌─ container ─┐
│        eth0 ┼─veth─┼ swy…  BPF  swy… ┼─veth─┼ eth0        │
└─────────────┘      └─────────────────┘      └─────────────┘
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from namespaces import Netns
from seaway.bpf import abi, maps
from seaway.bpf.attachments import Attachments
from seaway.bpf.behind import BehindTarget
from seaway.bpf.counters import Counters
from seaway.bpf.objects import OBJECTS, DataPlane
from seaway.bpf.promotion import Patience
from seaway.kernel import netns
from seaway.kernel.links import LinkTarget
from seaway.kernel.routes import RouteTarget
from seaway.model.addresses import Address, mapped
from seaway.model.kernel import HOOKS, Attachment, Inside, Link, Route
from seaway.model.publications import PROTOCOLS
from seaway.names import GATEWAY_MAC
from stage import Stage, mac_octets, settings, stage
from waiting import wait

WAYS = {
    "auto": ("auto",),
    "cls_bpf": ("cls_bpf",),
    "tcx": ("tcx",),
    "promoted": ("auto", Patience(lived=0, quiet=0)),
}
HOST = {4: "10.208.0.254", 6: "fd00:0:0:1::fe"}
SUBNETS = {ip_network("10.208.0.0/24"): 1, ip_network("fd00:0:0:1::/64"): 1}


@dataclass(frozen=True)
class Container:
    """A namespace with one interface of ours."""

    number: int
    netns: Netns
    link: str
    ifindex: int
    record: abi.Endpoint

    def address(self, family: int) -> str:
        return f"10.208.0.{self.number}" if family == 4 else f"fd00:0:0:1::{self.number:x}"

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Of this container, for every thread to use."""
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6, 0: socket.AF_PACKET}
        made = netns.visit_path(
            self.netns.path, lambda: socket.socket(kinds[family], kind, protocol)
        )
        made.settimeout(30)
        return made


class Host:
    """Lives on its stage."""

    own = HOST

    def __init__(self, place: Stage, way: str = "auto", objects: Path = OBJECTS) -> None:
        self.place = place
        self.way = way
        self.links = place.run(LinkTarget)
        self._open(objects)
        self.routes = place.run(RouteTarget)
        self.containers: list[Container] = []
        place.shell(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; "
            f"ip addr add {self.own[4]}/32 dev lo; ip -6 addr add {self.own[6]}/128 dev lo nodad"
        )

    def close(self) -> None:
        for part in (self.links, self.routes, self.attachments, self.plane):
            part.close()

    def _open(self, objects: Path) -> None:
        """A build's programs, with whatever the build before has left."""
        own = (ip_address(self.own[family]) for family in (4, 6))
        cookie = self.place.run(netns.cookie)
        self.plane = self.place.run(DataPlane.open, settings(*own, cookie), objects=objects)
        self.targets = self.place.run(maps.targets, self.plane)
        self.counters = self.place.run(Counters, self.plane)
        self.attachments = self.place.run(
            Attachments, self.plane, self.links.set_up, *WAYS[self.way]
        )
        self.put("subnets", SUBNETS)
        self.put("identities", {ip_network(a): 1 for a in self.own.values()})

    def upgrade(self, objects: Path) -> None:
        """As an agent of another build does it: fill, swap, retire."""
        self.attachments.close()
        self.plane.close()
        self._open(objects)
        for container in self.containers:
            self._enter(container)
        self.attach(*self.containers)
        self.place.run(self.plane.retire)

    def put(self, target: str, objects: dict[Any, Any]) -> None:
        assert {} == self.place.run(self.targets[target].put, objects)

    def add(self, space: Netns, number: int, mtu: int = 1500, **other: Any) -> Container:
        """A container with addresses ….number, in network 1 if nothing else is said."""
        mac = f"02:00:00:00:00:{number:02x}"
        name = f"swy{number:x}"
        container = Container(number, space, name, 0, abi.Endpoint(0, 0, 1, 256, 0, mtu, b""))
        addresses = tuple(ip_interface(container.address(f)) for f in (4, 6))
        with space.path.open() as file:
            path = f"/proc/self/fd/{file.fileno()}"
            inside = Inside(path, space.inode, "eth0", mac, addresses, True, ())
            link = Link(name=name, mac=GATEWAY_MAC, mtu=mtu, inside=inside)
            assert {} == self.place.run(self.links.put, {name: link})
        ifindex = self.place.run(self.links.ifindex, name)
        usual: dict[str, Any] = {"container": number, "ifindex": ifindex, "mac": mac_octets(mac)}
        record = replace(container.record, **(usual | other))
        made = replace(container, ifindex=ifindex, record=record)
        self._enter(made)
        self.attach(made)
        routes = [Route(ip_network(a.ip), name, ip_address(self.own[a.version])) for a in addresses]
        assert {} == self.place.run(self.routes.put, {r.dst: r for r in routes})
        assert wait(lambda: not self.links.idle(name))
        self.containers.append(made)

        return made

    def _enter(self, container: Container) -> None:
        self.put("endpoints", known(container))
        self.put("interfaces", {container.ifindex: container.record})

    def forget(self, container: Container) -> None:
        """Nobody has its addresses."""
        assert {} == self.place.run(self.targets["endpoints"].delete, set(known(container)))

    def promote(self) -> None:
        """Move all into links that may move."""
        promotion = self.attachments.promotion
        while candidate := promotion.choose():
            self.place.run(promotion.move, candidate)

    def expose(self, container: Container, *ports: int) -> None:
        """These are the ports of it that services publish on every host, by TCP and UDP."""
        made = {
            address: frozenset(
                abi.PortKey(mapped(address), port.to_bytes(2, "big"), protocol)
                for port in ports
                for protocol in PROTOCOLS.values()
            )
            for address in known(container)
        }
        target = self.place.run(BehindTarget, self.plane)
        self.place.run(target.read)
        assert {} == self.place.run(target.put, made)

    def attach(self, *containers: Container) -> None:
        wanted = {k: a for c in containers for k, a in attached(c).items()}
        assert {} == self.place.run(self.attachments.put, wanted)

    def counts(self, container: Container, reason: str, packets: int) -> bool:
        """Whether so many are refused, in the end: a packet may be on its way still."""
        return wait(lambda: self.drops(container).get(reason, 0) == packets)

    def drops(self, container: Container) -> dict[str, int]:
        counted = self.place.run(self.counters.drops)
        return {
            reason: n for (ifindex, reason), n in counted.items() if ifindex == container.ifindex
        }


def known(container: Container) -> dict[Address, abi.Endpoint]:
    """As the map of endpoints has it."""
    return dict.fromkeys((ip_address(container.address(f)) for f in (4, 6)), container.record)


def attached(container: Container) -> dict[tuple[str, str], Attachment]:
    return {
        (container.link, hook): Attachment(container.link, container.ifindex, hook, program)
        for hook, program in HOOKS.items()
    }


@contextmanager
def hosts() -> Iterator[Callable[..., Host]]:
    """Makes hosts, by the arguments of `Host` but the first."""
    with ExitStack() as stack:

        def make(*given: Any, **named: Any) -> Host:
            made = Host(stack.enter_context(stage()), *given, **named)
            stack.callback(made.close)
            return made

        yield make
