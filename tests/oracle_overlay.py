"""What must become of packets between hosts, said a second time: from the documents, not the C.

Of the world of `beyond`: who is where, who relays, and which links are held stand there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from beyond import ADDED, FAR, HOSTS, NORTH, SOUTH, TUNNEL, Beyond
from cast import CONNECTED, HOST, SUBNETS, Actor
from edge import OTHER, PUBLIC, UPLINK_MTU, WIRE_MAC
from oracle import (
    GROUPS,
    HOLDERS,
    Broken,
    Oracle,
    Packet,
    fits,
    is_closed,
    is_neighbours,
    read,
    told,
    within,
)
from oracle_published import claimed
from seaway.bpf import abi
from seaway.model.addresses import Address, Prefix
from seaway.names import OVERLAY_ID, OVERLAY_PORT
from stage import mac_octets

WAYS = {NORTH: NORTH, SOUTH: SOUTH, FAR: NORTH}  # to whom, by whom
OURS = frozenset(ip_address(a) for group in (HOST, PUBLIC, OTHER) for a in group.values())
LEFT = ("198.51.100.0/24", "192.0.2.0/24", "2001:db8:100::/64", "2001:db8::/64")
ROUTED = tuple(ip_network(p) for p in LEFT)  # by the host, to the outside
TRAINS = 256  # flows that are told apart, by their source port


def owner(address: Address) -> tuple[Beyond, bool] | None:
    """Which other host has it, and whether it is the host's own."""
    for host in HOSTS:
        if address == ip_address(host.own(address.version)):
            return host, True
        if address in host.block(address.version):
            return host, False
    return None


def is_inside(address: Address) -> bool:
    return owner(address) is not None or within(address, SUBNETS)


def reached(host: Beyond, *, own: bool, actor: Actor) -> bool:
    """Whether an endpoint of ours and what is there may speak with each other."""
    networks = host.network, actor.record.network
    both_open = host.flags & actor.record.flags & abi.ENDPOINT_OPEN
    return own or networks[0] == networks[1] or bool(both_open) or networks in CONNECTED


def room(host: Beyond) -> int:
    return UPLINK_MTU - ADDED[host.family]


