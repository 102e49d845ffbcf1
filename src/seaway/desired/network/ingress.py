"""What another host was asked for by a service's port, and is carried to the backend under that
one's number (ingress.h); and what this host relays.
"""

from __future__ import annotations

from seaway.bpf import abi
from seaway.desired.network.asking import OVERLAY, WIRE, Asking
from seaway.desired.network.onward import path_of
from seaway.desired.network.tables import is_group, is_internal
from seaway.model.addresses import Address, unmapped


class Ingress(Asking):
    def from_ingress(self) -> None:
        """Under the number of the host that was asked: from_overlay judges what asks first."""
        packet, tables = self.packet, self.tables
        if refused := self._ingress_refused():
            self.drop(OVERLAY, *refused)
            return
        endpoint = tables.endpoint(packet.destination)
        remote = None if endpoint else tables.remote(packet.destination)
        if endpoint and not self._is_behind(endpoint):
            self.drop(OVERLAY, "not_published", "no service has published it, as this host knows")
        elif endpoint:
            if not self.used_up(OVERLAY):
                why = f"it is a backend, and {self.host_name(packet.ingress)} was asked"
                self.deliver(OVERLAY, endpoint, why)
        elif remote:
            self.relay(remote)
        elif tables.subnet(packet.destination):
            self.drop(OVERLAY, "refused", "nobody has the backend's address")
        else:
            self.drop(OVERLAY, "not_here", "no host has this address")

    def _is_behind(self, endpoint: abi.Endpoint) -> bool:
        packet = self.packet
        known = self.tables.is_behind(packet.destination, packet.port, packet.protocol)
        return bool(endpoint.flags & abi.ENDPOINT_PUBLISHED) and known

    def _ingress_refused(self) -> tuple[str, str] | None:
        """The reason, and why."""
        packet, tables = self.packet, self.tables
        own, carrier = packet.ingress == self.host.number, packet.carrier
        if not own and tables.choice(packet.ingress).path is None:
            return "other_overlay", f"no path leads to {self.host_name(packet.ingress)}"
        member = tables.member(carrier) if carrier else None
        if not member:
            return "unknown_host", f"{carrier} is no host's address"
        if own or not self._is_foreign(packet.source):
            return "spoofed_address", "what asks by another host comes from outside"
        if member.host == packet.ingress or tables.alive(member.host):
            return None
        name = self.host_name(member.host)
        return "spoofed_host", f"{name} was not asked, and no live link leads to it"

    def _is_foreign(self, address: Address) -> bool:
        ours = (
            address in self.host.addresses
            or self.tables.subnet(address)
            or self.tables.endpoint(address)
            or self.tables.remote(address)
        )
        odd = is_group(address) or is_internal(address) or address.is_link_local
        return not (ours or odd)

    def relay(self, remote: abi.Remote) -> None:
        if self.used_up(OVERLAY):
            return
        packet = self.packet
        carried = packet.carrier if packet.carried == "overlay" else None
        carrier = carried.version if carried else 0
        hop = self.tables.choice(path_of(remote)).hop
        keeps = hop and unmapped(hop.underlay).version == carrier
        plain = bool(keeps and hop and hop.flags & abi.NEXT_HOP_OVERLAY)
        self.convey(WIRE if plain else OVERLAY, path_of(remote), relayed=True)
