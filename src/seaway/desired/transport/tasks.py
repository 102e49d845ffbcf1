"""The backends that a service's name tells of: all that are ready, wherever they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seaway.desired.transport.backends import Candidate
from seaway.desired.transport.services import candidates, rules
from seaway.facts import View
from seaway.model.addresses import Address, address_of, unmapped
from seaway.model.facts import Endpoint
from seaway.model.naming import NamedPort, Task
from seaway.model.services import Distant, Service


def tasks_of(service: Service, view: View) -> tuple[Task, ...]:
    """By name; one that is found twice once. An external service has none. One on a host that
    cannot be reached is left out while there are others.
    """
    if service.external_name:
        return ()
    found = candidates(service, view)
    hosts = rules(service, "Cluster", found, view).hosts
    ready = [c for c in found if service.publish_not_ready or _is_ready(c)]
    near = [c for c in ready if c.host not in hosts or hosts[c.host].reached]
    chosen = sorted(near or ready, key=_place)
    by_name = {task.name: task for c in chosen for task in _task(service, c)}
    return tuple(by_name[name] for name in sorted(by_name))


def addresses_of(endpoint: Endpoint | Distant) -> tuple[Address, ...]:
    if isinstance(endpoint, Endpoint):
        return tuple(map(address_of, endpoint.addresses))
    return endpoint.addresses


def in_order(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(set(addresses), key=lambda a: (a.version, int(a))))


def _is_ready(candidate: Candidate) -> bool:
    return candidate.ready and not candidate.terminating


def _place(candidate: Candidate) -> tuple[str, str]:
    return candidate.place


def _task(service: Service, candidate: Candidate) -> Iterator[Task]:
    """What a slice names has no name of its own."""
    addresses = tuple(unmapped(octets) for octets in (candidate.v4, candidate.v6) if octets)
    if addresses:
        own = candidate.named is None
        name = candidate.name.lower() if own else dashed(addresses[0])
        ports = tuple(_ports(service, candidate)) if service.headless else ()
        yield Task(name=name, addresses=addresses, ports=ports)


def _ports(service: Service, candidate: Candidate) -> Iterator[NamedPort]:
    for port in service.ports:
        if port.name and (number := candidate.port(port)):
            yield NamedPort(name=port.name, protocol=port.protocol, port=number)


def dashed(address: Address) -> str:
    """An address as a label of a name, as Kubernetes writes it."""
    return str(address).replace(".", "-").replace(":", "-")
