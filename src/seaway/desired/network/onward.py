"""What becomes of a packet on one host, as far as several programs do the same with it.

Each part is one header of bpf/lib, said again over the same tables; tests/bpf/test_trace.py holds
both to each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from seaway.bpf import abi
from seaway.desired.network.overlay import OVERHEAD
from seaway.desired.network.tables import Choice, Tables, is_group, is_internal
from seaway.desired.network.walked import FIREWALL, STACK, Branch, Onward, Spot, Walked
from seaway.facts import Facts
from seaway.model.addresses import Address, unmapped
from seaway.model.facts import Attached, Endpoint, Host, Network, Path, Peer, path_key
from seaway.model.trace import Carried, Lead, Step, Traced
from seaway.names import OVERLAY_DEVICE

_HOW: Final[dict[Carried, str]] = {"overlay": "encapsulated", "direct": "direct", "wire": "routed"}


class Ground:
    """One host, and one packet on it. `steps`: what was decided; `onward`: where it goes on;
    `branches`: the ways behind a step that chooses.
    """

    def __init__(self, facts: Facts, tables: Tables, packet: Traced) -> None:
        self.facts = facts
        self.tables = tables
        self.packet = packet
        self.host = facts.all(Host)[0]
        self.steps: list[Step] = []
        self.onward: Onward | None = None
        self.branches: list[Branch] = []

    def walked(self) -> Walked:
        return Walked(tuple(self.steps), self.onward, tuple(self.branches))

    def step(self, spot: Spot, decision: Any, why: str, **more: Any) -> None:
        packet, more = self.packet, {"device": spot.device} | more
        self.steps.append(
            Step(
                host=self.host.name,
                at=spot.at,
                source=packet.source,
                destination=packet.destination,
                port=packet.port,
                decision=decision,
                why=why,
                **more,
            )
        )

    def drop(self, spot: Spot, reason: str, why: str) -> None:
        self.step(spot, "drop", why, reason=reason)

    # Names

    def host_name(self, number: int) -> str:
        if number == self.host.number:
            return self.host.name
        return next((p.name for p in self.facts.where(Peer, "number", number)), f"host {number}")

    def network(self, number: int) -> Network | None:
        return next(iter(self.facts.where(Network, "number", number)), None)

    def network_name(self, number: int) -> str:
        found = self.network(number)
        return f"network {found.name if found else number}"

    def endpoint_name(self, entry: abi.Endpoint) -> str:
        for attached in self.facts.where(Attached, "ifindex", entry.ifindex):
            if endpoint := self.facts.get(Endpoint, attached.endpoint):
                return f"{endpoint.network}/{endpoint.name}"
        return f"device {entry.ifindex}"

    # Who reaches whom, as network.h and remote.h have it

    def bond(self, one: int, other: int, *, both_open: bool) -> str:
        """Why these networks reach each other; empty: they do not."""
        if one == other:
            return f"both are in {self.network_name(one)}"
        if both_open:
            return "both networks are open"
        return "their networks are connected" if self.tables.connected(one, other) else ""

    def bond_here(self, one: abi.Endpoint, other: abi.Endpoint) -> str:
        both_open = bool(one.flags & other.flags & abi.ENDPOINT_OPEN)
        return self.bond(one.network, other.network, both_open=both_open)

    def bond_there(self, remote: abi.Remote, endpoint: abi.Endpoint) -> str:
        if remote.flags & abi.REMOTE_HOST:
            return "hosts and endpoints reach each other"
        both_open = bool(remote.flags & endpoint.flags & abi.ENDPOINT_OPEN)
        return self.bond(remote.network, endpoint.network, both_open=both_open)

    def isolated(self, spot: Spot, networks: Iterable[int]) -> None:
        names = " and ".join(map(self.network_name, networks))
        self.drop(spot, "isolated", f"{names} are closed to each other")

    # Into an endpoint, as arrive.h and deliver.h have it

    def used_up(self, spot: Spot) -> bool:
        if self.packet.ttl > 1:
            return False
        self.drop(spot, "ttl_exceeded", "it has visited as many hosts as it may")
        return True

    def deliver(self, spot: Spot, endpoint: abi.Endpoint, why: str) -> None:
        name = self.endpoint_name(endpoint)
        self.step(spot, "deliver", why, to=name, mtu=endpoint.mtu)

    # To another host, as way.h and convey.h have it

    def convey(self, spot: Spot, key: int, *, hop: bool = True, relayed: bool = False) -> None:
        """By this path. `hop`: passed on as by a router; `relayed`: for another host. What asks a
        service's port is always carried.
        """
        choice, number = self.tables.choice(key), key & ~abi.PATH_LATENCY
        if choice.hop is None:
            self.drop(spot, "no_path", self._no_path(choice, number))
            return
        to = unmapped(choice.hop.underlay)
        lead = self.tables.lead(to)
        near = choice.hop.host == number and not (relayed or self.packet.ingress)
        carried = self._carried(choice.hop, lead, near=near) if lead else None
        if lead is None or carried is None:
            self.drop(spot, "no_path", self._not_carried(choice.hop, lead, near=near))
            return
        mtu = lead.mtu - (OVERHEAD[to.version] if carried == "overlay" else 0)
        ttl, sender = self.packet.ttl - hop, self._own(to)
        packet = replace(self.packet, ttl=ttl, carried=carried, carrier=sender)
        spot = Spot(spot.at, lead.device)
        self.send(spot, self.host_name(choice.hop.host), packet, self._why_there(choice, key), mtu)

    def send(self, spot: Spot, host: str, packet: Traced, why: str, mtu: int) -> None:
        """`packet`: as it comes there."""
        self.step(spot, "send", why, to=host, how=_HOW[packet.carried], mtu=mtu)
        self.onward = Onward(host, packet)

    def _carried(self, hop: abi.NextHop, lead: Lead, *, near: bool) -> Carried | None:
        """None: in no way. `near`: from the source's own host to the end."""
        carry = bool(hop.flags & abi.NEXT_HOP_OVERLAY)
        next_door = lead.gateway is None and (lead.known or not carry)
        if hop.flags & abi.NEXT_HOP_DIRECT and near and next_door:
            return "direct"
        return "overlay" if carry else None

    def _not_carried(self, hop: abi.NextHop, lead: Lead | None, *, near: bool) -> str:
        """Why there is no way to this next hop, which may be next door."""
        name, to = self.host_name(hop.host), unmapped(hop.underlay)
        if lead is None:
            return f"the host's routes do not lead to {name} at {to}"
        if not near and self.packet.ingress:
            return "nothing is encapsulated here, so no port of services leads to another host"
        if not near:
            return f"the next hop is {name}, but nothing is encapsulated here, so no host relays"
        return f"the host's routes do not lead to {name} at {to} without a router"

    def _own(self, to: Address) -> Address | None:
        """Where this host sends from."""
        here = self.tables.underlay()
        return unmapped(here.v4 if to.version == 4 else here.v6) if here else None

    def _no_path(self, choice: Choice, number: int) -> str:
        name = self.host_name(number)
        if choice.path is None:
            return f"no path leads to {name}"
        via, *spare = choice.path.tried()
        dead = f"the link to {self.host_name(via)} is dead"
        if not spare:
            return f"{dead}, and the path to {name} has no backup"
        also = " and that to ".join(map(self.host_name, spare))
        return f"{dead}, and so is that to {also}, the backup{'s' * (len(spare) > 1)} to {name}"

    def _why_there(self, choice: Choice, key: int) -> str:
        path, number = choice.path, key & ~abi.PATH_LATENCY
        assert path is not None
        name, via = self.host_name(number), self.host_name(path.via)
        shared = "; flows are shared with " if choice.others else ""
        shared += " and ".join(self.host_name(other.host) for other in choice.others)
        if choice.spared:
            is_backup = choice.hop is not None and choice.hop.host == path.backup
            spare = "the backup of the path" if is_backup else "one that is as near"
            return f"the link to {via} is dead: {spare} to {name}{shared}"
        why = "no relay is needed" if via == name else f"the next hop to {name}"
        told = self.facts.get(Path, path_key(name, "latency" if key != number else "hops"))
        told_else = f"; routing tells of {told.via}" if told and told.via != via else ""
        return why + shared + told_else

    # To nobody

    def odd(self, spot: Spot, *, link_local: bool) -> bool:
        """Whether the destination is one to which nothing is passed on."""
        there = self.packet.destination
        if is_group(there):
            self.drop(spot, "multicast", "it is for a group or for all")
        elif is_internal(there):
            self.drop(spot, "internal", "such an address never stands on a wire")
        elif there.is_link_local and not link_local:
            self.drop(spot, "link_local", "link-local addresses are closed to its network")
        else:
            return False
        return True

    def nobody(self, spot: Spot) -> None:
        """Drift is told: an endpoint that is recorded, but that the maps do not have."""
        here = self.facts.where(Endpoint, "address", self.packet.destination)
        lost = [f"endpoint {e.network}/{e.name} is missing in the kernel's maps" for e in here]
        self.drop(spot, "no_endpoint", lost[0] if lost else "nobody has this address of ours")

    # By the host's own stack

    def by_routes(self, source: Network | None = None) -> None:
        """Where the host's routes lead. `source`: the network of the endpoint that it is from."""
        lead = self.tables.lead(self.packet.destination)
        if lead is None:
            self.drop(STACK, "", f"this host has no route to {self.packet.destination}")
        elif lead.local:
            self.step(STACK, "host", "an address of this host")
        elif lead.device == OVERLAY_DEVICE:
            self.drop(Spot("to_overlay", lead.device), "not_here", "no other host has this address")
        else:
            self._leave(lead, source)

    def _leave(self, lead: Lead, source: Network | None) -> None:
        if source and source.masquerade:
            why = f"network {source.name} hides behind its host"
            self.step(FIREWALL, "masquerade", why, to=str(lead.source or ""))
            self.packet = replace(self.packet, source=lead.source or self.packet.source)
        spot = Spot(STACK.at, lead.device)
        for peer in self.facts.where(Peer, "underlay", self.packet.destination):
            if self.packet.ttl <= 1:
                self.drop(spot, "", "it has visited as many hosts as it may")
            elif blind := self._unseen(peer):
                self.step(spot, "unknown", blind, to=peer.name, how=_HOW["wire"], mtu=lead.mtu)
            else:
                packet = replace(self.packet, ttl=self.packet.ttl - 1, carried="wire", carrier=None)
                self.send(spot, peer.name, packet, "its address in the underlay", lead.mtu)
            return
        to = str(lead.gateway or self.packet.destination)
        self.step(spot, "leave", "the host's routes lead there", to=to, mtu=lead.mtu)

    def _unseen(self, peer: Peer) -> str:
        """Why nobody knows whether what the host's routes send there arrives, and what does; empty:
        the link is up.
        """
        path = self.facts.get(Path, peer.name)
        if self.tables.is_dead(peer.number):
            why = f"the link to {peer.name} is down"
        elif path and peer.name not in path.nexts:
            why = f"nobody knows whether it arrives: the path to {peer.name} goes by {path.via}"
        else:
            return ""
        version = self.packet.destination.version
        inside = [str(a) for a in peer.addresses if a.version == version]
        if inside and self.tables.choice(peer.number).hop:
            why += f"; its address in the cluster, {inside[0]}, leads there"
        return why


def path_of(remote: abi.Remote) -> int:
    """Which path leads there: a key of `paths` (remote.h)."""
    return remote.host | (abi.PATH_LATENCY if remote.flags & abi.REMOTE_LATENCY else 0)
