"""What one host does with a packet: each program that it meets, what that decides, and why.

The first packet of a connection is asked about, so no flow is known that it could belong to. What
the programs decide is said again here, in their order, over their own maps.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from seaway.bpf import abi
from seaway.desired.network.onward import FIREWALL, STACK, Ground, Onward, Spot, path_of
from seaway.desired.network.resolver import resolver_addresses
from seaway.desired.network.tables import Tables, is_internal
from seaway.facts import Facts
from seaway.model.addresses import Address, unmapped
from seaway.model.facts import Attached, Cluster, Endpoint, Network
from seaway.model.trace import Step, Traced
from seaway.names import OVERLAY_DEVICE, RESOLVER_PORT, link_name

_WIRE: Final = Spot("from_wire")
_OVERLAY: Final = Spot("from_overlay", OVERLAY_DEVICE)
_TO_OVERLAY: Final = Spot("to_overlay", OVERLAY_DEVICE)


class Walked(NamedTuple):
    """At least one step; `onward` where the packet goes on to another host."""

    steps: tuple[Step, ...]
    onward: Onward | None


def walk(facts: Facts, tables: Tables, packet: Traced) -> Walked:
    """From where the packet comes to this host, or begins on it, to where it leaves or ends."""
    made = Walk(facts, tables, packet)
    if packet.carried == "overlay":
        made.from_carrier()
    elif packet.carried == "direct":
        made.from_neighbour()
    elif packet.carried == "" and (sender := made.sender()):
        made.from_endpoint(sender)
    elif packet.carried == "" and tables.is_host(packet.source):
        made.from_host()
    else:
        made.from_wire()
    return Walked(tuple(made.steps), made.onward)


class Walk(Ground):
    """Each method that begins with `from` is one program, or the host's own sockets."""

    def sender(self) -> Endpoint | None:
        return next(iter(self.facts.where(Endpoint, "address", self.packet.source)), None)

    # from_endpoint

    def from_endpoint(self, sender: Endpoint) -> None:
        place = Spot("from_endpoint", link_name(sender.id))
        source, tables = self._source(place, sender), self.tables
        if source is None:
            return
        endpoint = tables.endpoint(self.packet.destination)
        remote = None if endpoint else tables.remote(self.packet.destination)
        if endpoint:
            self._here(place, source, endpoint)
        elif remote:
            self._to_remote(place, source, remote)
        else:
            self._elsewhere(place, source)

    def _source(self, place: Spot, sender: Endpoint) -> abi.Endpoint | None:
        """What the maps know of who sends; None: it is refused."""
        attached = self.facts.get(Attached, sender.id)
        ifindex = attached.ifindex if attached else 0
        found = self.tables.endpoint(self.packet.source)
        if found and self.tables.owns(found, ifindex):
            return found
        known = self.tables.interface(ifindex)
        reason = "spoofed_address" if known else "unknown_device"
        why = "the address is another container's" if found else "the kernel's maps do not have it"
        self.drop(place, reason, why)
        return None

    def _here(self, place: Spot, source: abi.Endpoint, endpoint: abi.Endpoint) -> None:
        why = self.bond_here(source, endpoint)
        if not why:
            self.isolated(place, (source.network, endpoint.network))
        elif not self.used_up(place):
            self.deliver(place, endpoint, why)

    def _to_remote(self, place: Spot, source: abi.Endpoint, remote: abi.Remote) -> None:
        if not self.bond_there(remote, source):
            self.isolated(place, (source.network, remote.network))
        elif remote.flags & abi.REMOTE_HOST and source.flags & abi.ENDPOINT_HOST_CLOSED:
            self._closed(place, source)
        elif not self.used_up(place):
            self.convey(place, path_of(remote))

    def _closed(self, place: Spot, source: abi.Endpoint) -> None:
        why = f"{self.network_name(source.network)} has no access to hosts"
        self.drop(place, "host_closed", why)

    def _elsewhere(self, place: Spot, source: abi.Endpoint) -> None:
        there, tables = self.packet.destination, self.tables
        closed = bool(source.flags & abi.ENDPOINT_HOST_CLOSED)
        if self._asks_resolver():
            self.step(place, "host", "the resolver of this host")
            return
        if self.odd(place, link_local=bool(source.flags & abi.ENDPOINT_LINK_LOCAL)):
            return
        if tables.is_host(there):
            if closed:
                self._closed(place, source)
            elif not self.to_published(place, source.ifindex):
                self.step(place, "host", "an address of this host, and no published port")
        elif tables.subnet(there):
            self.nobody(place)
        elif closed and self._is_hosts(there):
            self._closed(place, source)
        else:
            self.step(place, "pass", "it is for the world")
            self.by_routes(self.network(source.network))

    def _asks_resolver(self) -> bool:
        cluster = self.facts.get(Cluster, "cluster")
        own = resolver_addresses(cluster) if cluster else ()
        return self.packet.destination in own and self.packet.port == RESOLVER_PORT

    def _is_hosts(self, there: Address) -> bool:
        """Another's in the underlay; or what this host's stack passes on to nobody."""
        lead = self.tables.lead(there)
        return lead is None or lead.local or self.tables.member(there) is not None

    # The host's own sockets: socket.h, to_endpoint, to_overlay

    def from_host(self) -> None:
        packet, tables = self.packet, self.tables
        there = packet.destination
        if is_internal(there) or tables.is_host(there):
            self._socket()
        elif endpoint := tables.endpoint(there):
            self._to_endpoint(endpoint)
        elif remote := tables.remote(there):
            self._to_overlay(remote)
        else:
            self.by_routes()

    def _socket(self) -> None:
        """Whose address is translated once, when it connects."""
        packet, tables = self.packet, self.tables
        place = Spot(f"connect{packet.destination.version}")
        look = tables.published if is_internal(packet.destination) else tables.publication
        found = look(packet.destination, packet.port, packet.protocol)
        backend = tables.endpoint(unmapped(found.backend)) if found else None
        if not found or not backend:
            self.step(place, "host", "an address of this host, and no published port")
            return
        self.translate(place, found, backend)
        self._to_endpoint(backend)

    def _to_endpoint(self, endpoint: abi.Endpoint) -> None:
        names = [
            link_name(attached.endpoint)
            for attached in self.facts.where(Attached, "ifindex", endpoint.ifindex)
        ]
        place = Spot("to_endpoint", names[0] if names else "")
        self.deliver(place, endpoint, "from the host's own stack")

    def _to_overlay(self, remote: abi.Remote) -> None:
        if self.packet.source not in self.host.addresses:
            own = " or ".join(map(str, self.host.addresses))
            self.drop(_TO_OVERLAY, "spoofed_address", f"this host speaks there as {own} alone")
        else:
            self.convey(_TO_OVERLAY, path_of(remote), hop=False)

    # from_wire, of what nobody carries

    def from_wire(self) -> None:
        packet, tables = self.packet, self.tables
        if tables.remote(packet.source) or tables.subnet(packet.source):
            self.drop(_WIRE, "spoofed_address", "it comes from outside with an address of ours")
        elif tables.is_outside(packet.source) and self.to_published(_WIRE):
            return
        else:
            self.step(_WIRE, "pass", "no published port of an endpoint")
            self._forwarded()

    def _forwarded(self) -> None:
        """By the host's stack, of somebody outside."""
        there, tables = self.packet.destination, self.tables
        network = self._hidden()
        if tables.is_host(there):
            self.step(STACK, "host", "an address of this host")
        elif network:
            why = f"network {network.name} hides behind its host: it is closed to the world"
            self.drop(FIREWALL, "", why)
        elif endpoint := tables.endpoint(there):
            self._to_endpoint(endpoint)
        elif tables.remote(there):
            why = "from outside it must be routed to the endpoint's own host"
            self.drop(_TO_OVERLAY, "spoofed_address", why)
        else:
            self.by_routes()

    def _hidden(self) -> Network | None:
        """The network that it is for, where the world does not see that."""
        found = self.network(self.tables.subnet(self.packet.destination))
        return found if found and found.masquerade else None

    # from_wire and from_overlay, of what other hosts send

    def from_carrier(self) -> None:
        """Plain packets take the short cut of from_wire; all others are judged by from_overlay."""
        packet, tables = self.packet, self.tables
        source = tables.remote(packet.source)
        if refused := self._carrier_refused(source):
            self.drop(_OVERLAY, *refused)
            return
        assert source is not None
        endpoint = tables.endpoint(packet.destination)
        remote = None if endpoint else tables.remote(packet.destination)
        if endpoint:
            self._arrive(source, endpoint)
        elif remote:
            self._relay(remote)
        else:
            self._to_this_host()

    def _carrier_refused(self, source: abi.Remote | None) -> tuple[str, str] | None:
        """The reason, and why (member.h)."""
        carrier, tables = self.packet.carrier, self.tables
        member = tables.member(carrier) if carrier else None
        if not member:
            return "unknown_host", f"{carrier} is no host's address"
        if not source:
            return "spoofed_address", f"no other host has {self.packet.source}"
        name = self.host_name(member.host)
        if source.host == member.host:
            return None
        if not tables.alive(member.host):
            return "spoofed_host", f"{name} has not this source, and no live link leads to it"
        return None

    def _arrive(self, source: abi.Remote, endpoint: abi.Endpoint) -> None:
        why = self.bond_there(source, endpoint)
        noted = source.flags & abi.REMOTE_HOST and endpoint.flags & abi.ENDPOINT_HOST_CLOSED
        if not why:
            self.isolated(_OVERLAY, (source.network, endpoint.network))
        elif not self.used_up(_OVERLAY):
            self.deliver(_OVERLAY if noted else _WIRE, endpoint, why)

    def _relay(self, remote: abi.Remote) -> None:
        if self.used_up(_OVERLAY):
            return
        packet = self.packet
        carried = packet.carrier if packet.carried == "overlay" else None
        carrier = carried.version if carried else 0
        hop = self.tables.choice(path_of(remote)).hop
        keeps = hop and unmapped(hop.underlay).version == carrier
        plain = bool(keeps and hop and hop.flags & abi.NEXT_HOP_OVERLAY)
        self.convey(_WIRE if plain else _OVERLAY, path_of(remote), relayed=True)

    def _to_this_host(self) -> None:
        there, tables = self.packet.destination, self.tables
        if self.odd(_OVERLAY, link_local=False):
            return
        if tables.is_host(there):
            if not self.to_published(_OVERLAY):
                self.step(_OVERLAY, "host", "an address of this host, and no published port")
        elif tables.subnet(there):
            self.nobody(_OVERLAY)
        else:
            self.drop(_OVERLAY, "not_here", "no host has this address")

    def from_neighbour(self) -> None:
        """As it is, from a host on a link with this one: of its own endpoints alone."""
        source = self.tables.remote(self.packet.source)
        if source is None:
            self.from_wire()
        elif not self._is_next_door(source.host):
            name = self.host_name(source.host)
            self.drop(_WIRE, "spoofed_address", f"{name} does not send it as it is from next door")
        elif endpoint := self.tables.endpoint(self.packet.destination):
            self._arrive(source, endpoint)
        elif remote := self.tables.remote(self.packet.destination):
            self._relay(remote)
        else:
            self._to_this_host()

    def _is_next_door(self, host: int) -> bool:
        """And it is that host that sends: the program knows it by its MAC (arrive_direct.h)."""
        carrier, tables = self.packet.carrier, self.tables
        member, hop = tables.member(carrier) if carrier else None, tables.neighbour(host)
        lead = tables.lead(unmapped(hop.underlay)) if hop else None
        if not member or not hop or not lead or member.host != host:
            return False
        return bool(hop.flags & abi.NEXT_HOP_DIRECT) and lead.known and lead.gateway is None
