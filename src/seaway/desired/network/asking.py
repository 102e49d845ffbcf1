"""Whom a packet is led to that asks a service or a published port, and how it comes there.

Each part is said as bpf/lib has it: published.h, opening.h and choose.h. Which backend
a flow gets is a matter of chance or of its hash, so all that may be chosen are told, and the way
is followed to one of each host.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, Self

from msgspec.structs import replace

from seaway.bpf import abi
from seaway.desired.network.onward import Ground, path_of
from seaway.desired.network.tables import AskedService
from seaway.desired.network.walked import Branch, Spot
from seaway.desired.transport.services import PLACE, Judged, VipPort, judged_at
from seaway.facts import View
from seaway.model.addresses import Address, unmapped
from seaway.model.publications import PROTOCOLS
from seaway.model.reports import BackendReport
from seaway.model.services import Service
from seaway.model.trace import WAYS, ServiceAsked, Way
from seaway.names import OVERLAY_DEVICE

WIRE: Final = Spot("from_wire")
OVERLAY: Final = Spot("from_overlay", OVERLAY_DEVICE)
_ALGORITHMS: Final = {
    abi.SERVICE_RANDOM: "random",
    abi.SERVICE_ROUND_ROBIN: "round-robin",
    abi.SERVICE_LEAST: "least-connections",
    abi.SERVICE_MAGLEV: "maglev",
}
_WORDS: Final = {number: word for word, number in PROTOCOLS.items()}
_TOLD: Final = 3  # backends, of a service that has none to choose


class Asking(Ground):
    # Whom a service leads to

    def choose(
        self,
        spot: Spot,
        asked: AskedService,
        lead: Callable[[Self, abi.Backend], None],
        *,
        others: str = "",
    ) -> None:
        """One of those that get new connections. `lead`: what becomes of what goes to it;
        `others`: of what is not seen here.
        """
        found, by_host = self.service_asked(asked), self._by_host(asked)
        known = sum(candidate.chosen for candidate in found.candidates)
        beyond = max(0, len(by_host) - WAYS)
        told = replace(found, others=others, beyond=beyond)
        why = f"{_named(found)} leads to {'its one backend' if known == 1 else f'one of {known}'}"
        self.step(spot, "choose", why, to=found.name, service=told)
        names = {(c.address, c.target): c.name for c in found.candidates}
        for host in sorted(by_host, key=lambda name: (name != self.host.name, name))[:WAYS]:
            first, *alike = by_host[host]
            address, port = unmapped(first.addr), int.from_bytes(first.port, "big")
            other = type(self)(self.facts, self.tables, self.packet)
            lead(other, first)
            way = Way(
                host=host,
                name=names.get((address, port), ""),
                address=address,
                port=port,
                alike=len(alike),
            )
            self.branches.append(Branch(way, other.walked()))

    def nobody_to_choose(
        self, spot: Spot, asked: AskedService, decision: str, reason: str, *, others: str = ""
    ) -> None:
        """What asks a service without a backend that may be chosen now."""
        found = replace(self.service_asked(asked), others=others)
        whys = [f"{c.name or c.address}: {c.why}" for c in found.candidates]
        more = len(whys) - _TOLD
        told = "; ".join(whys[:_TOLD]) + (f"; and {more} more" if more > 0 else "")
        why = f"{_named(found)} has no backend: {told or 'nothing is selected or named'}"
        if asked.silent:
            why = f"{_named(found)} is silent, as its policy is Local: {told}"
        self.step(spot, decision, why, to=found.name, reason=reason, service=found)

    def over_limit(self, spot: Spot, asked: AskedService) -> bool:
        """Whether the service's limit leaves no place to a connection by packets (admit.h)."""
        held = self.tables.held(asked.service.limit)
        if not (held and held.full and self.packet.protocol == "tcp"):
            return False
        found, why = self.service_asked(asked), held.told("the service")
        self.step(spot, "drop", why, reason="limited", service=found)
        return True

    def service_asked(self, asked: AskedService) -> ServiceAsked:
        ports: list[VipPort] = self.facts.parts(Service, PLACE, asked.key)
        service, by = (ports[0].service if ports else None), asked.service
        candidates = self._candidates(asked, ports[0] if ports else None)
        weights = {weight for _, weight in self.tables.backends(asked) if weight}
        return ServiceAsked(
            name=f"{service.network}/{service.name}" if service else "",
            port=f"{int.from_bytes(asked.key.port, 'big')}/{_WORDS[asked.key.protocol]}",
            algorithm=_ALGORITHMS.get(by.algorithm, str(by.algorithm)),
            weighted=len(weights) > 1,
            affinity=by.affinity,
            limit=self._limit(by.limit),
            candidates=tuple(candidates),
        )

    def _limit(self, number: int) -> str:
        held = self.tables.held(number)
        if held is None:
            return ""
        most = [f"{held.open} of {held.most} connections from this host are open"] * bool(held.most)
        rate = [f"at most {held.rate} new ones in a second"] * bool(held.rate)
        return ", ".join((*most, *rate))

    def _candidates(self, asked: AskedService, of: VipPort | None) -> list[BackendReport]:
        """As the records have them; what the kernel's maps say goes before."""
        slots = {(b.addr, b.port): weight for b, weight in self.tables.backends(asked)}
        found = judged_at(of, View(self.facts)) if of else []
        known = {_place_of(one) for one in found}
        told = [_report(one, slots.get(_place_of(one))) for one in found]
        port = f"{int.from_bytes(asked.key.port, 'big')}/{_WORDS[asked.key.protocol]}"
        for octets, number in slots.keys() - known:
            address = unmapped(octets)
            told.append(
                BackendReport(
                    port=port,
                    address=address,
                    target=int.from_bytes(number, "big"),
                    name="",
                    host=self.holder(address),
                    weight=slots[octets, number],
                    chosen=bool(slots[octets, number]),
                    why="the kernel's maps have it, and no record does",
                )
            )
        return told

    def _by_host(self, asked: AskedService) -> dict[str, list[abi.Backend]]:
        """Those that may be chosen."""
        found: dict[str, list[abi.Backend]] = defaultdict(list)
        for backend, weight in self.tables.backends(asked):
            if weight:
                found[self.holder(unmapped(backend.addr))].append(backend)
        return found

    def holder(self, address: Address) -> str:
        """The host that has it; empty: none of the cluster."""
        if self.tables.endpoint(address) or self.tables.is_host(address):
            return self.host.name
        remote = self.tables.remote(address)
        return self.host_name(remote.host) if remote else ""

    # Ports of this host

    def to_published(self, spot: Spot, payer: int = 0) -> bool:
        """Whether it is for a published port, of an endpoint here or of a service. `payer`: the
        device of the endpoint that asks; 0: somebody outside, or another host.
        """
        packet = self.packet
        if self.to_publication(spot, payer):
            return True
        asked = self.tables.frontend(packet.destination, packet.port, packet.protocol)
        if asked is None:
            return False
        if asked.bare:
            reason = "silent" if asked.silent else "refused"
            self.nobody_to_choose(spot, asked, "drop", reason)
        elif not self.over_limit(spot, asked):
            self.choose(spot, asked, lambda other, it: other.to_backend(spot, it, payer))
        return True

    def to_publication(self, spot: Spot, payer: int) -> bool:
        packet, tables = self.packet, self.tables
        found = tables.publication(packet.destination, packet.port, packet.protocol)
        backend = tables.endpoint(unmapped(found.backend)) if found else None
        if not found or not backend:
            return False
        self.translate(spot, found, backend)
        if payer and tables.owns(backend, payer):
            self.as_host()
        if not self.used_up(spot):
            self.deliver(spot, backend, "it has this port")
        return True

    def translate(self, spot: Spot, found: abi.Publication, backend: abi.Endpoint) -> None:
        port, address = int.from_bytes(found.port, "big"), unmapped(found.backend)
        why = f"a published port of {self.endpoint_name(backend)}"
        to = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        self.step(spot, "translate", why, to=to)
        self.packet = replace(self.packet, destination=address, port=port)

    def as_host(self) -> None:
        """It comes from the host's own address, so that the answer comes here."""
        own = [a for a in self.host.addresses if a.version == self.packet.source.version]
        if own:
            self.packet = replace(self.packet, source=own[0])

    def turn(self, backend: abi.Backend) -> None:
        """It is for that backend now."""
        address, port = unmapped(backend.addr), int.from_bytes(backend.port, "big")
        self.packet = replace(self.packet, destination=address, port=port)

    def to_backend(self, spot: Spot, backend: abi.Backend, payer: int) -> None:
        """Who asks from outside keeps his address, and the number of this host goes with him to
        another one; who asks from inside comes there as this host.
        """
        self.turn(backend)
        endpoint = self.tables.endpoint(self.packet.destination)
        remote = None if endpoint else self.tables.remote(self.packet.destination)
        if endpoint:
            if payer and self.tables.owns(endpoint, payer):
                self.as_host()
            if not self.used_up(spot):
                self.deliver(spot, endpoint, "it is a backend")
        elif remote is None:
            self.drop(spot, "refused", "nobody has the backend's address")
        elif self.used_up(spot):
            return
        elif spot == WIRE:
            self.packet = replace(self.packet, ingress=self.host.number)
            self.convey(spot, path_of(remote))
        else:
            self.as_host()
            self.packet = replace(self.packet, ttl=self.packet.ttl - 1)
            self.to_overlay(remote)

    def to_overlay(self, remote: abi.Remote) -> None:
        """By the host's own stack, or as that would send it."""
        spot = Spot("to_overlay", OVERLAY_DEVICE)
        if self.packet.source not in self.host.addresses:
            own = " or ".join(map(str, self.host.addresses))
            self.drop(spot, "spoofed_address", f"this host speaks there as {own} alone")
        else:
            self.convey(spot, path_of(remote), hop=False)


def _named(found: ServiceAsked) -> str:
    return f"service {found.name}" if found.name else f"a service at port {found.port}"


def _place_of(one: Judged) -> tuple[bytes, bytes]:
    port = one.candidate.port(one.port) if one.port else 0
    return one.candidate.address(one.family), port.to_bytes(2, "big")


def _report(one: Judged, weight: int | None) -> BackendReport:
    """`weight`: that it has in the kernel's maps; None: it is not there."""
    candidate, why = one.candidate, one.lost or one.why
    if weight and one.lost:
        why = f"the kernel's maps have it still, though {why}"
    elif not weight and not one.lost:
        why = f"the kernel's maps do not have it, though {why}"
    octets = candidate.address(one.family)
    return BackendReport(
        port=f"{one.port.port}/{one.port.protocol}" if one.port else "",
        address=unmapped(octets) if octets else None,
        target=candidate.port(one.port) if one.port else 0,
        name=candidate.name,
        host=candidate.host,
        weight=candidate.weight if weight is None else weight,
        chosen=bool(weight),
        why=why,
    )
