"""From facts to packets: what the derivations ask for, put by the real targets, in their order.

┌─── a ───┐          ┌─── b ───┐
│ lo eth0 ┼── wire ──┼ eth0 lo │      no container: the hosts speak from their cluster addresses
└─────────┘          └─────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tests.fakes_kernel import FakeTarget

from seaway.bpf import maps
from seaway.bpf.attachments import Attachments
from seaway.bpf.objects import DataPlane
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
    Block,
    Cluster,
    Host,
    HostAddresses,
    Network,
    Overlay,
    Path,
    Peer,
)
from seaway.names import OVERLAY_DEVICE
from stage import Stage, settings, stage

SUBNETS = tuple(ip_network(p) for p in ("10.208.0.0/18", "fd00:0:0:1::/64"))
NEW = ("vxlan", "tunnels", "members", "next_hops", "paths", "remotes", "attachments", "routes")


class Node:
    """A host whose kernel follows its facts. Lives on its stage."""

    def __init__(self, place: Stage, number: int) -> None:
        self.place = place
        self.name = f"host{number}"
        self.record = {
            "name": self.name,
            "number": number,
            "addresses": (ip_address(f"10.223.0.{number}"), ip_address(f"fd00:0:0:f::{number}")),
            "underlay": (ip_address(f"198.18.0.{number}"), ip_address(f"fd53::{number}")),
        }
        self.facts = Facts(DERIVATIONS, INDEXES)
        self.runner = place.run(asyncio.Runner)
        self.targets = place.run(self._targets)
        self.convergence = Convergence(self.facts, [self.targets[d.name] for d in DERIVATIONS])

    def _targets(self) -> dict[str, Any]:
        """The real ones, but for what reaches beyond the network namespace."""
        host = Host(**self.record)
        plane = DataPlane.open(settings(*host.addresses, underlay=host.underlay))
        links = LinkTarget()
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
            Attachments(plane, links.set_up, "cls_bpf"),
            UplinkTarget(plane),
        ]
        beyond = (FakeTarget(name) for name in ("accepts", "sockets", "orders"))
        return {t.name: t for t in (*beyond, *real)}

    def close(self) -> None:
        self.place.run(self.runner.close)
        for target in self.targets.values():
            if hasattr(target, "close"):
                target.close()

    def _tell(self, ifindex: int) -> None:
        self.facts.change(Overlay, "host", Overlay(ifindex=ifindex) if ifindex else None)

    def begin(self) -> None:
        """What an agent knows that is alone."""
        host = Host(**self.record)
        cluster = Cluster(id="x", pools=(), service_subnets=(), host_subnets=())
        self.facts.change(Cluster, "cluster", cluster)
        self.facts.change(Host, self.name, host)
        self.facts.change(Network, "n", Network(name="n", number=1, subnets=SUBNETS))
        here = HostAddresses(addresses=frozenset((*host.addresses, *host.underlay)))
        self.facts.change(HostAddresses, "host", here)
        uplinks = self.place.run(outside.uplinks)
        self.facts.change(type(uplinks), "host", uplinks)

    def meet(self, other: Node) -> None:
        peer = Peer(**other.record)
        self.facts.change(Peer, peer.name, peer)
        self.facts.change(Path, peer.name, Path(host=peer.name, via=peer.name))
        block = Block(prefix=other.block, network="n", host=peer.name)
        self.facts.change(Block, str(block.prefix), block)

    def part(self, other: Node) -> None:
        for kind in (Path, Peer):
            self.facts.change(kind, other.name, None)
        self.facts.change(Block, str(other.block), None)

    @property
    def block(self) -> Any:
        return ip_network(f"10.208.{self.record['number']}.0/26")

    def settle(self) -> None:
        """Until the kernel is as the facts ask for."""

        async def work() -> None:
            writer = asyncio.create_task(self.convergence.run())
            async with asyncio.timeout(30):
                await self.convergence.settle()
                while self.facts.stale or any(self.untold()):
                    await asyncio.sleep(0)
                    await self.convergence.settle()
            writer.cancel()

        self.place.run(lambda: self.runner.run(work()))
        assert [] == self.convergence.failures()

    def untold(self) -> Iterator[bool]:
        yield from (r.restless for r in self.convergence._reconcilers)

    def held(self, name: str) -> dict[Any, Any]:
        return self.place.run(self.targets[name].read)


@contextmanager
def joined() -> Iterator[tuple[Node, Node]]:
    with ExitStack() as stack:
        wire, *places = (stack.enter_context(stage()) for _ in range(3))
        wire.shell("ip link add wire type bridge mcast_snooping 0; ip link set wire up")
        nodes = []
        for number, place in enumerate(places, 1):
            wire.shell(
                f"ip link add p{number} type veth peer name eth0 netns {place.process}; "
                f"ip link set p{number} master wire up"
            )
            place.shell(
                "ip link set eth0 addrgenmode none; ip link set eth0 up; "
                f"ip addr add 198.18.0.{number}/24 dev eth0; "
                f"ip addr add fd53::{number}/64 dev eth0 nodad"
            )
            node = Node(place, number)
            stack.callback(node.close)
            nodes.append(node)
        yield nodes[0], nodes[1]


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    with joined() as nodes:
        for node in nodes:
            node.begin()
            node.settle()
        yield nodes


def test_a_host_alone_has_no_device_and_nothing_in_its_maps(pair):
    for node in pair:
        assert [{}] * (len(NEW) - 1) == [node.held(name) for name in NEW[:-1]]
        assert OVERLAY_DEVICE not in node.place.shell("ip -br link")


def test_two_hosts_that_know_of_each_other_speak_and_one_that_forgets_is_alone(pair):
    a, b = pair
    before = {name: a.held(name) for name in (*NEW, "nft")}
    for one, other in ((a, b), (b, a)):
        one.meet(other)
        one.settle()
    for address in b.record["addresses"]:
        a.place.shell(f"ping -c1 -W2 {address}")
    assert {OVERLAY_DEVICE} == a.held("vxlan").keys()
    assert b.block in a.held("routes")

    a.part(b)
    a.settle()
    assert before == {name: a.held(name) for name in before}
    assert OVERLAY_DEVICE not in a.place.shell("ip -br link")
