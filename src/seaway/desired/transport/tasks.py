"""The backends that a service's name tells of: all that are ready, wherever they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seaway.facts import View
from seaway.model.addresses import Address
from seaway.model.facts import Endpoint
from seaway.model.naming import NamedPort, Task
from seaway.model.services import Distant, EndpointSlice, Service, SliceEndpoint

LABEL = "label"  # an index of endpoints, by network, key and value
OF_SERVICE = "service"  # an index of slices, by network and service


def labels_of(endpoint: Endpoint | Distant) -> Iterator[tuple[str, str, str]]:
    return ((endpoint.network, key, value) for key, value in endpoint.labels.items())


def service_of(of: EndpointSlice) -> tuple[tuple[str, str], ...]:
    return ((of.network, of.service),)


def tasks_of(service: Service, view: View) -> tuple[Task, ...]:
    """By name; one that is found twice once. An external service has none."""
    if service.external_name:
        return ()
    found = _selected(service, view) if service.selector else _sliced(service, view)
    by_name = {task.name: task for task in found if task.addresses}
    return tuple(by_name[name] for name in sorted(by_name))


def addresses_of(endpoint: Endpoint | Distant) -> tuple[Address, ...]:
    if isinstance(endpoint, Endpoint):
        return tuple(interface.ip for interface in endpoint.addresses)
    return endpoint.addresses


def in_order(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(set(addresses), key=lambda a: (a.version, int(a))))


def _selected(service: Service, view: View) -> Iterator[Task]:
    wanted = {(service.network, key, value) for key, value in service.selector.items()}
    first = min(wanted)
    for kind in (Endpoint, Distant):
        for endpoint in view.where(kind, LABEL, first):
            assert isinstance(endpoint, (Endpoint, Distant))
            ready = service.publish_not_ready or (endpoint.ready and not endpoint.terminating)
            if ready and wanted.issubset(labels_of(endpoint)):
                name, addresses = endpoint.name.lower(), in_order(addresses_of(endpoint))
                yield Task(name=name, addresses=addresses, ports=_ports(service, endpoint))


def _ports(service: Service, endpoint: Endpoint | Distant) -> tuple[NamedPort, ...]:
    if not service.headless:
        return ()
    found = ((p, _number(p.target, endpoint.port_names)) for p in service.ports if p.name)
    return tuple(NamedPort(name=p.name, protocol=p.protocol, port=n) for p, n in found if n)


def _number(target: int | str, named: dict[str, int]) -> int:
    return target if isinstance(target, int) else named.get(target, 0)


def _sliced(service: Service, view: View) -> Iterator[Task]:
    """Several slices may name one backend, each by the addresses of one family."""
    for of in view.where(EndpointSlice, OF_SERVICE, (service.network, service.name)):
        ports = tuple(
            NamedPort(name=p.name, protocol=p.protocol, port=p.port)
            for p in of.ports
            if p.name and service.headless
        )
        for backend in of.endpoints:
            if service.publish_not_ready or _is_ready(backend):
                addresses = in_order(backend.addresses[:1])
                for address in addresses:
                    yield Task(name=dashed(address), addresses=addresses, ports=ports)


def _is_ready(backend: SliceEndpoint) -> bool:
    return backend.ready is not False and not backend.terminating


def dashed(address: Address) -> str:
    """An address as a label of a name, as Kubernetes writes it."""
    return str(address).replace(".", "-").replace(":", "-")
