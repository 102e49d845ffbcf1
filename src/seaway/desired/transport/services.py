"""What services ask of the data plane: at each port of a virtual address, and at each that every
host has for them, who is behind it.

Every host derives it by itself from the same records. A service is found by its places, and what
may be its backends by their labels, so that one changed endpoint makes only those services stale
that select it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from seaway.bpf import abi
from seaway.desired.transport.backends import (
    Candidate,
    Rules,
    Situation,
    choose,
    failed,
    keep,
    lack,
    of_endpoint,
    of_slice,
    why,
    why_no_nearer,
    why_not,
)
from seaway.desired.transport.limits import service_number
from seaway.desired.transport.maglev import table
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import UNSPECIFIED, mapped
from seaway.model.facts import Endpoint, Host, Path, Peer
from seaway.model.publications import PROTOCOLS
from seaway.model.services import (
    Distant,
    EndpointSlice,
    Health,
    Service,
    ServicePort,
    TrafficPolicy,
)

# Indexes of facts.
LABEL: Final = "label"  # of endpoints, by network, key and value
PLACE: Final = "place"  # of services, by PortKey
FAILING: Final = "failing"  # of health, by network and name of a service
OF_SERVICE: Final = "service"  # of slices, by network and name
SITUATION: Final = "situation"  # of this host (HERE) and of others (their names)
REACHED: Final = "reached"  # hosts to which a path leads
HERE: Final = ""

_ALGORITHMS: Final = {
    "random": abi.SERVICE_RANDOM,
    "round-robin": abi.SERVICE_ROUND_ROBIN,
    "least-connections": abi.SERVICE_LEAST,
    "maglev": abi.SERVICE_RANDOM,  # a socket that connects has no port yet: nothing tells it apart
}
# A program that meets packets has to choose the same for all of a flow, with or without memory.
_PUBLISHED: Final = _ALGORITHMS | {"random": abi.SERVICE_MAGLEV, "maglev": abi.SERVICE_MAGLEV}


@dataclass(frozen=True, slots=True)
class VipPort:
    """One port of a service, at one of its addresses; or, published, at every one of a host."""

    service: Service
    port: ServicePort
    family: int
    published: bool = False

    @property
    def policy(self) -> TrafficPolicy:
        service = self.service
        return service.external_policy if self.published else service.internal_policy

    @property
    def algorithm(self) -> int:
        return (_PUBLISHED if self.published else _ALGORITHMS)[self.service.algorithm]


def places_of(service: Service) -> Mapping[abi.PortKey, VipPort]:
    found = {
        _key(mapped(address), port.port, port): VipPort(service, port, address.version)
        for address in service.addresses
        for port in service.ports
    }
    for family in {address.version for address in service.addresses}:
        every = mapped(UNSPECIFIED[family])
        for port in service.ports:
            if port.node_port:
                key = _key(every, port.node_port, port)
                found[key] = VipPort(service, port, family, published=True)
    return found


def _key(octets: bytes, number: int, port: ServicePort) -> abi.PortKey:
    return abi.PortKey(octets, number.to_bytes(2, "big"), PROTOCOLS[port.protocol])


def labels_of(endpoint: Endpoint | Distant) -> Mapping[tuple[str, str, str], Candidate]:
    """Each leads to the same candidate, so that a change of anything else is none to services."""
    if not endpoint.labels:
        return {}
    candidate = of_endpoint(endpoint)
    return {(endpoint.network, key, value): candidate for key, value in endpoint.labels.items()}


def candidates(service: Service, view: View) -> list[Candidate]:
    """All that are named or selected, whatever may be said against them; in no order."""
    if service.selector:
        labels = [(service.network, key, value) for key, value in service.selector.items()]
        here: list[Candidate] = view.common(Endpoint, LABEL, labels)
        return _as_checked(service, here + view.common(Distant, LABEL, labels), view)
    slices = view.parts(EndpointSlice, OF_SERVICE, (service.network, service.name))
    return [candidate for of in slices for candidate in of]


def _as_checked(service: Service, found: list[Candidate], view: View) -> list[Candidate]:
    """Those that fail the check of the service, as such; and those that cannot be asked."""
    if not service.check.by:
        return found
    port = asked_port(service)
    bad: dict[tuple[str, str], str] = dict(
        view.parts(Health, FAILING, (service.network, service.name))
    )
    lost = f"it has no port '{port.target}' to be asked at"
    whys = [bad.get(c.place, "") if c.port(port) else lost for c in found]
    return [failed(c, why) if why else c for c, why in zip(found, whys, strict=True)]


def asked_port(service: Service) -> ServicePort:
    """One that leads where the check of the service asks."""
    usual = (port for port in service.ports if port.protocol == "tcp" and not service.check.port)
    return next(usual, ServicePort(port=1, target=service.check.port))


def rules(service: Service, policy: TrafficPolicy, found: Iterable[Candidate], view: View) -> Rules:
    """By which this host chooses among these. The name of a headless service is that of all."""
    here, about = next(iter(view.parts(Host, SITUATION, HERE)), ("", Situation()))
    hosts = {here: about}
    for name in {candidate.host for candidate in found} - {here, ""}:
        hosts[name] = _situation(name, view)
    if service.headless:
        return Rules(here, hosts, publish_not_ready=service.publish_not_ready)
    return Rules(here, hosts, policy, service.distribution, service.publish_not_ready)


def _situation(host: str, view: View) -> Situation:
    reached = bool(view.parts(Path, REACHED, host))
    for zone, draining in view.parts(Peer, SITUATION, host):
        return Situation(zone, draining, reached)
    return Situation(reached=reached)


def here_of(host: Host) -> Mapping[str, tuple[str, Situation]]:
    return {HERE: (host.name, Situation(host.zone, host.draining))}


def peer_of(peer: Peer) -> Mapping[str, tuple[str, bool]]:
    return {peer.name: (peer.zone, peer.draining)}


def reached_of(path: Path) -> Mapping[str, bool]:
    """Which way it is reached is nothing to services."""
    return {path.host: True}


def failing_of(
    health: Health,
) -> Mapping[tuple[str, str], tuple[tuple[str, str], str]]:
    """Which endpoint, by its host and id, and why."""
    place = health.host, health.endpoint
    return {(health.network, name): (place, why) for name, why in health.failing.items()}


def slice_of(of: EndpointSlice) -> Mapping[tuple[str, str], list[Candidate]]:
    return {(of.network, of.service): of_slice(of)}


def _frontend(key: abi.PortKey, view: View) -> abi.Frontend | None:
    places: list[VipPort] = view.parts(Service, PLACE, key)
    if not places:
        return None
    place = places[0]
    service, port, family = place.service, place.port, place.family
    there = [c for c in candidates(service, view) if c.address(family) and c.port(port)]
    able = [c for c in there if c.weight]
    by = rules(service, place.policy, there, view)
    chosen = choose(able, by)
    backends = _backends(chosen, keep(there, by), family, port)
    flags = 0
    if not chosen and place.policy == "Local" and _elsewhere(able, by):
        flags = abi.SERVICE_SILENT
    elif chosen and len(set(weights_of(backends))) == 1:
        flags = abi.SERVICE_EVEN
    return abi.Frontend(
        abi.Service(
            backends=len(backends),
            weight=backends[-1].upto if backends else 0,
            affinity=service.affinity,
            algorithm=place.algorithm,
            flags=flags,
            limit=service_number(service),
        ),
        backends,
        service.drain,
        table(backends) if place.algorithm == abi.SERVICE_MAGLEV and chosen else b"",
    )


def weights_of(backends: tuple[abi.Backend, ...]) -> list[int]:
    """One by one; they are kept as sums."""
    return [after - before for before, after in pairwise((0, *(b.upto for b in backends)))]


def _elsewhere(able: list[Candidate], by: Rules) -> bool:
    return bool(choose(able, Rules(by.here, by.hosts, "Cluster", "", by.publish_not_ready)))


def _backends(
    chosen: Iterable[Candidate], kept: Iterable[Candidate], family: int, port: ServicePort
) -> tuple[abi.Backend, ...]:
    """In the order of their addresses. One that is named twice is one, with the larger weight. Who
    is only kept has none, and so gets no new connection.
    """
    weights = {(c.address(family), c.port(port)): 0 for c in kept}
    for candidate in chosen:
        place = candidate.address(family), candidate.port(port)
        weights[place] = max(weights.get(place, 0), candidate.weight)
    backends, upto = [], 0
    for (octets, number), weight in sorted(weights.items()):
        upto += weight
        flags = 0 if weight else abi.BACKEND_IDLE
        backends.append(abi.Backend(octets, number.to_bytes(2, "big"), flags, upto))
    return tuple(backends)


SERVICES = Derivation("services", (Source(Service, places_of),), _frontend)


@dataclass(frozen=True, slots=True)
class Judged:
    """What may be a backend of one port of a service, in one family: is it one, and why?"""

    port: ServicePort | None  # None: a headless service has none
    family: int
    candidate: Candidate
    lost: str  # why it is not; empty: it is
    why: str = ""  # it is


def judged(service: Service, view: View, *, first: bool = False) -> list[Judged]:
    """All that may be backends, as this host sees them; `first`: for one port and family alone."""
    if service.external_name:
        return []
    found = sorted(candidates(service, view), key=lambda c: (c.id, c.host))
    families = [address.version for address in service.addresses]
    if not families:
        families = [family for family in (4, 6) if any(c.address(family) for c in found)]
    ports = service.ports or (None,)
    return [
        one
        for port in ports[: 1 if first else None]
        for family in families[: 1 if first else None]
        for one in _judge(found, (port, family), _choosing(service, service.internal_policy, view))
    ]


def judged_at(place: VipPort, view: View) -> list[Judged]:
    """The same of one port, in one family: of a virtual address, or of every host."""
    found = sorted(candidates(place.service, view), key=lambda c: (c.id, c.host))
    choosing = _choosing(place.service, place.policy, view)
    return list(_judge(found, (place.port, place.family), choosing))


def _choosing(
    service: Service, policy: TrafficPolicy, view: View
) -> Callable[[Iterable[Candidate]], Rules]:
    return lambda able: rules(service, policy, able, view)


def _judge(
    found: list[Candidate],
    of: tuple[ServicePort | None, int],
    choosing: Callable[[Iterable[Candidate]], Rules],
) -> Iterator[Judged]:
    port, family = of
    lacks = [lack(candidate, family, port) for candidate in found]
    able = [candidate for candidate, lost in zip(found, lacks, strict=True) if not lost]
    by = choosing(able)
    best = choose(able, by)
    chosen, no_nearer = {candidate.place for candidate in best}, why_no_nearer(best, by)
    for candidate, lost in zip(found, lacks, strict=True):
        if candidate.place in chosen:
            yield Judged(port, family, candidate, "", why(candidate, by, no_nearer))
        else:
            yield Judged(port, family, candidate, lost or why_not(candidate, by))
