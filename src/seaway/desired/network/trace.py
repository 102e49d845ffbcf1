"""What one host does with a packet: each program that it meets, what that decides, and why.

The first packet of a connection is asked about, so no flow is known that it could belong to. What
the programs decide is said again here, in their order, over their own maps.
"""

from __future__ import annotations

from msgspec.structs import replace

from seaway.bpf import abi
from seaway.desired.network.asking import OVERLAY, WIRE
from seaway.desired.network.hooks import Hooks
from seaway.desired.network.ingress import Ingress
from seaway.desired.network.onward import path_of
from seaway.desired.network.resolver import resolver_addresses
from seaway.desired.network.tables import Tables, is_group, is_internal
from seaway.desired.network.walked import FIREWALL, STACK, Spot, Walked
from seaway.facts import Facts
from seaway.model.addresses import Address, unmapped
from seaway.model.facts import Attached, Cluster, Endpoint, Network
from seaway.model.services import Service, Vip
from seaway.model.trace import Traced
from seaway.names import OVERLAY_DEVICE, RESOLVER_PORT, link_name


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
    return made.walked()


class Walk(Hooks, Ingress):
    """Each method that begins with `from` is one program, or the host's own sockets."""

    def sender(self) -> Endpoint | None:
        return next(iter(self.facts.where(Endpoint, "address", self.packet.source)), None)

    # from_endpoint

    def from_endpoint(self, sender: Endpoint) -> None:
        if not self.connects(sender, lambda other: other.sent(sender)):
            self.sent(sender)

    def sent(self, sender: Endpoint) -> None:
        spot = Spot("from_endpoint", link_name(sender.id))
        source, tables = self._source(spot, sender), self.tables
        if source is None:
            return
        endpoint = tables.endpoint(self.packet.destination)
        remote = None if endpoint else tables.remote(self.packet.destination)
        if endpoint:
            self._here(spot, source, endpoint)
        elif remote:
            self._to_remote(spot, source, remote)
        else:
            self._elsewhere(spot, source)

    def _source(self, spot: Spot, sender: Endpoint) -> abi.Endpoint | None:
        """What the maps know of who sends; None: it is refused."""
        attached = self.facts.get(Attached, sender.id)
        ifindex = attached.ifindex if attached else 0
        found = self.tables.endpoint(self.packet.source)
        if found and self.tables.owns(found, ifindex):
            return found
        known = self.tables.interface(ifindex)
        reason = "spoofed_address" if known else "unknown_device"
        why = "the address is another container's" if found else "the kernel's maps do not have it"
        self.drop(spot, reason, why)
        return None

    def _here(self, spot: Spot, source: abi.Endpoint, endpoint: abi.Endpoint) -> None:
        why = self.bond_here(source, endpoint)
        if not why:
            self.isolated(spot, (source.network, endpoint.network))
        elif not self.used_up(spot):
            self.deliver(spot, endpoint, why)

    def _to_remote(self, spot: Spot, source: abi.Endpoint, remote: abi.Remote) -> None:
        if not self.bond_there(remote, source):
            self.isolated(spot, (source.network, remote.network))
        elif remote.flags & abi.REMOTE_HOST and source.flags & abi.ENDPOINT_HOST_CLOSED:
            self._closed(spot, source)
        elif not self.used_up(spot):
            self.convey(spot, path_of(remote))

    def _closed(self, spot: Spot, source: abi.Endpoint) -> None:
        why = f"{self.network_name(source.network)} has no access to hosts"
        self.drop(spot, "host_closed", why)

    def _elsewhere(self, spot: Spot, source: abi.Endpoint) -> None:
        there, tables = self.packet.destination, self.tables
        closed = bool(source.flags & abi.ENDPOINT_HOST_CLOSED)
        if self._asks_resolver():
            self.step(spot, "host", "the resolver of this host")
            return
        if self.odd(spot, link_local=bool(source.flags & abi.ENDPOINT_LINK_LOCAL)):
            return
        if tables.is_host(there):
            if closed:
                self._closed(spot, source)
            elif not self.to_published(spot, source.ifindex):
                self.step(spot, "host", "an address of this host, and no published port")
        elif tables.subnet(there):
            self._to_service(spot, source)
        elif closed and self._is_hosts(there):
            self._closed(spot, source)
        else:
            self.step(spot, "pass", "it is for the world")
            self.by_routes(self.network(source.network))

    def _to_service(self, spot: Spot, source: abi.Endpoint) -> None:
        """An address of ours that no endpoint has: asked past the hooks of sockets (fallback.h)."""
        packet = self.packet
        asked = self.tables.service(packet.destination, packet.port, packet.protocol)
        if asked is None:
            self._no_service(spot)
        elif asked.bare:
            reason = "silent" if asked.silent else "refused"
            self.nobody_to_choose(spot, asked, "drop", reason)
        elif not self.over_limit(spot, asked):
            self.choose(spot, asked, lambda other, it: other.led(spot, source, it))

    def _no_service(self, spot: Spot) -> None:
        packet = self.packet
        if self.tables.subnet(packet.destination) != abi.NETWORK_SERVICES:
            self.nobody(spot)
            return
        why = "no service has this address"
        for vip in filter(None, [self.facts.get(Vip, str(packet.destination))]):
            service = self.facts.get(Service, f"{vip.network}/{vip.service}")
            ports = ", ".join(f"{p.port}/{p.protocol}" for p in service.ports) if service else ""
            why = f"service {vip.network}/{vip.service} has other ports: {ports}"
        self.drop(spot, self._unreachable(), why)

    def _unreachable(self) -> str:
        """Of who asks a virtual address: TCP is told by a reset."""
        return "refused" if self.packet.protocol == "tcp" else "no_endpoint"

    def led(self, spot: Spot, source: abi.Endpoint, backend: abi.Backend) -> None:
        """Who asks himself would take his own address for a martian: he is asked by the VIP."""
        vip, tables = self.packet.destination, self.tables
        self.turn(backend)
        there = self.packet.destination
        endpoint = tables.endpoint(there)
        remote = None if endpoint else tables.remote(there)
        if endpoint:
            if endpoint.container == source.container:
                self.packet = replace(self.packet, source=vip)
            self._here(spot, source, endpoint)
        elif remote:
            self._to_remote(spot, source, remote)
        else:
            self._led_outside(spot, source)

    def _led_outside(self, spot: Spot, source: abi.Endpoint) -> None:
        there, tables = self.packet.destination, self.tables
        if is_group(there) or is_internal(there):
            self.drop(spot, "internal", "the backend's address never stands on a wire")
        elif there.is_link_local and not source.flags & abi.ENDPOINT_LINK_LOCAL:
            self.drop(spot, "link_local", "link-local addresses are closed to its network")
        elif not tables.is_host(there) and tables.subnet(there):
            self.drop(spot, self._unreachable(), "nobody has the backend's address")
        elif source.flags & abi.ENDPOINT_HOST_CLOSED and self._is_hosts(there):
            self._closed(spot, source)
        else:
            self.step(spot, "pass", "the backend is no endpoint of the cluster")
            self.by_routes(self.network(source.network))

    def _asks_resolver(self) -> bool:
        cluster = self.facts.get(Cluster, "cluster")
        own = resolver_addresses(cluster) if cluster else ()
        return self.packet.destination in own and self.packet.port == RESOLVER_PORT

    def _is_hosts(self, there: Address) -> bool:
        """Another's in the underlay; or what this host's stack passes on to nobody."""
        lead = self.tables.lead(there)
        return lead is None or lead.local or self.tables.member(there) is not None

    # from_wire, of what nobody carries

    def from_wire(self) -> None:
        packet, tables = self.packet, self.tables
        if tables.remote(packet.source) or tables.subnet(packet.source):
            self.drop(WIRE, "spoofed_address", "it comes from outside with an address of ours")
        elif tables.is_outside(packet.source) and self.to_published(WIRE):
            return
        else:
            self.step(WIRE, "pass", "no published port of an endpoint")
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
            self.to_endpoint(endpoint)
        elif tables.remote(there):
            why = "from outside it must be routed to the endpoint's own host"
            self.drop(Spot("to_overlay", OVERLAY_DEVICE), "spoofed_address", why)
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
        if packet.ingress:
            self.from_ingress()
            return
        source = tables.remote(packet.source)
        if refused := self._carrier_refused(source):
            self.drop(OVERLAY, *refused)
            return
        assert source is not None
        endpoint = tables.endpoint(packet.destination)
        remote = None if endpoint else tables.remote(packet.destination)
        if endpoint:
            self._arrive(source, endpoint)
        elif remote:
            self.relay(remote)
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
            self.isolated(OVERLAY, (source.network, endpoint.network))
        elif not self.used_up(OVERLAY):
            self.deliver(OVERLAY if noted else WIRE, endpoint, why)

    def _to_this_host(self) -> None:
        there, tables = self.packet.destination, self.tables
        if self.odd(OVERLAY, link_local=False):
            return
        if tables.is_host(there):
            if not self.to_published(OVERLAY):
                self.step(OVERLAY, "host", "an address of this host, and no published port")
        elif tables.subnet(there):
            self.nobody(OVERLAY)
        else:
            self.drop(OVERLAY, "not_here", "no host has this address")

    def from_neighbour(self) -> None:
        """As it is, from a host on a link with this one: of its own endpoints alone."""
        source = self.tables.remote(self.packet.source)
        if source is None:
            self.from_wire()
        elif not self._is_next_door(source.host):
            name = self.host_name(source.host)
            self.drop(WIRE, "spoofed_address", f"{name} does not send it as it is from next door")
        elif endpoint := self.tables.endpoint(self.packet.destination):
            self._arrive(source, endpoint)
        elif remote := self.tables.remote(self.packet.destination):
            self.relay(remote)
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