@dataclass
class OverlayOracle(Oracle):
    """`trains` are flows in which one came: what follows may have to wait behind it."""

    hosts: Collection[Address] = OURS
    routed: Collection[Prefix] = ROUTED
    trains: set[int] = field(default_factory=set)

    def _onward(self, packet: Packet, sender: Actor, gso: int) -> str:
        there = None if packet.dst in HOLDERS else owner(packet.dst)
        if is_closed(sender) and sender_of(packet.dst):
            return "drop"
        return (
            self._to_remote(packet, sender, gso, *there)
            if there
            else super()._onward(packet, sender, gso)
        )

    def _to_remote(self, packet: Packet, sender: Actor, gso: int, host: Beyond, own: bool) -> str:
        if not reached(host, own=own, actor=sender) or (own and is_closed(sender)):
            return "drop"
        if packet.ttl <= 1:
            return told(packet)
        return carried_on(packet, host, gso)

    def from_wire(self, frame: bytes, gso: int) -> set[str]:
        """host, arrive, relay or drop."""
        if frame[:6] != mac_octets(WIRE_MAC):
            return {"host"}
        try:
            outer = read(frame, gso)
        except Broken:
            return {"drop" if is_inside(claimed(frame)) else "host"}
        if is_neighbours(outer):
            return {"host"}
        if is_inside(outer.src):
            return {"drop"}  # as it is it comes from nobody here, and ours carry nothing
        return self._shortcut(frame, outer, gso) if is_ours(outer) else {"host"}

    def _shortcut(self, frame: bytes, outer: Packet, gso: int) -> set[str]:
        size = ADDED[outer.version]
        if not plain_carrier(frame, outer):
            return {"host"}
        try:
            packet = read(frame[size:], gso)
        except Broken:
            return {"host"}
        word = self._plain(packet, sender_of(outer.src), outer, gso)
        if word != "arrive":
            return {word}
        slot = outer.ports[0] % TRAINS
        if gso:
            self.trains.add(slot)
            return {"host"}
        return {"arrive", "host"} if slot in self.trains else {"arrive"}

    def _plain(self, packet: Packet, member: Beyond | None, outer: Packet, gso: int) -> str:
        source = owner(packet.src)
        if is_neighbours(packet) or within(packet.dst, GROUPS) or not member or not source:
            return "host"
        if source[0] is not member and not member.linked:
            return "host"
        receiver = HOLDERS.get(packet.dst)
        if receiver:
            host, own = source
            plain = (
                not packet.fragment and packet.ttl > 1 and fits(packet, gso, receiver.record.mtu)
            )
            closed = own and is_closed(receiver)
            fine = plain and not closed and reached(host, own=own, actor=receiver)
            return "arrive" if fine else "host"
        there = owner(packet.dst)
        via = WAYS.get(there[0]) if there else None
        if not via or via.family != outer.version or packet.ttl <= 1:
            return "host"
        if packet.fragment and not packet.whole:
            return "host"
        return "relay" if fits(packet, gso, room(via)) else "host"

    def from_overlay(self, frame: bytes, gso: int) -> set[str]:
        """forward, carry, answer, host or drop; of what need not be looked at who carried it."""
        try:
            packet = read(frame, gso)
        except Broken:
            return {"drop"}
        source = owner(packet.src)
        if is_neighbours(packet) or not source or within(packet.dst, GROUPS):
            return {"drop"}
        words = self._from_remote(packet, gso, *source)
        if source[0] not in WAYS:  # nobody can be told
            return {"drop" if word == "answer" else word for word in words}
        return words

    def _from_remote(self, packet: Packet, gso: int, host: Beyond, own: bool) -> set[str]:
        receiver, there = HOLDERS.get(packet.dst), owner(packet.dst)
        if receiver:
            return self._arrives(packet, receiver, gso, host, own)
        if there:
            return self._onward_from(packet, there[0], gso)
        if packet.dst in self.hosts:
            return {"host"}
        return {told(packet)} if within(packet.dst, SUBNETS) else {"drop"}

    def _onward_from(self, packet: Packet, host: Beyond, gso: int) -> set[str]:
        """A later fragment goes to the stack behind its first, unless the kernel forgot that."""
        if packet.ttl <= 1:
            return {told(packet)}
        self._follows(packet)
        words = {self._noted(packet, carried_on(packet, host, gso))}
        return words | {"carry"} if packet.cut else words

    def _arrives(
        self, packet: Packet, receiver: Actor, gso: int, host: Beyond, own: bool
    ) -> set[str]:
        if not reached(host, own=own, actor=receiver):
            return {"drop"}
        if packet.ttl <= 1:
            return {told(packet)}
        if not self._follows(packet):
            return {"drop"}
        if not fits(packet, gso, receiver.record.mtu):
            word = told(packet) if packet.whole else self._noted(packet, "host")
        else:
            word = "forward"
        return {word, "drop"} if packet.later else {word}

    def to_overlay(self, frame: bytes, came_by: int) -> set[str]:
        """carry, host (by the device) or drop."""
        try:
            packet = read(frame, 0)
        except Broken:
            return {"drop"}
        there = owner(packet.dst)
        if is_neighbours(packet) or not there or there[0] not in WAYS:
            return {"drop"}
        if not may_leave(packet, came_by, *there):
            return {"drop"}
        return {"carry" if carried_on(packet, there[0], 0) == "carry" else "host"}


def may_leave(packet: Packet, came_by: int, host: Beyond, own: bool) -> bool:
    """By the stack: the host's own, from its address in the cluster, or what it had to cut."""
    sender = HOLDERS.get(packet.src)
    if not sender:
        return came_by == TUNNEL or packet.src == ip_address(HOST[packet.version])
    entered = {a.record.container for a in HOLDERS.values() if a.record.ifindex == came_by}
    return sender.record.container in entered and reached(host, own=own, actor=sender)


def carried_on(packet: Packet, host: Beyond, gso: int) -> str:
    """What no kernel has made a train of itself cannot be encapsulated by us, but by the stack."""
    via = WAYS.get(host)
    if not via:
        return told(packet)
    if not fits(packet, gso, room(via)):
        return told(packet) if packet.whole else "host"
    return "host" if gso else "carry"


def is_ours(outer: Packet) -> bool:
    here = outer.dst == ip_address(PUBLIC[outer.version])
    return here and outer.protocol == 17 and not outer.fragment and outer.ports[1] == OVERLAY_PORT


def plain_carrier(frame: bytes, outer: Packet) -> bool:
    """As hosts write it, and no congestion on its way."""
    at = 14 + outer.header
    traffic = frame[15] if outer.version == 4 else frame[15] >> 4
    head = frame[at : at + 8]
    return (
        outer.header + 8 + 14 == ADDED[outer.version]
        and 14 + outer.length == len(frame)
        and traffic & 3 != 3
        and frame[at - 2 : at] == b"\0\0"
        and head == b"\x08\0\0\0" + OVERLAY_ID.to_bytes(3) + b"\0"
    )


def sender_of(address: Address) -> Beyond | None:
    for host in HOSTS:
        if address in (ip_address(host.underlay(4)), ip_address(host.underlay(6))):
            return host
    return None
