"""What must become of frames where ports are published and flows remembered, said a second time.

As in oracle.py: from the documents, with a table of flows of its own. Where the client's port is
taken, any from 0x8000 on may stand for it: which one it became is read from the frame (`settle`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

from cast import HOST, SUBNETS, Actor
from edge import LOOPBACK, OTHER, PUBLIC, ROUTER_MAC, UPLINK_MTU, WIRE_MAC
from oracle import (
    GATEWAY,
    GROUPS,
    HOLDERS,
    INTERNAL,
    LINK_LOCAL,
    Broken,
    Oracle,
    Packet,
    asks_resolver,
    fits,
    is_closed,
    is_error,
    is_neighbours,
    may_go_near,
    onto,
    reaches,
    read,
    told,
    within,
)
from seaway.model.addresses import Address
from stage import mac_octets

ADDRESSES = frozenset(
    ip_address(a) for group in (HOST, PUBLIC, OTHER, LOOPBACK) for a in group.values()
)
ROUTED = [ip_network(p) for p in ("192.0.2.0/24", "2001:db8::/64")]
ON_LINK = [ip_network(p) for p in ("198.51.100.0/24", "2001:db8:100::/64")]
ROUTERS = {ip_address("198.51.100.254"), ip_address("2001:db8:100::fe")}
TO_ROUTER = mac_octets(ROUTER_MAC) + mac_octets(WIRE_MAC)
TOO_BIG = {4: (3, 4), 6: (2, 0)}
TOO_OLD = {4: (11, 0), 6: (3, 0)}
UNSEEN = -1
UDP = 17
NO_ENDPOINT = {4: (3, 1), 6: (1, 3)}


class Key(NamedTuple):
    """What packets of a flow look like, in one direction."""

    protocol: int
    src: Address
    sport: int
    dst: Address
    dport: int

    def back(self) -> Key:
        return Key(self.protocol, self.dst, self.dport, self.src, self.sport)


@dataclass(frozen=True)
class Flow:
    to: Key  # how they go on; source port UNSEEN: not known yet
    reply: bool = False
    plain: bool = False


@dataclass(frozen=True)
class Publication:
    actor: Actor
    port: int
    origin: Mapping[int, str] | None  # by family: what an answer looks like


@dataclass(frozen=True)
class Said:
    """A word, and what the frame looks like then."""

    word: str  # host, forward, answer, translated, drop
    macs: bytes = b""  # receiver and sender, where they are known
    to: Key | None = None
    about: Key | None = None  # of the packet that an ICMP error quotes: sent against this key
    tells: tuple[int, int, int] | None = None  # type, code and MTU of an ICMP error
    key: Key | None = None


@dataclass
class PublishedOracle(Oracle):
    hosts: Collection[Address] = ADDRESSES
    ports: Mapping[tuple[str, int], Publication] = field(default_factory=dict)  # of the host
    closed: frozenset[str] = frozenset()  # whose MAC must not ask the host
    flows: dict[Key, Flow] = field(default_factory=dict)
    fresh: list[Key] = field(default_factory=list)  # entered since somebody looked

    def from_wire(self, frame: bytes) -> Said:
        if frame[:6] != mac_octets(WIRE_MAC):
            return Said("host")
        try:
            packet = read(frame, 0)
        except Broken:
            return Said("drop" if within(claimed(frame), SUBNETS) else "host")
        if is_neighbours(packet):
            return Said("host")
        if within(packet.src, SUBNETS):
            return Said("drop")
        if not self._follows(packet):
            return Said("host")
        return self._published(packet, None, 0) or Said("host")

    def sends(self, frame: bytes, gso: int) -> Said:
        packet = self.admits(frame, gso)
        if isinstance(packet, str):
            return Said(packet)
        receiver = HOLDERS.get(packet.dst)
        found = self._answers(packet, receiver is not None, gso)
        if found:
            return found
        if receiver:
            return self._onto(packet, receiver, gso)
        return self._elsewhere(packet, gso)

    def gets(self, frame: bytes, gso: int, came_by: int) -> Said:
        packet = self.delivers(frame, gso, came_by)
        if not packet:
            return Said("drop")
        self._make_way(packet, self.me)
        asks = packet.src in self.hosts and not is_error(packet)
        if asks and self.me.mac in self.closed:
            key = key_of(packet)
            if key not in self.flows:
                self._enter(key, key, plain=True)
        return Said("host", self.me.record.mac + GATEWAY)

    def settle(self, key: Key, port: int) -> None:
        """This is the port that the client got."""
        flow = self.flows[key]
        to = flow.to._replace(sport=port)
        assert port >= 0x8000
        assert to.back() not in self.flows
        self._enter(key, to)

    def _onto(self, packet: Packet, receiver: Actor, gso: int) -> Said:
        sender, record = HOLDERS[packet.src], receiver.record
        word = self._noted(packet, onto(packet, sender, receiver, gso))
        if word == "answer" and packet.ttl > 1 and reaches(sender, receiver):
            return Said(word, tells=(*TOO_BIG[packet.version], record.mtu))
        if word == "answer":
            return Said(word, tells=(*TOO_OLD[packet.version], 0))
        if word == "forward":
            self._make_way(packet, receiver)
        return Said(word, record.mac + GATEWAY if word == "forward" else b"")

    def _make_way(self, packet: Packet, receiver: Actor) -> None:
        """Who asks directly is not answered as if he had asked a port of the host."""
        if not any(p.actor.mac == receiver.mac for p in self.ports.values()):
            return
        key = key_of(packet).back()
        flow = self.flows.get(key)
        if flow and flow.reply and not flow.plain and (opens(packet) or packet.protocol == UDP):
            self._forget(key)

    def _forget(self, key: Key) -> None:
        """Both directions."""
        del self.flows[self.flows.pop(key).to.back()]

    def _elsewhere(self, packet: Packet, gso: int) -> Said:
        sender = HOLDERS[packet.src]
        if any(within(packet.dst, prefixes) for prefixes in (GROUPS, INTERNAL)):
            return Said("drop")
        return Said("host") if asks_resolver(packet) else self._further(packet, sender, gso)

    def _further(self, packet: Packet, sender: Actor, gso: int) -> Said:
        if within(packet.dst, LINK_LOCAL) and not may_go_near(sender):
            return Said("drop")
        closed = self.me.mac in self.closed or is_closed(sender)
        if packet.dst in self.hosts:
            if closed:
                return Said("host" if self._asked(packet) else "drop")
            return self._published(packet, self.me, gso) or Said("host")
        if within(packet.dst, SUBNETS):
            return Said(told(packet), tells=(*NO_ENDPOINT[packet.version], 0))
        return Said("drop" if closed and route(packet.dst) is None else "host")

    def _asked(self, packet: Packet) -> bool:
        """By the host: then a container may answer that must not ask."""
        key: Key | None = key_of(packet)
        if is_error(packet):
            key = quoted(packet)
            if key is None or redirects(packet) or packet.src != key.src:
                return False
        elif packet.protocol in {1, 58} and packet.ports[0] not in {0, 129}:
            return False
        flow = self.flows.get(key) if key else None
        return flow is not None and flow.reply and not opens(packet)

    def _published(self, packet: Packet, sender: Actor | None, gso: int) -> Said | None:
        """By an address of the host; `sender`: nobody of ours."""
        if is_error(packet):
            return self._tells(packet, sender)
        if packet.protocol not in {6, 17}:
            return None
        key = key_of(packet)
        flow = self.flows.get(key)
        answered = flow is not None and flow.plain and flow.reply
        if flow is None or (answered and sender is None and opens(packet)):
            to = self._target(key, packet.src, sender)
            if to is None:
                return None
            if accepts(
                packet
            ):  # of a connection from here, out of a port that is published besides
                if sender is None:
                    self._enter(key.back(), key.back(), plain=True)
                return None
            if flow:
                self._forget(key)
            self._enter(key, to)
        flow = self.flows[key]
        return None if flow.plain else self._deliver(packet, key, flow.to, gso)

    def _target(self, key: Key, src: Address, sender: Actor | None) -> Key | None:
        found = self._publication(key.dst, key.dport)
        if not found or (sender is None and not self._is_outside(src)):
            return None
        if sender and sender.record.container == found.actor.record.container:
            src = ip_address(HOST[src.version])
        backend = ip_address(found.actor.address(src.version))
        return Key(key.protocol, src, key.sport, backend, found.port)

    def _publication(self, address: Address, port: int) -> Publication | None:
        if address not in self.hosts or within(address, INTERNAL):
            return None
        return self.ports.get((str(address), port)) or self.ports.get(("", port))

    def _answers(self, packet: Packet, inside: bool, gso: int) -> Said | None:
        if is_error(packet):
            return self._tells(packet, self.me)
        if packet.protocol not in {6, 17}:
            return None
        key = key_of(packet)
        flow = self.flows.get(key)
        if flow:
            ours = flow.reply and not flow.plain
            return self._deliver(packet, key, flow.to, gso) if ours else None
        mine = [p for p in self.ports.values() if self._is_of(p, key)]
        if inside or not mine or opens(packet) or not self._is_outside(packet.dst):
            return None
        if mine[0].origin is None:
            return Said("drop")
        origin = ip_address(mine[0].origin[packet.version])
        port = next(port for (_, port), p in self.ports.items() if p is mine[0])
        asked = Key(key.protocol, key.dst, key.dport, origin, port)
        if asked not in self.flows:
            self._enter(asked, key.back())
        return self._deliver(packet, key, asked.back(), gso)

    def _is_of(self, publication: Publication, key: Key) -> bool:
        actor = publication.actor
        address = ip_address(actor.address(key.src.version))
        return (address, publication.port) == (key.src, key.sport)

    def _tells(self, packet: Packet, sender: Actor | None) -> Said | None:
        key = quoted(packet)
        if key is None or redirects(packet):
            return None
        known = self._is_outside(packet.src) if sender is None else packet.src == key.src
        flow = self.flows.get(key)
        if not known or flow is None or flow.plain:
            return None
        said = self._deliver(packet, key, flow.to, 0)
        if said.word != "translated":
            return said
        src = flow.to.src if packet.src == key.src else packet.src
        return replace(said, to=flow.to._replace(src=src), about=flow.to)

    def _deliver(self, packet: Packet, key: Key, to: Key, gso: int) -> Said:
        family = packet.version
        holder = HOLDERS.get(to.dst)
        macs = holder.record.mac + GATEWAY if holder else route(to.dst)
        mtu = holder.record.mtu if holder else UPLINK_MTU
        if macs is None:
            return Said("drop")
        if packet.ttl <= 1:
            return Said(told(packet), tells=(*TOO_OLD[family], 0))
        if not fits(packet, gso, mtu):
            return Said(told(packet), tells=(*TOO_BIG[family], mtu))
        return Said("translated", macs, to, key=key)

    def _enter(self, key: Key, to: Key, plain: bool = False) -> None:
        back, says = to.back(), key.back()
        known = self.flows.get(back)
        if known and known.to != says:
            self.flows[key] = Flow(to._replace(sport=UNSEEN))
            self.fresh.append(key)
            return
        self.fresh += [key, back]
        self.flows[key] = Flow(to, plain=plain)
        self.flows[back] = Flow(says, reply=True, plain=plain)

    def _is_outside(self, address: Address) -> bool:
        inside = (GROUPS, INTERNAL, LINK_LOCAL, SUBNETS)
        known = address in self.hosts or address in HOLDERS
        return not known and not any(within(address, p) for p in inside)


def claimed(frame: bytes) -> Address:
    """The source that stands where it belongs, though the frame cannot be understood."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        return ip_address(frame[26:30])
    if frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
        address = IPv6Address(frame[22:38])
        return address.ipv4_mapped or address
    return ip_address("::")


