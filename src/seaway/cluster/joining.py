"""Whether a host may join, and as what: decided from the facts and what it says of itself.

Nothing is changed here; whatever is refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import NoReturn

from msgspec.structs import replace

from seaway.desired.network.blocks import in_the_way
from seaway.desired.network.underlays import check_underlay, prefixes
from seaway.errors import Conflict, Exhausted, Invalid, Unsupported
from seaway.facts import Facts
from seaway.model import forms
from seaway.model.addresses import Address, ForeignPrefix, Prefix
from seaway.model.durations import in_words
from seaway.model.facts import Cluster, Host, Peer
from seaway.model.membership import Joining
from seaway.trust.keeper import Keeper

SKEW = 300.0  # seconds that clocks of hosts may differ


def check_version(theirs: str, ours: str, where: str) -> None:
    """Hosts of one cluster read each other's records: those of one series do (0.1 of 0.1.7)."""
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise Unsupported(
            f"this host has Seaway {theirs[:40]}, and {where} {ours}",
            "install the same version on both",
        )


def check_clock(theirs: float, ours: float, where: str) -> None:
    off = theirs - ours
    if abs(off) > SKEW:
        told = f"{in_words(abs(off))} {'ahead of' if off > 0 else 'behind'}"
        raise Conflict(
            f"the clock of this host is {told} that of {where}", "set it, e.g. by NTP, and repeat"
        )


def check_form(joining: Joining) -> None:
    """All that can be said without looking at facts."""
    forms.check_host(joining.name)
    families = [address.version for address in joining.underlay]
    if not families or len(set(families)) != len(families):
        raise Invalid(
            "a host joins with one address of each family at which others reach it",
            "give it: --advertise ADDR",
        )
    for address in joining.underlay:
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            _refuse_underlay(address)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            _refuse_underlay(address)


def _refuse_underlay(address: Address) -> NoReturn:
    raise Invalid(
        f"no other host reaches this one at {address}", "give another one: --advertise ADDR"
    )


def check_foreign(facts: Facts, cluster: Cluster, foreign: Iterable[ForeignPrefix]) -> None:
    """What would cut the joining host off from what it reaches without us."""
    known = list(foreign)
    for prefix, what in prefixes(facts, cluster):
        if other := in_the_way(prefix, known):
            raise Conflict(
                f"{what} {prefix} of the cluster overlaps {other}",
                "free it there, or join with another host",
            )


def known_host(facts: Facts, name: str) -> Host | None:
    """This host's record, or another's."""
    return facts.get(Host, name) or facts.get(Peer, name)


def check_name(facts: Facts, joining: Joining, key: str) -> Host | None:
    """The record that a host has which began to join before, and was not answered; None: a new
    one.
    """
    there = known_host(facts, joining.name)
    if joining.again and (there is None or there.key != key):
        raise Conflict(
            f"the cluster has no host '{joining.name}' of this key any more",
            "take what is left of it off this host by 'seaway leave', then join anew",
        )
    if there is None or there.key == key:
        return there
    raise Conflict(
        f"the cluster has a host '{there.name}' already (number {there.number})",
        "name this one otherwise: hostnamectl hostname NAME; or, if that one is gone for good, "
        f"on another host: seaway host rm {there.name}",
    )


def new_host(cluster: Cluster, joining: Joining, key: str, *, control: bool) -> Host:
    """With the next number, and the addresses that go with it."""
    number = cluster.next_host
    return Host(
        name=joining.name,
        number=number,
        addresses=tuple(_address(subnet, number) for subnet in cluster.host_subnets),
        underlay=joining.underlay,
        control=control,
        key=key,
    )


def _address(subnet: Prefix, number: int) -> Address:
    if number >= subnet.num_addresses - 1:
        raise Exhausted(
            f"the hosts' subnet {subnet} has no address for a host with number {number}",
            "numbers are never used again: begin a cluster with a larger --subnet",
        )
    return subnet[number]


def first_control_host(
    facts: Facts, host: Host, keeper: Keeper, underlay: tuple[Address, ...]
) -> Host:
    """The record of a host that was alone, with the CA that it has now."""
    from seaway.trust.certificates import Identity  # noqa: PLC0415, see trust/__init__.py

    forms.check_host(host.name)
    cluster = facts.get(Cluster, "cluster")
    assert cluster is not None
    reached = host.underlay or underlay
    check_underlay(facts, cluster, host.name, reached)
    key = keeper.begin(Identity(cluster.id, host.name, (*reached, *host.addresses)))
    return replace(host, underlay=reached, control=True, key=key)
