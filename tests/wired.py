"""Hosts with endpoints on one wire, made of the real targets by hand: no agent, no derivations.

┌─ container ─┐      ┌─── host 1 ───┐          ┌─── host 2 ───┐      ┌─ container ─┐
│        eth0 ┼─veth─┼ swy…    eth0 ┼── wire ──┼ eth0    swy… ┼─veth─┼ eth0        │
└─────────────┘      │  swyoverlay  │          │  swyoverlay  │      └─────────────┘
                     └──────────────┘          └──────────────┘

Host n has the addresses 10.208.0.(32 n) to (32 n + 31), and those of IPv6 that end likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network
from typing import Any

from dataplane import Container, Host
from namespaces import Netns
from seaway.bpf import abi
from seaway.bpf.table import Table
from seaway.bpf.uplinks import UplinkTarget
from seaway.kernel.vxlan import VxlanTarget
from seaway.model.addresses import Address, Prefix, host_prefix, mapped
from seaway.model.kernel import OVERLAY_HOOKS, Attachment, Route, Uplink, Vxlan
from seaway.names import OVERLAY_DEVICE, OVERLAY_PORT
from stage import Stage, carries, stage, underlay
from waiting import wait
from ways import look_anew

MTU = 1500  # of the wire
OVERHEAD = {4: 50, 6: 70}  # of a packet that carries another, by its family
ROOM = 32  # addresses of one host


def blocks(number: int) -> dict[int, Prefix]:
    """What a host hands out, by family."""
    first = number * ROOM
    return {
        4: ip_network(f"10.208.0.{first}/27"),
        6: ip_network(f"fd00:0:0:1::{first:x}/123"),
    }


class WiredHost(Host):
    """`families`: of its addresses on the wire; the first of them carries."""

    def __init__(
        self, place: Stage, number: int, families: Sequence[int] = (4, 6), way: str = "auto"
    ) -> None:
        self.number = number
        self.own = {4: f"10.223.0.{number}", 6: f"fd00:0:0:f::{number}"}
        on_wire = {4: f"198.18.0.{number}", 6: f"fd53::{number}"}
        self.underlay = tuple(ip_address(on_wire[family]) for family in families)
        super().__init__(place, way)
        self.device = 0  # of the overlay
        self.vxlan = place.run(VxlanTarget, tell=self._note)
        self.uplinks = place.run(UplinkTarget, self.plane, way)

    def close(self) -> None:
        self.vxlan.close()
        self.uplinks.close()
        super().close()

    def _note(self, ifindex: int) -> None:
        self.device = ifindex

    @property
    def room(self) -> int:
        """The MTU of what it carries."""
        return MTU - OVERHEAD[self.underlay[0].version]

    def carrier(self, other: WiredHost) -> Address:
        """Where it sends to another one: by the first of its families that the other has."""
        theirs = {address.version: address for address in other.underlay}
        return next(theirs[a.version] for a in self.underlay if a.version in theirs)

    def add(self, space: Netns, number: int, mtu: int = 0, **other: Any) -> Container:
        """The container of this number on this host; `mtu` 0: what the overlay carries."""
        return super().add(space, self.number * ROOM + number, mtu or self.room, **other)

    def go_online(self) -> None:
        """Its uplink is there: guard it, and make the device of the overlay."""
        self.eth0 = self.place.run(self.links.ifindex, "eth0")
        put = self.place.run(self.uplinks.put, {"eth0": Uplink("eth0", self.eth0)})
        assert {} == put
        wanted = Vxlan(OVERLAY_DEVICE, self.room, OVERLAY_PORT)
        assert {} == self.place.run(self.vxlan.put, {OVERLAY_DEVICE: wanted})
        attached = {
            (OVERLAY_DEVICE, hook): Attachment(OVERLAY_DEVICE, self.device, hook, program)
            for hook, program in OVERLAY_HOOKS.items()
        }
        assert {} == self.place.run(self.attachments.put, attached)
        self.put("tunnels", {self.device: 1})
        self.put("underlays", {0: underlay(self.underlay, self.number)})

    def meet(self, other: WiredHost, flags: int = abi.NEXT_HOP_OVERLAY) -> None:
        """Learn of another host, whom we have a link with."""
        self.put("members", dict.fromkeys(other.underlay, abi.Member(other.number)))
        hop = abi.NextHop(mapped(self.carrier(other)), other.number, flags, self.device)
        self.put("next_hops", {other.number: hop})
        look_anew()
        own = {host_prefix(ip_address(a)): abi.REMOTE_HOST for a in other.own.values()}
        remotes = {p: abi.Remote(other.number, 0, flag) for p, flag in own.items()}
        remotes |= {p: abi.Remote(other.number, 1) for p in blocks(other.number).values()}
        self.put("remotes", remotes)
        routes = {p: Route(p, OVERLAY_DEVICE, ip_address(self.own[p.version])) for p in remotes}
        assert {} == self.place.run(self.routes.put, routes)

    def reach(
        self, other: WiredHost, via: WiredHost, backup: WiredHost | None = None, *equal: WiredHost
    ) -> None:
        numbers = (host.number for host in equal)
        path = abi.Path(via.number, backup.number if backup else 0, *numbers)
        self.put("paths", {other.number: path})
        look_anew()

    def bury(self, other: WiredHost) -> None:
        """The link to it is dead."""
        assert {} == self._dead().update([(other.number.to_bytes(4, "little"), bytes(4))])
        look_anew()

    def revive(self, other: WiredHost) -> None:
        assert {} == self._dead().delete([other.number.to_bytes(4, "little")])
        look_anew()

    def _dead(self) -> Table:
        return Table(self.plane.maps["dead"])


class Wire:
    """A bridge. Its ports are p1, p2, …"""

    def __init__(self, place: Stage) -> None:
        self.place = place
        place.shell("ip link add wire type bridge mcast_snooping 0; ip link set wire up")

    def join(self, host: WiredHost) -> None:
        port = f"p{host.number}"
        self.place.shell(
            f"ip link add {port} type veth peer name eth0 netns {host.place.process}; "
            f"ip link set {port} master wire up"
        )
        host.place.shell("ip link set eth0 addrgenmode none; ip link set eth0 up")
        for address in host.underlay:
            length, more = (24, "") if address.version == 4 else (64, " nodad")
            host.place.shell(f"ip addr add {address}/{length} dev eth0{more}")
        assert wait(lambda: carries(self.place, port))
        host.go_online()

    def part(self, *hosts: WiredHost) -> None:
        """These do not see each other, but all others do see them."""
        for host in hosts:
            self.place.shell(f"bridge link set dev p{host.number} isolated on")


@contextmanager
def wires() -> Iterator[Callable[..., list[WiredHost]]]:
    """Makes so many hosts on a wire of their own, by the arguments of `WiredHost`; those that are
    named in `by_host` are lists, with one for each.
    """
    with ExitStack() as stack:

        def make(count: int, by_host: Sequence[str] = (), **named: Any) -> list[WiredHost]:
            wire = Wire(stack.enter_context(stage()))
            made = []
            for number in range(1, count + 1):
                own = {k: v[number - 1] if k in by_host else v for k, v in named.items()}
                host = WiredHost(stack.enter_context(stage()), number, **own)
                stack.callback(host.close)
                host.wire = wire
                wire.join(host)
                made.append(host)
            for one in made:
                for other in made:
                    if one is not other:
                        one.meet(other)
                        one.reach(other, other)
            return made

        yield make
