"""Which subnets and blocks there are to give: pure arithmetic over prefixes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, cast

from seaway.errors import Invalid
from seaway.model.addresses import Address, ForeignPrefix, Prefix

BLOCK_LENGTH = {4: 26, 6: 122}  # Calico's sizes: 64 addresses
NETWORK_LENGTH = {4: 18, 6: 64}  # of a subnet that a network gets from a pool
POOLS4 = tuple(
    IPv4Network(p)
    for p in ("10.208.0.0/12", "10.112.0.0/12", "10.48.0.0/12", "172.24.0.0/14", "100.80.0.0/12")
)
# Where no host looks for a container (IANA's special-purpose registries); ::/8 holds the mapped
# addresses too, as which IPv4 lies in our maps.
_NEVER: Final = tuple(
    ip_network(p)
    for p in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
        "::/8", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip
# What nobody has in the internet: private (RFC 1918, 6598, 4193), for documentation (RFC 5737,
# 3849, 9637) and for benchmarks (RFC 2544, 5180).
_PRIVATE: Final = tuple(
    ip_network(p)
    for p in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7",
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20",
        "198.18.0.0/15", "2001:2::/48",
    )
)  # fmt: skip


def check_unicast(prefix: Prefix, what: str = "subnet") -> None:
    """Whether endpoints may have its addresses: all of them, so not a part is reserved."""
    if other := first_overlap(prefix, _NEVER):
        raise Invalid(
            f"{what} {prefix} is no unicast range: it overlaps {other}", "choose a private one"
        )


def overlaps(one: Prefix, other: Prefix) -> bool:
    """Whether they share an address; prefixes of different families never do."""
    return one.version == other.version and one.overlaps(cast(IPv4Network, other))


def first_overlap(prefix: Prefix, others: Iterable[Prefix]) -> Prefix | None:
    return next((other for other in others if overlaps(prefix, other)), None)


def in_the_way(prefix: Prefix, foreign: Iterable[ForeignPrefix]) -> ForeignPrefix | None:
    """What of the host's makes the prefix unfit for us.

    A less specific route by a router (a company's 10.0.0.0/8, the default route) does not: ours
    take precedence, and that is what is wanted. An address of the host, a next hop and a network
    that it is in do, however large: our routes would cut it off from them.
    """
    return next(
        (
            other
            for other in foreign
            if overlaps(prefix, other.prefix)
            and not (other.yields and other.prefix.prefixlen < prefix.prefixlen)
        ),
        None,
    )


def shadowed(prefix: Prefix, foreign: Iterable[ForeignPrefix]) -> list[Prefix]:
    """Routes of the host's that lead to a part of the prefix no more, but for the default one."""
    routes = (other.prefix for other in foreign if other.yields and other.prefix.prefixlen)
    return [route for route in routes if overlaps(prefix, route)]


def cautions(prefix: Prefix, foreign: Iterable[ForeignPrefix], what: str) -> Iterator[str]:
    """What whoever chose it should know of it, although it is taken."""
    for route in shadowed(prefix, foreign):
        yield (
            f"the host's route to {route} is less specific than our {what} {prefix}: "
            f"addresses of the {what} are now reached through Seaway"
        )
    if not any(prefix.version == p.version and prefix.subnet_of(cast(Any, p)) for p in _PRIVATE):
        yield (
            f"{what} {prefix} is of public addresses: their owner is not reached from this host "
            "any more; a private one is e.g. 10.208.0.0/16"
        )


def last_of(pool: Prefix, length: int, nth: int) -> Prefix:
    """The nth prefix of this length, counted from the pool's end (1 is the last)."""
    size = 1 << (pool.max_prefixlen - length)
    start = int(pool.broadcast_address) + 1 - nth * size
    kind = IPv4Network if pool.version == 4 else IPv6Network
    return kind((start, length))


def reserved_length(pool: Prefix) -> int:
    """How long the service and the host subnets of a pool are: /16 of a /12, /112 of a /48."""
    return min(pool.prefixlen + 4, 30) if pool.version == 4 else max(pool.prefixlen + 4, 112)


def free_subnet(pool: Prefix, taken: Iterable[Prefix], length: int) -> Prefix | None:
    """The first prefix of this length in the pool that overlaps nothing taken."""
    inside = sorted((t for t in taken if overlaps(pool, t)), key=lambda p: int(p.network_address))
    size = 1 << (pool.max_prefixlen - max(length, pool.prefixlen))
    start = int(pool.network_address)
    for other in inside:
        if start + size <= int(other.network_address):
            break
        past = int(other.broadcast_address) + 1
        start = max(start, -(-past // size) * size)
    kind = IPv4Network if pool.version == 4 else IPv6Network
    if start + size - 1 > int(pool.broadcast_address):
        return None
    return kind((start, max(length, pool.prefixlen)))


def free_block(subnet: Prefix, taken: Iterable[Prefix]) -> Prefix | None:
    """The next block of a network's subnet that no host has."""
    return free_subnet(subnet, taken, BLOCK_LENGTH[subnet.version])


def block_of(subnet: Prefix, address: Address) -> Prefix:
    """The block of this subnet that the address lies in."""
    length = max(BLOCK_LENGTH[subnet.version], subnet.prefixlen)
    size = 1 << (subnet.max_prefixlen - length)
    kind = IPv4Network if subnet.version == 4 else IPv6Network
    return kind((int(address) // size * size, length))


def is_single(prefix: Prefix) -> bool:
    """A block of one address: lent by the host that has the block around it, or of another IPAM."""
    return prefix.prefixlen == prefix.max_prefixlen


def room(subnet: Prefix) -> int:
    """How many endpoints may have an address of it: see `usable`."""
    return subnet.num_addresses - 2 if _spares(subnet) else subnet.num_addresses


def spared(subnet: Prefix, block: Prefix) -> int:
    """How many addresses of the block `usable` gives, at the same cost for few and for many."""
    ends = {subnet.network_address, subnet.broadcast_address} if _spares(subnet) else set()
    return block.num_addresses - sum(address in block for address in ends)


def _spares(subnet: Prefix) -> bool:
    """A subnet of one or two addresses has none to spare (RFC 3021)."""
    return subnet.num_addresses > 2


def usable(subnet: Prefix, block: Prefix) -> Iterator[Address]:
    """A block's addresses, without the first and the last of the whole subnet.

    Those are the network and broadcast address of IPv4 and the subnet-router anycast address
    of IPv6 (RFC 4291, 2.6.1); nothing here needs them, but foreign tools balk at them.
    """
    for address in block:
        ends = address in (subnet.network_address, subnet.broadcast_address)
        if not (ends and _spares(subnet)):
            yield address
