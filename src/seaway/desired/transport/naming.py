"""What names stand for, in each network, and who may ask for those of which."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from functools import lru_cache
from typing import Final

from seaway.desired.network.resolver import resolver_addresses
from seaway.desired.transport.publications import of_the_latest
from seaway.desired.transport.tasks import addresses_of, in_order, tasks_of
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import Address
from seaway.model.facts import Cluster, Endpoint, HostAddresses
from seaway.model.naming import Asker, Named, NamedPort
from seaway.model.services import Distant, Service
from seaway.names import DOMAIN

NAMED: Final = "named"  # an index of endpoints and services, by the keys of their names
REVERSE: Final = (".in-addr.arpa", ".ip6.arpa")

Key = tuple[str, str]  # a network, and a name in it


@lru_cache(maxsize=256)
def reverse(address: Address) -> str:
    """The name that an address goes by."""
    return address.reverse_pointer


@of_the_latest
def names_of(endpoint: Endpoint | Distant) -> frozenset[Key]:
    """All that it goes by, its addresses too."""
    return frozenset(
        (endpoint.network, name)
        for name in (
            endpoint.name.lower(),
            *(alias.lower() for alias in endpoint.aliases),
            *map(reverse, addresses_of(endpoint)),
        )
    )


def names_of_service(service: Service) -> frozenset[Key]:
    own = (service.network, service.name.lower())
    return frozenset({own, *((service.network, reverse(a)) for a in service.addresses)})


def told_of(service: Service) -> list[tuple[str, Hashable]]:
    """What the resolver is told of it."""
    return [("names", key) for key in names_of_service(service)]


def told_keys(endpoint: Endpoint) -> list[tuple[str, Hashable]]:
    """What the resolver is told of it. It goes without, if need be."""
    keys: list[tuple[str, Hashable]] = [("names", key) for key in names_of(endpoint)]
    return keys + [("askers", address) for address in addresses_of(endpoint)]


def whole(name: str, network: str) -> str:
    return f"{name.lower()}.{network}.{DOMAIN}"


def _named(key: Key, view: View) -> Named | None:
    services = view.where(Service, NAMED, key)
    endpoints: list[Endpoint | Distant] = [*view.where(Endpoint, NAMED, key)]
    endpoints += view.where(Distant, NAMED, key)
    if key[1].endswith(REVERSE):
        return _pointed(key[1], [*services, *endpoints])
    for service in services:  # it goes before endpoints that are called like it
        return _of_service(service, view)
    found = in_order(a for endpoint in endpoints for a in addresses_of(endpoint))
    return Named(addresses=found) if endpoints else None


def _pointed(address: str, holders: Iterable[Service | Endpoint | Distant]) -> Named | None:
    names = sorted({whole(h.name, h.network) for h in holders if _has(h, address)})
    return Named(pointers=tuple(names)) if names else None


def _has(holder: Service | Endpoint | Distant, address: str) -> bool:
    """It may only be called so."""
    own = holder.addresses if isinstance(holder, Service) else addresses_of(holder)
    return address in map(reverse, own)


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


def _asker(address: Address, view: View) -> Asker | None:
    cluster, here = view.get(Cluster, "cluster"), view.get(HostAddresses, "host")
    if cluster and address in resolver_addresses(cluster):
        return Asker(every=True, resolver=True)
    for endpoint in view.where(Endpoint, "address", address):
        others = view.where(Endpoint, "netns", endpoint.netns_inode)
        same = [o for o in others if o.namespace.is_(endpoint.namespace)]
        return Asker(networks=tuple(sorted({o.network for o in same})))
    return Asker(every=True) if here and address in here.addresses else None


ASKERS = Derivation(
    "askers",
    (
        Source(Cluster, resolver_addresses),
        Source(Endpoint, addresses_of),
        Source(HostAddresses, lambda here: here.addresses),
    ),
    _asker,
)
