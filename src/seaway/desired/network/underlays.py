"""Where hosts are reached: each at addresses of its own, none of which is the cluster's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from seaway.errors import Conflict
from seaway.facts import Facts
from seaway.model.addresses import Address, ForeignPrefix, Prefix, host_prefix
from seaway.model.facts import Cluster, Host, Network, Peer

_ANOTHER: Final = "give another address of this host: --advertise ADDR"


def check_underlay(facts: Facts, cluster: Cluster, host: str, underlay: Iterable[Address]) -> None:
    """Whether this host may be reached there. Else other hosts send one of two what is for the
    other, or look for it among containers. Raise Conflict.
    """
    for address in underlay:
        for other in (*facts.all(Host), *facts.all(Peer)):
            if other.name != host and address in other.underlay:
                raise Conflict(
                    f"{address} is where host '{other.name}' (number {other.number}) is reached",
                    f"{_ANOTHER}; or, if that host is gone for good, on another one: "
                    f"seaway host rm {other.name}",
                )
        for prefix, what in prefixes(facts, cluster):
            if address in prefix:
                raise Conflict(f"{address} is in {what} {prefix} of the cluster", _ANOTHER)


def prefixes(facts: Facts, cluster: Cluster) -> Iterator[tuple[Prefix, str]]:
    """All addresses that the cluster gives away, with what for."""
    yield from ((pool, "the pool") for pool in cluster.pools)
    yield from ((subnet, "the service subnet") for subnet in cluster.service_subnets)
    yield from ((subnet, "the hosts' subnet") for subnet in cluster.host_subnets)
    for network in facts.all(Network):
        yield from ((s, f"network '{network.name}' with") for s in network.subnets)


def as_foreign(underlay: Iterable[Address], host: str) -> Iterator[ForeignPrefix]:
    """What no subnet of the cluster may hold."""
    for address in underlay:
        yield ForeignPrefix(host_prefix(address), f"where host '{host}' is reached", yields=False)
