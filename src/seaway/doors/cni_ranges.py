"""CNI's `ipRanges` (CONVENTIONS.md): of each set, an address of one of its ranges. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from seaway.errors import Invalid
from seaway.model import codec
from seaway.model.addresses import Address, parse_address
from seaway.model.requests import IpRange

# Of the sets of ranges that a runtime may give.
_FAMILIES: tuple[list[list[int]], ...] = ([], [[4]], [[6]], [[4], [6]], [[6], [4]])
_MOST_RANGES = 16


class WireRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    subnet: str
    range_start: str | None = None
    range_end: str | None = None
    gateway: str | None = None  # not used: docs/cni.md says why


def ranges_of(
    sets: Iterable[Iterable[WireRange]], addresses: tuple[Address, ...]
) -> tuple[tuple[IpRange, ...], ...]:
    """None of families that have a certain address already: that must lie in theirs."""
    ranges = [tuple(_range(wire) for wire in alternatives) for alternatives in sets]
    families = [sorted({r.subnet.version for r in alternatives}) for alternatives in ranges]
    if families not in _FAMILIES or any(len(r) > _MOST_RANGES for r in ranges):
        raise Invalid(
            "runtimeConfig.ipRanges is not one set of ranges for each family of addresses",
            f"expected up to {_MOST_RANGES} IPv4 ranges in one set, and IPv6 ranges in another",
        )
    for wanted in addresses:
        same = [r for s in ranges for r in s if r.subnet.version == wanted.version]
        if same and not any(_holds(r, wanted) for r in same):
            raise Invalid(
                f"address {wanted} is in none of the ranges of runtimeConfig.ipRanges",
                f"expected one of {', '.join(str(r.subnet) for r in same)}",
            )
    certain = {a.version for a in addresses}
    return tuple(s for s in ranges if s[0].subnet.version not in certain)


def _range(wire: WireRange) -> IpRange:
    told = {"subnet": wire.subnet, "start": wire.range_start, "end": wire.range_end}
    found = codec.from_builtins(told, IpRange)
    if wire.gateway is not None:
        parse_address(wire.gateway)
    for address in (found.start, found.end):
        if address is not None and address not in found.subnet:
            raise Invalid(
                f"{address} is outside the range's subnet {found.subnet}", "mend ipRanges"
            )
    return found


def _holds(found: IpRange, address: Address) -> bool:
    first = found.start or found.subnet.network_address
    last = found.end or found.subnet.broadcast_address
    return address in found.subnet and int(first) <= int(address) <= int(last)
