"""What must become of a frame, said a second time: in Python, from the documents, not from the C.

Addresses are (family, bytes), MACs are bytes; nothing here is fast or shares code with the
data plane.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from cast import ANNA, CAST, CONNECTED, HOST, SUBNETS, Actor
from seaway.bpf import abi
from seaway.model.addresses import Address, Prefix
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC, RESOLVER4, RESOLVER_PORT
from stage import RESOLVER6, mac_octets

GATEWAY = mac_octets(GATEWAY_MAC)
HOLDERS: dict[Address, Actor] = {
    ip_address(address): actor for actor in CAST for address in (actor.v4, actor.v6)
}
HOSTS = frozenset(ip_address(address) for address in HOST.values())
INTERNAL = [ip_network(p) for p in ("0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128")]
LINK_LOCAL = [ip_network(p) for p in ("169.254.0.0/16", "fe80::/10")]
GROUPS = [ip_network(p) for p in ("224.0.0.0/3", "ff00::/8")]
PORTS = {6: 20, 17: 8, 136: 8, 132: 8}  # bytes that a transport header must have
EXTENSIONS = {0, 43, 60, 51}


class Broken(Exception):
    """No packet that anybody should pass on."""


@dataclass
class Packet:
    """What a reader with a pencil would note."""

    version: int
    src: Address
    dst: Address
    ttl: int
    length: int
    protocol: int = 0
    header: int = 0  # bytes from the start of layer 3 to the payload of layer 4
    whole: bool = True  # must not be cut
    fragment: tuple[object, ...] | None = None
    later: bool = False
    cut: bool = False  # its first is to be, for which the others are needed
    kind: tuple[int, int] | None = None  # type and code of ICMP
    ports: tuple[int, int] = (0, 0)  # of TCP and UDP; `kind` of ICMP
    body: bytes = b""


def read(frame: bytes, gso: int) -> Packet:
    ethertype, data = frame[12:14], frame[14:]
    if ethertype == b"\x08\x00":
        return _read_old(data, gso)
    if ethertype == b"\x86\xdd":
        return _read_new(data, gso)
    raise Broken("ethertype")


def _read_old(data: bytes, gso: int) -> Packet:
    need(data, 20)
    size = (data[0] & 15) * 4
    total = int.from_bytes(data[2:4], "big") or (len(data) if gso else 0)
    if data[0] >> 4 != 4 or size < 20 or total < size:
        raise Broken("header")
    need(data, max(size, total))
    cut = int.from_bytes(data[6:8], "big")
    src, dst = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    packet = Packet(4, src, dst, data[8], total, data[9], whole=bool(cut & 0x4000))
    if cut & 0x3FFF:
        packet.fragment = (src, dst, data[4:6], data[9])
        packet.later = bool(cut & 0x1FFF)
    return _read_transport(packet, data, size)


def _read_new(data: bytes, gso: int) -> Packet:
    need(data, 40)
    total = 40 + int.from_bytes(data[4:6], "big")
    if total == 40 and gso:
        total = len(data)
    if data[0] >> 4 != 6:
        raise Broken("version")
    need(data, total)
    src, dst = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    if src.ipv4_mapped or dst.ipv4_mapped:
        raise Broken("mapped")
    packet = Packet(6, src, dst, data[7], total, data[6])
    return _read_transport(packet, data, _step(packet, data))


def _step(packet: Packet, data: bytes) -> int:
    """Over the extension headers. Six of them at most."""
    at, steps = 40, 0
    while packet.protocol in EXTENSIONS | {44}:
        steps += 1
        if steps > 7:
            raise Broken("extensions")
        need(data, at + 8)
        if packet.protocol == 44:
            if packet.fragment:
                raise Broken("fragment twice")
            cut = int.from_bytes(data[at + 2 : at + 4], "big")
            if cut & 0xFFF9:
                packet.fragment = (packet.src, packet.dst, data[at + 4 : at + 8], data[at])
            packet.protocol, at = data[at], at + 8
            if cut & 0xFFF8:
                packet.later = True
                return at
        else:
            units = 4 if packet.protocol == 51 else 8
            packet.protocol, at = data[at], at + 8 + data[at + 1] * units
            need(data, at)
    if steps > 6:
        raise Broken("extensions")
    return at


def _read_transport(packet: Packet, data: bytes, at: int) -> Packet:
    packet.header = at
    if packet.later:
        return packet
    size = PORTS.get(packet.protocol, 0)
    if packet.protocol == (1 if packet.version == 4 else 58):
        size = 4
        need(data, at + 4)
        packet.kind = packet.ports = (data[at], data[at + 1])
    need(data, at + size)
    if packet.protocol == 6:
        size = (data[at + 12] >> 4) * 4
        if size < 20:
            raise Broken("tcp")
    packet.header = at + size
    if packet.header > packet.length:
        raise Broken("transport")
    packet.body = data[at : packet.length]
    if packet.protocol in {6, 17}:
        packet.ports = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
    return packet


def need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise Broken("ends early")


def within(address: Address, prefixes: object) -> bool:
    return any(address in p for p in prefixes if p.version == address.version)  # type: ignore[attr-defined]


@dataclass
class Oracle:
    """Remembers the first fragments that it has seen, and what later ones have from them."""

    me: Actor = ANNA  # whose device the frames come from, or go to
    hosts: Collection[Address] = HOSTS
    routed: Collection[Prefix] = ()  # by the host
    firsts: dict[tuple[object, ...], tuple[int, tuple[int, int]]] = field(default_factory=dict)
    cut: set[tuple[object, ...]] = field(default_factory=set)  # of these, by the host's stack

    def from_endpoint(self, frame: bytes, gso: int) -> set[str]:
        """The words that may be said: host, forward, answer, drop."""
        packet = self.admits(frame, gso)
        if isinstance(packet, str):
            return {packet}
        words = {self._noted(packet, self._onward(packet, HOLDERS[packet.src], gso))}
        return words | {"drop"} if packet.later else words  # the kernel may forget a first

    def to_endpoint(self, frame: bytes, gso: int, came_by: int) -> set[str]:
        """host (delivered) or drop."""
        packet = self.delivers(frame, gso, came_by)
        if not packet:
            return {"drop"}
        return {"host", "drop"} if packet.later else {"host"}

    def admits(self, frame: bytes, gso: int) -> Packet | str:
        """A packet that I may send, or the word for a frame that goes nowhere."""
        try:
            if frame[12:14] == b"\x08\x06":
                return "answer" if answers_arp(frame, self.me) else "drop"
            packet = read(frame, gso)
        except Broken:
            return "drop"
        if is_neighbours(packet):
            return "answer" if answers_solicitation(frame, packet, self.me) else "drop"
        sender = HOLDERS.get(packet.src)
        if not sender or sender.record.container != self.me.record.container:
            return "drop"
        ours = frame[:12] == GATEWAY + self.me.record.mac and self._follows(packet)
        return packet if ours else "drop"

    def delivers(self, frame: bytes, gso: int, came_by: int) -> Packet | None:
        """A packet that the host's stack may give to me."""
        try:
            packet = read(frame, gso)
        except Broken:
            return None
        receiver = HOLDERS.get(packet.dst)
        if receiver is None or receiver.mac != self.me.mac:
            return None
        sender = HOLDERS.get(packet.src)
        if sender:
            entered = {a.record.container for a in CAST if a.record.ifindex == came_by}
            if sender.record.container not in entered or not reaches(sender, self.me):
                return None
        elif within(packet.src, SUBNETS) and packet.src not in self.hosts:
            return None
        return packet if self._follows(packet) else None

    def _follows(self, packet: Packet) -> bool:
        if packet.fragment is None:
            return True
        if packet.later:
            first = self.firsts.get(packet.fragment)
            packet.protocol, packet.ports = first or (0, (0, 0))
            packet.cut = packet.fragment in self.cut
            return first is not None
        self.firsts[packet.fragment] = packet.protocol, packet.ports
        self.cut.discard(packet.fragment)
        return True

    def _noted(self, packet: Packet, word: str) -> str:
        """Whom the stack gets to cut it, it needs the others of."""
        if packet.fragment and not packet.later and word == "host":
            self.cut.add(packet.fragment)
        return word

    def _onward(self, packet: Packet, sender: Actor, gso: int) -> str:
        receiver = HOLDERS.get(packet.dst)
        if receiver:
            return onto(packet, sender, receiver, gso)
        if within(packet.dst, GROUPS) or within(packet.dst, INTERNAL):
            return "drop"
        return "host" if asks_resolver(packet) else self._further(packet, sender)

    def _further(self, packet: Packet, sender: Actor) -> str:
        if within(packet.dst, LINK_LOCAL) and not may_go_near(sender):
            return "drop"
        if packet.dst in self.hosts:
            return "drop" if is_closed(sender) else "host"
        if within(packet.dst, SUBNETS):
            return told(packet)
        return "host" if within(packet.dst, self.routed) or not is_closed(sender) else "drop"