def key_of(packet: Packet) -> Key:
    sport, dport = packet.ports if packet.protocol in {6, 17} else (0, 0)
    return Key(packet.protocol, packet.src, sport, packet.dst, dport)


def opens(packet: Packet) -> bool:
    return packet.protocol == 6 and not packet.later and packet.body[13] & 0x12 == 2


def accepts(packet: Packet) -> bool:
    return packet.protocol == 6 and not packet.later and packet.body[13] & 0x12 == 0x12


def redirects(packet: Packet) -> bool:
    return packet.version == 4 and packet.kind is not None and packet.kind[0] == 5


def quoted(packet: Packet) -> Key | None:
    """Of the packet that an error tells of: against its direction. None: of no flow."""
    body, family = packet.body[8:], packet.version
    size = (body[0] & 15) * 4 if family == 4 and body else 40
    if packet.fragment or size < 20 or len(body) < size + 8 or body[0] >> 4 != family:
        return None
    if family == 4 and (body[6] & 0x1F or body[7]):
        return None
    protocol, at, length = (body[9], 12, 4) if family == 4 else (body[6], 8, 16)
    src, dst = (ip_address(body[a : a + length]) for a in (at, at + length))
    if protocol not in {6, 17} or src != packet.dst:
        return None
    sport, dport = (int.from_bytes(body[size + i : size + i + 2]) for i in (0, 2))
    return Key(protocol, dst, dport, src, sport)


def route(address: Address) -> bytes | None:
    """The MACs of a frame on its way there, empty where they are asked for; None: no way."""
    if address in ROUTERS or within(address, ROUTED):
        return TO_ROUTER
    everybody = {p[-1] if p.version == 4 else p[0] for p in ON_LINK}
    on_link = within(address, ON_LINK) and address not in ADDRESSES | everybody
    return b"" if on_link else None
