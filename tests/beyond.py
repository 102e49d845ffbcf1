"""The cast on a host that has others beside it, and the packets that carry packets between them.

        ┌─ host ─┐ wire0 ──┬── north: nora, network 1, has the block …1.0/26
anna ───┤        │         ├── south: sam, network 2 (open); reached over IPv6 alone
        └────────┘         ├── lone: leo, network 1; no link leads there
                           └── router
far: fay, network 1; behind north (or south, should the link to north be dead)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from cast import ANNA, BERT, CARL, HOST, UNKNOWN, WORLD, Outcome, datagram, ip, segment
from edge import LOOPBACK, PUBLIC, SCENE, WIRE_MAC, Edge
from frames import told
from oracle import read
from seaway.bpf import abi
from seaway.bpf.table import Table
from seaway.model.addresses import Prefix, host_prefix, mapped
from seaway.names import GATEWAY_MAC, OVERLAY_ID, OVERLAY_MAC, OVERLAY_PORT
from stage import underlay
from ways import look_anew

TUNNEL = 66  # ifindex of the device that stands for the overlay's
ADDED = {4: 50, 6: 70}  # bytes that carry a packet, by their family
OVERLAY, DIRECT = abi.NEXT_HOP_OVERLAY, abi.NEXT_HOP_OVERLAY | abi.NEXT_HOP_DIRECT

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PAYLOADS = pytest.mark.parametrize("payload", [datagram(), segment(), Raw(b"")], ids=repr)
LINK_LOCAL = {4: "169.254.1.1", 6: "fe80::1"}
GROUPS = {4: "224.0.0.1", 6: "ff02::1"}
UNREACHABLE = {4: (3, 1, 0), 6: (1, 3, 0)}  # type, code and the rest of ICMP
TOO_BIG = {4: (3, 4), 6: (2, 0)}
EXCEEDED = {4: (11, 0, 0), 6: (3, 0, 0)}


@dataclass(frozen=True)
class Beyond:
    """Another host, and its one endpoint."""

    number: int
    name: str
    network: int
    family: int = 4  # of what carries to it
    flags: int = 0  # of its endpoint's network
    linked: bool = True

    @property
    def mac(self) -> str:
        return f"02:77:00:00:01:{self.number:02x}"

    def underlay(self, family: int = 0) -> str:
        """Of the family that carries, if nothing else is said."""
        return {4: f"198.51.100.{self.number}", 6: f"2001:db8:100::{self.number}"}[
            family or self.family
        ]

    def own(self, family: int) -> str:
        """Its address in the cluster."""
        return f"10.223.0.{self.number}" if family == 4 else f"fd00:0:0:f::{self.number}"

    def block(self, family: int) -> Prefix:
        if family == 4:
            return ip_network(f"10.208.{self.third}.0/26")
        return ip_network(f"fd00:0:0:{self.network}::{self.third:x}00/122")

    @property
    def third(self) -> int:
        return (self.network - 1) * 64 + self.number

    def address(self, family: int, number: int = 7) -> str:
        """Of its endpoint, or another of its block."""
        return str(self.block(family)[number])


NORTH = Beyond(2, "north", 1)
SOUTH = Beyond(3, "south", 2, family=6, flags=abi.REMOTE_OPEN)
LONE = Beyond(4, "lone", 1, linked=False)
FAR = Beyond(5, "far", 1, linked=False)
HOSTS = (NORTH, SOUTH, LONE, FAR)
REACHED = pytest.mark.parametrize("host", [NORTH, SOUTH], ids=lambda host: host.name)

NEIGHBOURS = "; ".join(
    f"ip neigh add {h.underlay(f)} lladdr {h.mac} dev wire0" for h in HOSTS for f in (4, 6)
)
BEYOND = (
    f"{SCENE}; {NEIGHBOURS}; ip link add tunnel0 index {TUNNEL} type bridge; ip link set tunnel0 up"
)


def _key(host: Beyond) -> bytes:
    return host.number.to_bytes(4, sys.byteorder)


class World(Edge):
    """Lives on its stage, whose network it makes."""

    pinned = "beyond"

    def _reset(self) -> None:
        super()._reset()
        dead = Table(self.plane.maps["dead"])
        dead.delete([key for key, _ in dead.elements()])
        dead.update([(_key(host), bytes(4)) for host in HOSTS if not host.linked])
        for host in HOSTS:
            self._meet(host)
        self.targets["underlays"].put({0: underlay(map(ip_address, PUBLIC.values()))})
        self.targets["tunnels"].put({TUNNEL: 1})
        self.targets["paths"].put(
            {2: abi.Path(2), 3: abi.Path(3), 5: abi.Path(NORTH.number, SOUTH.number)}
        )

    def _meet(self, host: Beyond, flags: int = OVERLAY) -> None:
        for family in (4, 6):
            at = ip_address(host.underlay(family))
            self.targets["members"].put({at: abi.Member(host.number)})
            own = host_prefix(ip_address(host.own(family)))
            self.targets["remotes"].put(
                {
                    host.block(family): abi.Remote(host.number, host.network, host.flags),
                    own: abi.Remote(host.number, 0, abi.REMOTE_HOST),
                }
            )
        hop = abi.NextHop(mapped(ip_address(host.underlay())), host.number, flags, TUNNEL)
        self.targets["next_hops"].put({host.number: hop})

    def reset(self) -> None:
        super().reset()
        look_anew()

    def meet(self, host: Beyond, flags: int = OVERLAY, **changed: Any) -> None:
        """Otherwise than before."""
        self.place.run(self._meet, replace(host, **changed), flags)
        look_anew()

    def path(self, host: Beyond, via: Beyond, *equal: Beyond) -> None:
        """The first of those that are as near is the backup."""
        numbers = [other.number for other in equal]
        path = abi.Path(via.number, sum(numbers[:1]), *numbers)
        self.place.run(self.targets["paths"].put, {host.number: path})
        look_anew()

    def bury(self, host: Beyond) -> None:
        dead = self.place.run(Table, self.plane.maps["dead"])
        self.place.run(dead.update, [(_key(host), bytes(4))])
        look_anew()

    def revive(self, host: Beyond) -> None:
        dead = self.place.run(Table, self.plane.maps["dead"])
        self.place.run(dead.delete, [_key(host)])
        look_anew()

    def be_alone(self) -> None:
        """Learn that there is no other host, before what is known of them is forgotten."""
        self.place.run(self.targets["underlays"].delete, {0})

    def forget(self, host: Beyond) -> None:
        """Its blocks stay, but nobody knows whose they are."""
        self.place.run(self.targets["remotes"].delete, {host.block(family) for family in (4, 6)})

    def from_overlay(self, frame: Packet | bytes, **known: int) -> Outcome:
        return self.send(frame, "from_overlay", ifindex=TUNNEL, **known)

    def to_overlay(self, frame: Packet | bytes, **known: int) -> Outcome:
        return self.send(frame, "to_overlay", ifindex=TUNNEL, **known)


def carried(inner: Packet | bytes, outer: Packet, port: int = 0xC0DE, **fields: Any) -> Packet:
    """Inside of a packet whose layers 2 and 3 are given; `port`: the source."""
    head = {"vni": OVERLAY_ID, "flags": 8} | fields
    udp = UDP(sport=port, dport=OVERLAY_PORT, chksum=head.pop("chksum", 0))
    return outer / udp / VXLAN(**head) / bytes(inner)


def sends(host: Beyond, inner: Packet | bytes, family: int = 0, **fields: Any) -> Packet:
    """What comes by the wire from another host; `head`: fields of the carrier's layer 3."""
    family = family or host.family
    head = _plain(family) | fields.pop("head", {})
    outer = Ether(src=host.mac, dst=WIRE_MAC) / ip(
        family, host.underlay(family), PUBLIC[family], **head
    )
    return carried(inner, outer, **fields)


