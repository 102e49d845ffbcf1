"""Hosts whose kernel follows their facts: what the derivations ask for, put by the real targets in
their order. No agent and no store: what a host would read of others is placed directly.

┌─ container ─┐      ┌─── host1 ───┐          ┌─── host2 ───┐      ┌─ container ─┐
│        eth0 ┼─veth─┼ swy…   eth0 ┼── wire ──┼ eth0   swy… ┼─veth─┼ eth0        │
└─────────────┘      └─────────────┘          └─────────────┘      └─────────────┘

Host n has the addresses of `wired.blocks`; its port of the wire is p<n>.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from msgspec.structs import replace
from tests.fakes_kernel import FakeTarget

from dataplane import Container
from namespaces import Netns
from seaway.bpf import abi, maps
from seaway.bpf.attachments import Attachments
from seaway.bpf.counters import Counters
from seaway.bpf.objects import DataPlane
from seaway.bpf.origins import OriginTarget
from seaway.bpf.pins import PinTarget
from seaway.bpf.uplinks import UplinkTarget
from seaway.converge import Convergence
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.facts import Facts
from seaway.kernel import outside
from seaway.kernel.addresses import AddressTarget
from seaway.kernel.links import LinkTarget
from seaway.kernel.nft import NftTarget
from seaway.kernel.reserved import ReservedTarget
from seaway.kernel.routes import RouteTarget
from seaway.kernel.sysctls import SysctlTarget
from seaway.kernel.vxlan import VxlanTarget
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
    endpoint_id,
)
from seaway.names import link_name
from stage import Stage, carries, settings, stage
from waiting import wait
from ways import look_anew
from wired import ROOM, blocks

SUBNETS = tuple(ip_network(p) for p in ("10.208.0.0/24", "fd00:0:0:1::/64"))
NETWORK = Network(name="n", number=1, subnets=SUBNETS)
CLUSTER = Cluster(id="x", pools=(), service_subnets=(), host_subnets=())


class Node:
    """Lives on its stage."""

    def __init__(self, place: Stage, number: int) -> None:
        self.place = place
        self.number = number
        self.own = {4: f"10.223.0.{number}", 6: f"fd00:0:0:f::{number}"}
        self.record = Host(
            name=f"host{number}",
            number=number,
            addresses=tuple(ip_address(a) for a in self.own.values()),
            underlay=(ip_address(f"198.18.0.{number}"), ip_address(f"fd53::{number}")),
        )
        self.blocks = tuple(
            Block(prefix=prefix, network=NETWORK.name, host=self.record.name)
            for prefix in blocks(number).values()
        )
        self.facts = Facts(DERIVATIONS, INDEXES)
        self.runner = place.run(asyncio.Runner)
        self.targets = place.run(self._targets)
        self.convergence = Convergence(self.facts, [self.targets[d.name] for d in DERIVATIONS])
        self._open = ExitStack()

    def _targets(self) -> dict[str, Any]:
        """The real ones, but for what reaches beyond the network namespace."""
        plane = DataPlane.open(settings(*self.record.addresses))
        self._counters = Counters(plane)
        links = LinkTarget(created=self._created)
        real = [
            PinTarget(plane),
            SysctlTarget(),
            ReservedTarget(),
            AddressTarget(),
            NftTarget(),
            links,
            VxlanTarget(tell=self._tell),
            RouteTarget(),
            *maps.targets(plane).values(),
            OriginTarget(plane),
            Attachments(plane, links.set_up, "cls_bpf"),
            UplinkTarget(plane),
        ]
        found = {target.name: target for target in real}
        return {d.name: found.get(d.name) or FakeTarget(d.name) for d in DERIVATIONS}

    def close(self) -> None:
        self.place.run(self.runner.close)
        for target in self.targets.values():
            if hasattr(target, "close"):
                target.close()
        self._open.close()

    def _created(self, link: str, ifindex: int) -> None:
        for endpoint in self.facts.where(Endpoint, "link", link):
            attached = Attached(endpoint=endpoint.id, ifindex=ifindex)
            self.facts.change(Attached, endpoint.id, attached)

    def _tell(self, ifindex: int) -> None:
        self.facts.change(Overlay, "host", Overlay(ifindex=ifindex) if ifindex else None)

    def begin(self) -> None:
        """What an agent knows that is alone."""
        self.facts.change(Cluster, "cluster", CLUSTER)
        self.facts.change(Host, self.record.name, self.record)
        self.facts.change(Network, NETWORK.name, NETWORK)
        self._learn(self.blocks)
        here = HostAddresses(addresses=frozenset((*self.record.addresses, *self.record.underlay)))
        self.facts.change(HostAddresses, "host", here)
        uplinks = self.place.run(outside.uplinks)
        self.facts.change(type(uplinks), "host", uplinks)

    def _learn(self, found: Iterable[Block]) -> None:
        for block in found:
            self.facts.change(Block, str(block.prefix), block)

    def meet(self, other: Node) -> None:
        peer = Peer(**{f: getattr(other.record, f) for f in other.record.__struct_fields__})
        self.facts.change(Peer, peer.name, peer)
        self._learn(other.blocks)

    def part(self, other: Node) -> None:
        self.facts.change(Peer, other.record.name, None)
        for block in other.blocks:
            self.facts.change(Block, str(block.prefix), None)

    def go(self, other: Node, via: Node | None) -> None:
        """By whom the other one is reached; None: nobody says so."""
        name = other.record.name
        path = Path(host=name, via=via.record.name) if via else None
        self.facts.change(Path, name, path)

    def have(self, **changed: Any) -> None:
        """Otherwise in the cluster's record."""
        cluster = self.facts.get(Cluster, "cluster")
        self.facts.change(Cluster, "cluster", replace(cluster, **changed))

    def be_reached_at(self, *underlay: str) -> None:
        self.record = replace(self.record, underlay=tuple(map(ip_address, underlay)))
        self.facts.change(Host, self.record.name, self.record)

    def attach(self, space: Netns) -> Container:
        """The one container of this host; its interface takes as much as the wire."""
        number = self.number * ROOM + 1
        shown = Container(number, space, "", 0, abi.Endpoint(0, 0, 1, 256, 0, 1500, b""))
        file = self._open.enter_context(space.path.open())  # by a name that the stage knows too
        endpoint = Endpoint(
            id=endpoint_id(space.name, "eth0"),
            name="one",
            container=space.name,
            interface="eth0",
            host=self.record.name,
            network=NETWORK.name,
            netns=f"/proc/self/fd/{file.fileno()}",
            netns_inode=space.inode,
            addresses=tuple(ip_interface(shown.address(family)) for family in (4, 6)),
            mac=f"02:00:00:00:00:{number:02x}",
            mtu=1500,
        )
        self.facts.change(Endpoint, endpoint.id, endpoint)
        self.settle()
        link = link_name(endpoint.id)
        return Container(
            number, space, link, self.place.run(socket.if_nametoindex, link), shown.record
        )

    def settle(self) -> None:
        """Until the kernel is as the facts ask for, and packets go so."""

        async def work() -> None:
            writer = asyncio.create_task(self.convergence.run())
            async with asyncio.timeout(60):
                await self.convergence.settle()
                while self.facts.stale or any(self._untold()):
                    await asyncio.sleep(0)
                    await self.convergence.settle()
            writer.cancel()

        self.place.run(lambda: self.runner.run(work()))
        assert [] == self.convergence.failures()
        look_anew()

    def _untold(self) -> Iterator[bool]:
        yield from (r.restless for r in self.convergence._reconcilers)

    def drops(self, *reasons: str) -> int:
        """Packets that were refused for one of these, on any device."""
        counted = self.place.run(self._counters.drops)
        return sum(packets for (_, reason), packets in counted.items() if reason in reasons)

    def held(self, name: str) -> dict[Any, Any]:
        return self.place.run(self.targets[name].read)


@contextmanager
def nodes(count: int) -> Iterator[tuple[Stage, list[Node]]]:
    """On one wire, whose stage comes with them. Each knows only itself."""
    with ExitStack() as stack:
        wire = stack.enter_context(stage())
        wire.shell("ip link add wire type bridge mcast_snooping 0; ip link set wire up")
        made = []
        for number in range(1, count + 1):
            place = stack.enter_context(stage())
            wire.shell(
                f"ip link add p{number} type veth peer name eth0 netns {place.process}; "
                f"ip link set p{number} master wire up"
            )
            place.shell(
                "ip link set eth0 addrgenmode none; ip link set eth0 up; "
                f"ip addr add 198.18.0.{number}/24 dev eth0; "
                f"ip addr add fd53::{number}/64 dev eth0 nodad"
            )
            assert wait(lambda port=f"p{number}": carries(wire, port))
            node = Node(place, number)
            stack.callback(node.close)
            node.begin()
            node.settle()
            made.append(node)
        yield wire, made


def introduce(*found: Node) -> None:
    """Each to each."""
    for one in found:
        for other in found:
            if one is not other:
                one.meet(other)
    for one in found:
        one.settle()
