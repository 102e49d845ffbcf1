"""What follows from published ports of services: who else cannot have them, which ports of which
endpoints answer for them, and what of them load balancers are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from seaway.bpf import abi
from seaway.desired.transport.backends import Candidate, lack, of_endpoint, of_slice, ready_here
from seaway.desired.transport.publications import Claim
from seaway.desired.transport.services import OF_SERVICE, candidates, rules
from seaway.facts import Derivation, Facts, Source, View
from seaway.model.addresses import UNSPECIFIED, Address, mapped
from seaway.model.facts import Endpoint
from seaway.model.node_ports import HealthPort, HostPort
from seaway.model.publications import PROTOCOLS
from seaway.model.services import Answering, EndpointSlice, NodePort, Service, ServicePort

# Indexes of services that have published ports.
SELECTING: Final = "selecting"  # by network, key and value of a label
SLICED: Final = "sliced"  # by network: those whose backends are named
HEALTH_PORT: Final = "health port"  # services by the number of theirs


def is_published(service: Service) -> bool:
    return any(port.node_port for port in service.ports)


@dataclass(frozen=True, slots=True)
class Exposed:
    """What endpoints look at of a service with published ports: more of it is nothing to them."""

    name: str
    selector: Mapping[str, str]
    families: frozenset[int]
    ports: tuple[ServicePort, ...]  # those that are published
    local: bool  # each host leads to its own endpoints alone


def _exposed(service: Service) -> Exposed | None:
    ports = tuple(port for port in service.ports if port.node_port)
    families = frozenset(address.version for address in service.addresses)
    local = service.external_policy == "Local"
    return Exposed(service.name, service.selector, families, ports, local) if ports else None


def selecting_of(service: Service) -> Mapping[tuple[str, str, str], Exposed]:
    """Under one label of its selector."""
    exposed = _exposed(service)
    if not (service.selector and exposed):
        return {}
    return {(service.network, *min(service.selector.items())): exposed}


def sliced_of(service: Service) -> Mapping[str, Exposed]:
    exposed = _exposed(service)
    return {service.network: exposed} if exposed and not service.selector else {}


def behind_of(service: Service) -> tuple[Mapping[Any, Any], ...]:
    """Who stands behind its published ports, as they are found."""
    return selecting_of(service), sliced_of(service)


def stands_behind(endpoint: Endpoint, view: View) -> bool:
    """Whether it may be asked by a published port: chosen or not, its answers are those of that. So
    they are as long as connections may go on by a port that led to it before.
    """
    found = any(True for _ in exposing(endpoint, view))
    return found or view.get(Answering, endpoint.id) is not None


def behind(of: Service | EndpointSlice, facts: Facts) -> list[Endpoint]:
    """The endpoints of this host that a published service, or a slice of one, names or selects."""
    able = facts.where(Endpoint, "network", of.network)
    if isinstance(of, Service) and of.selector:
        return [e for e in able if of.selector.items() <= e.labels.items()]
    slices = [of_slice(of)] if isinstance(of, EndpointSlice) else _slices(of, facts)
    octets = {each for named in slices for candidate in named for each in candidate.octets}
    return [e for e in able if any(mapped(interface.ip) in octets for interface in e.addresses)]


def _slices(service: Service, facts: Facts) -> list[list[Candidate]]:
    return facts.parts(EndpointSlice, OF_SERVICE, (service.network, service.name))


def exposing(endpoint: Endpoint, view: View) -> Iterator[tuple[Exposed, Candidate]]:
    """The services that have it, each with what it is to them."""
    for label in endpoint.labels.items():
        for exposed in view.parts(Service, SELECTING, (endpoint.network, *label)):
            if exposed.selector.items() <= endpoint.labels.items():
                yield exposed, of_endpoint(endpoint)
    octets = {mapped(interface.ip) for interface in endpoint.addresses}
    for exposed in view.parts(Service, SLICED, endpoint.network):
        for of in view.parts(EndpointSlice, OF_SERVICE, (endpoint.network, exposed.name)):
            for candidate in of:
                if candidate.v4 in octets or candidate.v6 in octets:
                    yield exposed, candidate


def _ports_behind(address: Address, view: View) -> frozenset[abi.PortKey] | None:
    """Those of an endpoint of this host: what other hosts are asked is let through to no others."""
    octets, family = mapped(address), address.version
    for endpoint in view.where(Endpoint, "address", address):
        found = {
            abi.PortKey(octets, number.to_bytes(2, "big"), PROTOCOLS[port.protocol])
            for exposed, candidate in exposing(endpoint, view)
            if family in exposed.families and candidate.address(family) == octets
            for port in exposed.ports
            if (number := candidate.port(port))
        }
        return frozenset(found) or None
    return None


BEHIND = Derivation(
    "behind", (Source(Endpoint, lambda e: [i.ip for i in e.addresses]),), _ports_behind
)


def claims(known: Facts | View, place: HostPort) -> Iterator[Claim]:
    """What services have of one port of every host: no endpoint is published there."""
    protocol, number = place
    held = known.get(NodePort, f"{number}-{protocol}")
    if held is None:
        return
    service = known.get(Service, f"{held.network}/{held.service}")
    families: Iterable[int] = (4, 6)
    if service and place != ("tcp", service.health_port):
        families = {address.version for address in service.addresses}
    owner = f"service '{held.service}' of network '{held.network}'"
    yield Claim("", owner, tuple(UNSPECIFIED[family] for family in sorted(families)))


def health_keys_of(service: Service) -> tuple[int, ...]:
    return (service.health_port,) if service.health_port else ()


def _health_port(number: int, view: View) -> HealthPort | None:
    """A host that drains has no backend that is ready."""
    for service in view.where(Service, HEALTH_PORT, number):
        return HealthPort(service.network, service.name, len(_ready_here(service, view)))
    return None


def is_left_out(service: Service, view: View) -> bool:
    """Whether who asks a published port here is not led to a backend, while there may be some."""
    if service.external_policy != "Local" or not is_published(service):
        return False
    return not _ready_here(service, view)


def _ready_here(service: Service, view: View) -> list[Candidate]:
    able = [c for c in candidates(service, view) if _may_answer(c, service)]
    return ready_here(able, rules(service, service.external_policy, (), view))


def _may_answer(candidate: Candidate, service: Service) -> bool:
    families = {address.version for address in service.addresses}
    ports = [port for port in service.ports if port.node_port]
    return any(not lack(candidate, family, port) for family in families for port in ports)


HEALTH_PORTS = Derivation("health_ports", (Source(Service, health_keys_of),), _health_port)
