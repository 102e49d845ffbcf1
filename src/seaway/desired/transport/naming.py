"""What names stand for, in each network; how addresses are called, and who may ask from them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Final

from seaway.desired.network.resolver import resolver_addresses
from seaway.desired.transport.publications import of_the_latest
from seaway.desired.transport.tasks import addresses_of, in_order, tasks_of
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import Address
from seaway.model.facts import Cluster, Endpoint, HostAddresses
from seaway.model.naming import Asker, Holder, Named, NamedPort, Pointer
from seaway.model.services import Distant, Service

NAMED: Final = "named"  # an index of endpoints and services, by the keys of their names

Key = tuple[str, str]  # a network, and a name in it


@of_the_latest
def names_of(endpoint: Endpoint | Distant) -> frozenset[Key]:
    """All that it goes by."""
    names = (endpoint.name, *endpoint.aliases)
    return frozenset((endpoint.network, name.lower()) for name in names)


def names_of_service(service: Service) -> tuple[Key]:
    return ((service.network, service.name.lower()),)


def told_of(service: Service) -> list[tuple[str, Hashable]]:
    """What the resolver is told of it."""
    keys: list[tuple[str, Hashable]] = [("names", key) for key in names_of_service(service)]
    return keys + [("holders", address) for address in service.addresses]


def told_keys(endpoint: Endpoint) -> list[tuple[str, Hashable]]:
    """What the resolver is told of it. It goes without, if need be."""
    keys: list[tuple[str, Hashable]] = [("names", key) for key in names_of(endpoint)]
    return keys + [("holders", address) for address in addresses_of(endpoint)]


def _named(key: Key, view: View) -> Named | None:
    services = view.where(Service, NAMED, key)
    endpoints: list[Endpoint | Distant] = [*view.where(Endpoint, NAMED, key)]
    endpoints += view.where(Distant, NAMED, key)
    for service in services:  # it goes before endpoints that are called like it
        return _of_service(service, view)
    found = in_order(a for endpoint in endpoints for a in addresses_of(endpoint))
    return Named(addresses=found) if endpoints else None


def _of_service(service: Service, view: View) -> Named:
    tasks = tasks_of(service, view)
    every = (address for task in tasks for address in task.addresses)
    return Named(
        addresses=in_order(service.addresses or every),
        service=True,
        tasks=tasks,
        ports=() if service.headless else tuple(_ports(service)),
        elsewhere=service.external_name.rstrip("."),
    )


def _ports(service: Service) -> Iterator[NamedPort]:
    for port in service.ports:
        if port.name:
            yield NamedPort(name=port.name, protocol=port.protocol, port=port.port)


NAMES = Derivation(
    "names",
    (Source(Endpoint, names_of), Source(Distant, names_of), Source(Service, names_of_service)),
    _named,
)


def _holder(address: Address, view: View) -> Holder | None:
    """One address means one thing: what is found first is not looked for elsewhere, of which there
    would be a note for each of very many addresses.
    """
    cluster = view.get(Cluster, "cluster")
    if cluster and address in resolver_addresses(cluster):
        return Holder(asker=_asker(every=True, resolver=True))
    for endpoint in view.where(Endpoint, "address", address):
        there = view.where(Endpoint, "netns", endpoint.netns_inode)
        same = [o for o in there if o.namespace.is_(endpoint.namespace)]
        asker = _asker(networks=tuple(sorted({o.network for o in same})))
        return Holder(asker=asker, pointers=(_pointer(endpoint),))
    others: list[Distant | Service] = [*view.where(Distant, "address", address)]
    others = others or [*view.where(Service, "address", address)]
    if others:
        return Holder(pointers=tuple(sorted({_pointer(one) for one in others}, key=_place)))
    here = view.get(HostAddresses, "host")
    return Holder(asker=_asker(every=True)) if here and address in here.addresses else None


@lru_cache(maxsize=256)
def _asker(networks: tuple[str, ...] = (), *, every: bool = False, resolver: bool = False) -> Asker:
    """One for all that may ask for the same."""
    return Asker(networks=networks, every=every, resolver=resolver)


def _pointer(holder: Service | Endpoint | Distant) -> Pointer:
    return Pointer(network=holder.network, name=holder.name)


def _place(pointer: Pointer) -> tuple[str, str]:
    return pointer.network, pointer.name


HOLDERS = Derivation(
    "holders",
    (
        Source(Cluster, resolver_addresses),
        Source(Endpoint, addresses_of),
        Source(Distant, addresses_of),
        Source(Service, lambda service: service.addresses),
        Source(HostAddresses, lambda here: here.addresses),
    ),
    _holder,
)