def _plain(family: int) -> dict[str, Any]:
    return {"id": 0, "flags": "DF"} if family == 4 else {}


def frame_of(inner: Packet) -> Packet:
    """As it stands inside of another: with the MACs of routers."""
    return Ether(src=GATEWAY_MAC, dst=OVERLAY_MAC) / inner


def goes(
    host: Beyond, inner: Packet | bytes, ecn: int = 0, mac: str = "", vni: int = OVERLAY_ID
) -> Outcome:
    """Out by the wire to another host. `inner`: from layer 3, as it stands inside."""
    family = host.family
    fields = _plain(family) | ({"tos": ecn} if family == 4 else {"tc": ecn})
    outer = Ether(src=WIRE_MAC, dst=mac or host.mac) / ip(
        family, PUBLIC[family], host.underlay(), **fields
    )
    head = Ether(
        src=GATEWAY_MAC, dst=OVERLAY_MAC, type=0x800 if bytes(inner)[0] >> 4 == 4 else 0x86DD
    )
    frame = carried(bytes(head) + bytes(inner), outer, port=0, vni=vni)
    return Outcome("redirect", bytes(frame), {})


def hopped(frame: Packet) -> Packet:
    """Layer 3 of a frame, passed on by a router."""
    routed = Ether(bytes(frame))[1].copy()
    if IP in routed:
        routed.ttl -= 1
        del routed.chksum
    else:
        routed.hlim -= 1
    return routed


