"""What follows from orders. No I/O."""

from __future__ import annotations

from seaway.model.addresses import Address
from seaway.model.routing import Orders
from seaway.routed.neighbours import chosen


def addresses(orders: Orders) -> dict[str, Address]:
    """Where each member is probed and met: the first of its addresses of a family that we have."""
    families = {address.version for address in orders.underlay}
    return {
        member.name: found[0]
        for member in orders.members
        if (found := [a for a in member.underlay if a.version in families])
    }


def ring(orders: Orders) -> set[str]:
    """The members that this host probes of its own choice."""
    reached = addresses(orders)
    segments = {
        str(prefix): [orders.host, *(name for name, a in reached.items() if a in prefix)]
        for prefix in orders.segments
    }
    return chosen(orders.host, [orders.host, *reached], segments)


def underlays(orders: Orders) -> dict[str, tuple[Address, ...]]:
    """Where each host of the cluster is reached, this one too."""
    others = {member.name: member.underlay for member in orders.members}
    return others | {orders.host: orders.underlay}