def onto(packet: Packet, sender: Actor, receiver: Actor, gso: int) -> str:
    if not reaches(sender, receiver):
        return "drop"
    if packet.ttl <= 1:
        return told(packet)
    if not fits(packet, gso, receiver.record.mtu):
        return told(packet) if packet.whole else "host"
    return "forward"


def fits(packet: Packet, gso: int, mtu: int) -> bool:
    """Whole, or in the pieces that it will be cut into."""
    pieces = gso == 0xFFFF or (gso > 0 and packet.header + gso <= mtu)
    return not packet.cut and (packet.length <= mtu or pieces)


def told(packet: Packet) -> str:
    """By an ICMP error, unless one must not be sent."""
    return "drop" if packet.later or is_error(packet) else "answer"


def is_error(packet: Packet) -> bool:
    errors = {3, 4, 5, 11, 12} if packet.version == 4 else range(128)
    return packet.kind is not None and packet.kind[0] in errors


def is_neighbours(packet: Packet) -> bool:
    return packet.version == 6 and packet.kind is not None and 133 <= packet.kind[0] <= 137


def reaches(one: Actor, other: Actor) -> bool:
    both_open = one.record.flags & other.record.flags & abi.ENDPOINT_OPEN
    networks = one.record.network, other.record.network
    return networks[0] == networks[1] or bool(both_open) or networks in CONNECTED


