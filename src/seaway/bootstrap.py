"""The first records of a new cluster: its pools, this host, and the network `default`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any

from msgspec.structs import replace

from seaway.desired.network.blocks import (
    NETWORK_LENGTH,
    POOLS4,
    cautions,
    check_unicast,
    first_overlap,
    free_subnet,
    in_the_way,
    last_of,
    reserved_length,
)
from seaway.desired.network.underlays import as_foreign, check_underlay
from seaway.errors import Conflict, Exhausted, Invalid, NotFound
from seaway.facts import Facts
from seaway.model.addresses import Address, ForeignPrefix, Prefix
from seaway.model.facts import Cluster, Host, Network
from seaway.names import DEFAULT_NETWORK
from seaway.records import Records
from seaway.store.base import Store

_SHORTEST, _LONGEST = {4: 8, 6: 16}, {4: 20, 6: 56}  # of a pool


@dataclass(frozen=True)
class Plan:
    """What `init` was asked for, and what it must know of the host."""

    host: str
    cluster: str = ""  # of which it is known to be a host, by that name; empty: it is not known
    pools: tuple[Prefix, ...] = ()  # empty: the first free one of the documented list, and a ULA
    service_subnets: tuple[Prefix, ...] = ()
    foreign: tuple[ForeignPrefix, ...] = ()
    mtu: int = 1500
    underlay: tuple[Address, ...] = ()  # where other hosts reach it; empty: as it was
    # Fields of the cluster's record, of how packets are carried; others stay as they were.
    carrying: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Initialised:
    cluster: Cluster
    host: Host
    new: bool  # False: it was there already, and nothing was changed
    warnings: tuple[str, ...] = ()


async def initialise(store: Store, plan: Plan) -> Initialised:
    """Make the cluster's first records, or say what is there already."""
    facts = Facts(())
    records = Records(store, facts)
    await records.load()
    cluster = facts.get(Cluster, "cluster")
    if cluster:
        if plan.pools and plan.pools != cluster.pools:
            has = ", ".join(str(p) for p in cluster.pools)
            raise Conflict(
                f"this host is of cluster {cluster.id} with the pools {has} already",
                "leave out --subnet, or run 'seaway uninstall' first",
            )
        host = _known_host(facts, plan)
        told = replace(host, underlay=plan.underlay or host.underlay)
        check_underlay(facts, cluster, host.name, plan.underlay)
        carries = replace(cluster, **plan.carrying)
        changed = [now for now, old in ((told, host), (carries, cluster)) if now != old]
        if changed:
            await records.commit(changed)
        return Initialised(carries, told, new=False)
    cluster = _cluster(plan)
    host = Host(
        name=plan.host,
        addresses=tuple(s[1] for s in cluster.host_subnets),
        underlay=plan.underlay,
    )
    network = _default_network(cluster, plan)
    await records.commit([cluster, host, network])
    return Initialised(cluster, host, new=True, warnings=_warnings(cluster, plan.foreign))


def _known_host(facts: Facts, plan: Plan) -> Host:
    """Of this name; or the only one, should the machine's name be another one by now."""
    host = facts.get(Host, plan.host)
    if host is None and plan.cluster:
        raise removed(plan.host, plan.cluster)
    if host is None:
        hosts = facts.all(Host)
        if len(hosts) != 1:
            raise Conflict(
                f"the store here is of a cluster of {len(hosts)} hosts, none of them '{plan.host}'",
                "see docs/backup.md",
            )
        (host,) = hosts
    return host


def removed(host: str, cluster: str) -> NotFound:
    """Of a host whose record is gone."""
    return NotFound(
        f"host '{host}' was removed from its cluster {cluster}",
        "take what is left off it by: seaway leave --force; what runs on it goes on meanwhile",
    )


def _cluster(plan: Plan) -> Cluster:
    foreign = (*plan.foreign, *as_foreign(plan.underlay, plan.host))
    pools = plan.pools or (_free_pool(foreign), _unique_local())
    for i, pool in enumerate(pools):
        _check_pool(pool, pools[:i], foreign)
    services = plan.service_subnets or tuple(last_of(p, reserved_length(p), 1) for p in pools)
    for subnet in services:
        check_unicast(subnet, "service subnet")
        if plan.service_subnets and (other := in_the_way(subnet, foreign)):
            raise Conflict(f"service subnet {subnet} overlaps {other}")
    return Cluster(
        id=secrets.token_hex(8),
        pools=pools,
        service_subnets=services,
        host_subnets=tuple(last_of(p, reserved_length(p), 2) for p in pools),
        next_network=2,
        **plan.carrying,
    )


def _check_pool(pool: Prefix, others: Sequence[Prefix], foreign: Sequence[ForeignPrefix]) -> None:
    check_unicast(pool, "pool")
    shortest, longest = _SHORTEST[pool.version], _LONGEST[pool.version]
    if not shortest <= pool.prefixlen <= longest:
        raise Invalid(
            f"pool {pool} is too {'large' if pool.prefixlen < shortest else 'small'}",
            f"expected /{shortest} to /{longest}",
        )
    if other := first_overlap(pool, others):
        raise Conflict(f"pool {pool} overlaps {other}, another pool", "give disjoint ones")
    if taken := in_the_way(pool, foreign):
        raise Conflict(
            f"pool {pool} overlaps {taken}",
            "choose another --subnet, or leave it out",
        )


def _free_pool(foreign: Sequence[ForeignPrefix]) -> Prefix:
    for pool in POOLS4:
        if not in_the_way(pool, foreign):
            return pool
    tried = ", ".join(str(p) for p in POOLS4)
    raise Exhausted(f"this host uses a part of each of {tried}", "give a free pool by --subnet")


def _unique_local() -> Prefix:
    """A random /48 (RFC 4193, 3.2.2)."""
    return IPv6Network((bytes([0xFD]) + secrets.token_bytes(5) + bytes(10), 48))


def _default_network(cluster: Cluster, plan: Plan) -> Network:
    subnets = []
    for pool in cluster.pools:
        length = max(NETWORK_LENGTH[pool.version], pool.prefixlen + 2)
        taken = cluster.service_subnets + cluster.host_subnets
        subnet = free_subnet(pool, taken, length)
        assert subnet is not None
        subnets.append(subnet)
    return Network(name=DEFAULT_NETWORK, number=1, subnets=tuple(subnets), mtu=plan.mtu)


def _warnings(cluster: Cluster, foreign: Sequence[ForeignPrefix]) -> tuple[str, ...]:
    return tuple(w for pool in cluster.pools for w in cautions(pool, foreign, "pool"))
