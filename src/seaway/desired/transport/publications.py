"""What endpoints' published ports ask for: where each leads, and who else cannot have it.

A publication without an address of the host's is one of every address, in each family that
its endpoint has: the key is then the unspecified address of that family.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Final, TypeVar

from seaway.bpf import abi
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import UNSPECIFIED, Address, mapped, unmapped
from seaway.model.facts import Endpoint, Network, Publication, Uplinks
from seaway.model.publications import PROTOCOLS
from seaway.model.services import Distant

E = TypeVar("E")
T = TypeVar("T")
_LATEST: Final = 4  # endpoints, before and after a change
SEVERAL: Final = abi.Origin(bytes(16), bytes(2))  # that an answer may come from: it is dropped


def host_addresses(publication: Publication, families: Collection[int]) -> list[Address]:
    """Of the host, under which these families are published."""
    if publication.host_ip is not None:
        return [publication.host_ip]
    return [UNSPECIFIED[family] for family in sorted(families)]


def of_the_latest(of: Callable[[E], T]) -> Callable[[E], T]:
    """Remembers what it gave for the latest endpoints: a change asks several times for the same,
    and one may have thousands of ports.
    """
    latest: deque[tuple[E, T]] = deque(maxlen=_LATEST)

    @wraps(of)
    def remembered(endpoint: E) -> T:
        for known, found in tuple(latest):
            if known is endpoint:
                return found
        latest.append((endpoint, of(endpoint)))
        return latest[-1][1]

    return remembered


@dataclass(frozen=True, slots=True)
class Published:
    """A backend's port: of which network, and under which keys it is published."""

    network: str
    keys: tuple[abi.PortKey, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What of one port of the host an endpoint has: it on these addresses."""

    endpoint: str  # id
    owner: str  # in words
    addresses: tuple[Address, ...]


@of_the_latest
def claims_of(endpoint: Endpoint | Distant) -> Mapping[tuple[str, int], Claim]:
    """By protocol and port, of its host."""
    found: dict[tuple[str, int], list[Address]] = defaultdict(list)
    families = {i.version for i in endpoint.addresses}
    for publication in endpoint.ports:
        place = publication.protocol, publication.host_port
        found[place] += host_addresses(publication, families)
    owner = f"endpoint '{endpoint.name}' of network '{endpoint.network}'"
    owner += f" on host '{endpoint.host}'" if isinstance(endpoint, Distant) else ""
    return {place: Claim(endpoint.id, owner, tuple(had)) for place, had in found.items()}


def overlap(one: Address, other: Address) -> bool:
    """Whether a port of both would be the same one."""
    same = one == other or one.is_unspecified or other.is_unspecified
    return one.version == other.version and same


def _pairs(endpoint: Endpoint) -> Iterator[tuple[abi.PortKey, abi.PortKey]]:
    """A port of the host, and the one of the endpoint that it leads to."""
    backends = {i.version: mapped(i.ip) for i in reversed(endpoint.addresses)}
    # Thousands of ports have few addresses.
    led: dict[Address | None, list[tuple[bytes, bytes]]] = {}
    for publication in endpoint.ports:
        ip, protocol = publication.host_ip, PROTOCOLS[publication.protocol]
        if ip not in led:
            hosts = host_addresses(publication, backends)
            led[ip] = [(mapped(a), backends[a.version]) for a in hosts if a.version in backends]
        host_port = publication.host_port.to_bytes(2, "big")
        port = publication.container_port.to_bytes(2, "big")
        for host, backend in led[ip]:
            yield abi.PortKey(host, host_port, protocol), abi.PortKey(backend, port, protocol)


@of_the_latest
def publications_of(endpoint: Endpoint) -> Mapping[abi.PortKey, abi.PortKey]:
    """Where each port of the host leads, of those that this endpoint has."""
    return dict(_pairs(endpoint))


@of_the_latest
def backends_of(endpoint: Endpoint) -> Mapping[abi.PortKey, Published]:
    """The endpoint's own ports that are published."""
    keys: dict[abi.PortKey, list[abi.PortKey]] = defaultdict(list)
    for key, backend in _pairs(endpoint):
        keys[backend].append(key)
    return {b: Published(endpoint.network, tuple(found)) for b, found in keys.items()}


def _publication(key: abi.PortKey, view: View) -> abi.Publication | None:
    for backend in view.parts(Endpoint, "publication", key):
        sole = _is_sole(backend, view)
        return abi.Publication(backend.addr, backend.port, abi.PUBLICATION_SOLE if sole else 0)
    return None


PUBLICATIONS = Derivation("publications", (Source(Endpoint, publications_of),), _publication)


def _is_sole(backend: abi.PortKey, view: View) -> bool:
    """As far as endpoints' own ports go: a service may lead there as well (`origins.py`)."""
    for published in view.parts(Endpoint, "backend", backend):
        network = view.get(Network, published.network)
        if network and network.masquerade:
            return origin_of(published.keys, view) != SEVERAL
    return False


def origin_of(keys: Sequence[abi.PortKey], view: View) -> abi.Origin:
    """Under which of these ports of the host an answer leaves; each leads to one backend's port."""
    address = _certain(keys, view)
    return SEVERAL if address is None else abi.Origin(mapped(address), keys[0].port)


def _certain(keys: Sequence[abi.PortKey], view: View) -> Address | None:
    """The one address that an answer can come from; None: there are several."""
    first, *others = keys
    address = unmapped(first.addr)
    if others or address.is_loopback:
        return None
    if not address.is_unspecified:
        return address
    uplinks = view.get(Uplinks, "host")
    known = [a for a in (uplinks.addresses if uplinks else ()) if a.version == address.version]
    return known[0] if len(known) == 1 else None