def portless(outcome: Outcome) -> Outcome:
    """Without the source port of what carries: a hash that nobody foretells."""
    frame = bytearray(outcome.frame)
    at = 14 + (20 if frame[12:14] == b"\x08\x00" else 40)
    assert outcome.verdict == "redirect"
    assert frame[at] >= 0xC0
    frame[at : at + 2] = bytes(2)
    return replace(outcome, frame=bytes(frame))


def is_question(outcome: Outcome, host: Beyond) -> bool:
    """Whether it is what the kernel asks for a host's MAC for: a carrier that carries nothing."""
    if outcome.verdict != "redirect":
        return False
    outer = Ether(outcome.frame)[1]
    head = outer[UDP].dport, bytes(outer[UDP].payload)[:4]
    return (host.underlay(), (OVERLAY_PORT, bytes(4))) == (outer.dst, head)


@contextmanager
def unknown(world: World, host: Beyond) -> Iterator[None]:
    """Nobody knows its MAC."""
    at = host.underlay()
    world.place.shell(f"ip neigh del {at} dev wire0")
    look_anew()
    try:
        yield
    finally:
        world.place.shell(f"ip neigh replace {at} lladdr {host.mac} dev wire0")


def answered(reason: str, frame: Packet, tells: tuple[int, int, int]) -> Outcome:
    """By our own host, to anna."""
    data = bytes(frame)
    packet = read(data, 0)
    body = told(data, packet, tells, HOST[packet.version])
    return Outcome(
        "redirect",
        ANNA.record.mac + bytes.fromhex(GATEWAY_MAC.replace(":", "")) + body,
        {reason: 1},
    )


def inner(family: int, source: Beyond, dst: str, payload: Packet, **fields: object) -> Packet:
    """From another host's endpoint."""
    return ip(family, source.address(family), dst, **fields) / payload


def burdens(family: int) -> dict[str, Packet]:
    """What carries them is as it should be, what is carried is not plain."""
    me = ANNA.address(family)
    first = {"flags": "MF"} if family == 4 else {}
    part = datagram() if family == 4 else IPv6ExtHdrFragment(m=1) / datagram(8)
    asks = (
        Ether(src=GATEWAY_MAC, dst=OVERLAY_MAC) / ARP(psrc=NORTH.address(4), pdst=ANNA.v4)
        if family == 4
        else frame_of(inner(6, NORTH, ANNA.v6, ICMPv6ND_NS(tgt=ANNA.v6), ttl=255))
    )
    return {
        "of nobody's source": frame_of(ip(family, UNKNOWN[family], me) / datagram()),
        "of the world": frame_of(ip(family, WORLD[family], me) / datagram()),
        "of our own endpoint": frame_of(ip(family, BERT.address(family), me) / datagram()),
        "of our own host": frame_of(ip(family, HOST[family], me) / datagram()),
        "at its end": frame_of(inner(family, NORTH, me, datagram(), ttl=1)),
        "too big": frame_of(inner(family, NORTH, me, datagram(1500))),
        "to another network": frame_of(inner(family, NORTH, CARL.address(family), datagram())),
        "a part": frame_of(inner(family, NORTH, me, part, **first)),
        "a neighbour's question": asks,
        "to all": frame_of(inner(family, NORTH, GROUPS[family], datagram())),
        "to nobody": frame_of(inner(family, NORTH, UNKNOWN[family], datagram())),
        "to the host": frame_of(inner(family, NORTH, HOST[family], datagram())),
        "to the world": frame_of(inner(family, NORTH, WORLD[family], datagram())),
        "to the loopback": frame_of(inner(family, NORTH, LOOPBACK[family], datagram())),
        "to a link's address": frame_of(inner(family, NORTH, LINK_LOCAL[family], datagram())),
        "cut off": Ether(bytes(frame_of(inner(family, NORTH, me, segment())))[:-30]),
        "damaged": Ether(bytes(frame_of(inner(family, NORTH, me, segment())))[:14] + b"\x33" * 60),
    }