def is_closed(sender: Actor) -> bool:
    """To the host: it must not be asked."""
    return bool(sender.record.flags & abi.ENDPOINT_HOST_CLOSED)


def may_go_near(sender: Actor) -> bool:
    return bool(sender.record.flags & abi.ENDPOINT_LINK_LOCAL)


def asks_resolver(packet: Packet) -> bool:
    own = RESOLVER4, RESOLVER6
    return packet.dst in own and packet.protocol in (6, 17) and packet.ports[1] == RESOLVER_PORT


def answers_arp(frame: bytes, me: Actor) -> bool:
    body = frame[14:42]
    if len(body) < 28 or body[:8] != bytes((0, 1, 8, 0, 6, 4, 0, 1)):
        return False
    sender, target = IPv4Address(body[14:18]), IPv4Address(body[24:28])
    own = frame[6:12] == body[8:14] == me.record.mac
    return own and sender != target and answers(sender, target, me)


def answers_solicitation(frame: bytes, packet: Packet, me: Actor) -> bool:
    if packet.kind != (135, 0) or packet.fragment or packet.ttl != 255 or len(packet.body) < 24:
        return False
    target = IPv6Address(packet.body[8:24])
    if frame[6:12] != me.record.mac or packet.src == target or int(packet.src) == 0:
        return False
    return answers(packet.src, target, me)


def answers(sender: Address, target: Address, me: Actor) -> bool:
    asker = HOLDERS.get(sender)
    alone = sender.version == 6 and within(sender, LINK_LOCAL)
    if not alone and (not asker or asker.record.container != me.record.container):
        return False
    if target in {GATEWAY4, GATEWAY6}:
        return True
    holder = HOLDERS.get(target)
    if holder:
        return holder.record.container != me.record.container
    mapped = target.ipv4_mapped if target.version == 6 else None
    return within(mapped or target, SUBNETS)
