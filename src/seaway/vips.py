"""Which virtual addresses (VIPs) a service gets; what is wrong with one that is asked for.

They lie in the cluster's service subnets. Whose one is, is a record of its own (`Vip`), made with
that of the service: of two hosts that take the same at once, one is told to choose again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from seaway.desired.network.blocks import overlaps
from seaway.errors import Conflict, Exhausted, Invalid
from seaway.facts import Facts
from seaway.model.addresses import Address, Prefix, host_prefix
from seaway.model.facts import Cluster, Network
from seaway.model.requests import NewService
from seaway.model.services import EndpointSlice, Vip

# The first addresses of a subnet are given last: people choose there (Kubernetes, KEP-3070).
_BAND_LEAST: Final = 16
_BAND_MOST: Final = 256


def allot(
    facts: Facts,
    network: Network,
    wanted: NewService,
    had: Sequence[Address] = (),
    others: Collection[Address] = (),
) -> tuple[Address, ...]:
    """At most one of each family. A service keeps those that it `had`; `others` are about to be
    recorded for other services.
    """
    if wanted.headless or wanted.external_name:
        return ()
    kept: dict[int, Address] = {address.version: address for address in had}
    asked: dict[int, Address] = {address.version: address for address in wanted.addresses}
    found = []
    for family in _families(facts, network, wanted):
        address = asked.get(family) or kept.get(family) or _free(facts, family, others)
        if address not in had:
            _check(facts, address, wanted, others)
            if family in kept:
                raise Conflict(
                    f"service '{wanted.name}' has the address {kept[family]}, which stays",
                    "remove it first, or leave the address out",
                )
        found.append(address)
    return tuple(found)


def _families(facts: Facts, network: Network, wanted: NewService) -> list[int]:
    possible: set[int] = {subnet.version for subnet in network.subnets}
    named: list[int] = [*dict.fromkeys((*wanted.families, *(a.version for a in wanted.addresses)))]
    for family in named:
        if family not in possible:
            raise Invalid(
                f"network '{network.name}' has no IPv{family}, so service '{wanted.name}' has none",
                f"it has {' and '.join(f'IPv{f}' for f in sorted(possible))}",
            )
    given = sorted(f for f in possible if _subnets(facts, f))
    if wanted.families or (wanted.single and named):
        return sorted(named)
    if wanted.single:
        return given[:1]
    return sorted({*named, *given})


def _subnets(facts: Facts, family: int) -> list[Prefix]:
    cluster = facts.get(Cluster, "cluster")
    subnets = cluster.service_subnets if cluster else ()
    return [subnet for subnet in subnets if subnet.version == family]


def _usable(subnet: Prefix) -> tuple[int, int]:
    """The first of its addresses that may be given, and how many there are."""
    spared = 2 if subnet.version == 4 else 1  # broadcast
    return int(subnet.network_address) + 1, max(subnet.num_addresses - spared, 0)


def _free(facts: Facts, family: int, others: Collection[Address]) -> Address:
    """By chance, so that hosts that choose at once choose differently."""
    taken = facts.count(Vip, "family", family) + len(others)
    subnets = _subnets(facts, family)
    for subnet in subnets:
        first, size = _usable(subnet)
        if not size:
            continue
        band = min(max(_BAND_LEAST, size // 16), _BAND_MOST)
        band = band if band < size else 0
        start = band + secrets.randbelow(size - band)
        # Of one more than are taken, one is free.
        for number in range(start, start + min(size, taken + 1)):
            address = subnet[first - int(subnet.network_address) + number % size]
            if facts.get(Vip, str(address)) is None and address not in others:
                return address
    raise Exhausted(
        f"the cluster's service subnets have no free IPv{family} address left",
        f"they are {_listed(subnets)}: remove a service, or make it headless",
    )


def _check(facts: Facts, address: Address, wanted: NewService, others: Collection[Address]) -> None:
    """Whether a service may have this address."""
    subnets = _subnets(facts, address.version)
    for subnet in subnets:
        if overlaps(subnet, host_prefix(address)):
            first, size = _usable(subnet)
            if not first <= int(address) < first + size:
                raise Invalid(f"{address} is the first or last of {subnet}", "choose another")
            break
    else:
        raise Invalid(
            f"{address} is not in a service subnet of this cluster",
            f"expected an address of {_listed(subnets)}, or none: then one is chosen",
        )
    if held := facts.get(Vip, str(address)):
        raise Conflict(
            f"{address} is the address of service '{held.service}' of network '{held.network}', "
            f"and '{wanted.name}' cannot have it too",
            "choose another, or leave it out",
        )
    if address in others:
        raise Conflict(f"{address} is asked for twice", "each service has addresses of its own")


def check_backends(facts: Facts, new: EndpointSlice) -> None:
    """No backend is itself a virtual address."""
    subnets = _subnets(facts, new.family)
    for address in (a for endpoint in new.endpoints for a in endpoint.addresses):
        if not any(overlaps(subnet, host_prefix(address)) for subnet in subnets):
            continue
        held = facts.get(Vip, str(address))
        whose = f"service '{held.network}/{held.service}'" if held else "services"
        raise Invalid(
            f"{address} is a virtual address of {whose}, and no backend has one",
            "name the addresses of its backends",
        )


def _listed(subnets: Iterable[Prefix]) -> str:
    return " or ".join(map(str, subnets)) or "no subnet of that family"
