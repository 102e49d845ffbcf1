"""How the routes of this host lead to an address: asked of the kernel, and nothing is sent."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from seaway.kernel import netns
from seaway.kernel.messages.link import get_link, parse_link
from seaway.kernel.messages.neighbour import list_neighbours, parse_neighbour
from seaway.kernel.messages.route import (
    LOCAL_ADDRESS,
    UNICAST,
    RouteEntry,
    get_route,
    parse_answer,
)
from seaway.kernel.rtnl import Rtnl
from seaway.model.addresses import Address
from seaway.model.trace import Lead

_NO_WAY: Final = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ESRCH)
)


def lead(address: Address, netns_path: Path | None = None) -> Lead | None:
    """None: they do not. The MTU is the route's, if it has one, else the device's."""
    with netns.open_rtnl(netns_path) as rtnl:
        try:
            route = parse_answer(rtnl.get(*get_route(address)))
        except OSError as error:
            if error.errno in _NO_WAY:
                return None
            raise
        if route is None or route.type not in (UNICAST, LOCAL_ADDRESS):
            return None
        return _followed(rtnl, route, address)


def _followed(rtnl: Rtnl, route: RouteEntry, address: Address) -> Lead:
    link = parse_link(rtnl.get(*get_link(route.ifindex)))
    first = route.gateway or address
    found = map(parse_neighbour, rtnl.dump(*list_neighbours(route.ifindex)))
    return Lead(
        device=link.name,
        mtu=min(filter(None, (route.mtu, link.mtu))),
        gateway=route.gateway,
        source=route.source,
        known=any(n and n.address == first and n.mac for n in found),
        local=route.type == LOCAL_ADDRESS,
    )
