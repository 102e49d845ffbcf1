"""Routes: RTM_NEWROUTE and its like."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final, NamedTuple

from seaway.kernel.messages.fields import family, ip, number, u32, unpack
from seaway.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    attribute,
    attributes,
    nested,
)
from seaway.model.addresses import Address, Prefix

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
GROUPS: Final = (7, 11)  # of notifications: IPv4, IPv6
UNICAST, LOCAL_ADDRESS, UNREACHABLE = 1, 2, 7
UNIVERSE, LINK, NOWHERE = 0, 253, 255  # scopes
MAIN: Final = 254
LOCAL: Final = 255
KERNEL, BOOT = 2, 3  # protocols: of an interface's network, of what a person sets
BY_RA: Final = 9  # the same: of what a router told

# family, dst length, src length, tos, table, protocol, scope, type, flags
_HEAD = struct.Struct("=BBBBBBBBI")
_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _METRICS, _TABLE = 1, 4, 5, 6, 7, 8, 15
_MULTIPATH = 9
_HOP = struct.Struct("=HBBi")  # length, flags, weight, device
_METRIC_MTU, _METRIC_ADVMSS = 2, 8
_ONLINK, _CLONED = 0x4, 0x200


class RouteEntry(NamedTuple):
    """A route as it is asked for, and as the kernel tells it."""

    dst: Prefix
    ifindex: int = 0  # 0: none
    gateway: Address | None = None
    source: Address | None = None
    type: int = UNICAST
    protocol: int = BOOT
    scope: int = UNIVERSE
    table: int = MAIN
    priority: int = 0
    mtu: int = 0
    advmss: int = 0
    hops: tuple[Address, ...] = ()  # of a route with several; only read


def new_route(route: RouteEntry) -> Request:
    """EEXIST if there is one for the same destination, table and priority."""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, _route(route))


def replace_route(route: RouteEntry) -> Request:
    """Create it, or put it in the place of the one that is there."""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, _route(route))


def delete_route(route: RouteEntry) -> Request:
    """Only one that is the same in all that is said. ESRCH if there is none."""
    return Request(RTM_DELROUTE, 0, _route(route))


def delete_multicast(ifindex: int) -> Request:
    """The one for all IPv6 groups that the kernel gives a device. ESRCH if there is none."""
    groups = ip_network("ff00::/8")
    entry = RouteEntry(groups, ifindex, type=0, protocol=0, scope=NOWHERE, table=LOCAL)
    return delete_route(entry)


def _route(route: RouteEntry) -> bytes:
    table = route.table if route.table < 256 else 0
    flags = _ONLINK if route.gateway and route.ifindex else 0
    head = (family(route.dst), route.dst.prefixlen, 0, 0, table)
    body = [
        _HEAD.pack(*head, route.protocol, route.scope, route.type, flags),
        attribute(_DST, route.dst.network_address.packed),
        u32(_TABLE, route.table),
    ]
    if route.ifindex:
        body.append(u32(_OIF, route.ifindex))
    if route.gateway:
        body.append(attribute(_GATEWAY, route.gateway.packed))
    if route.source:
        body.append(attribute(_PREFSRC, route.source.packed))
    if route.priority:
        body.append(u32(_PRIORITY, route.priority))
    if metrics := _metrics(route):
        body.append(nested(_METRICS, *metrics))
    return b"".join(body)


def _metrics(route: RouteEntry) -> list[bytes]:
    wanted = ((_METRIC_MTU, route.mtu), (_METRIC_ADVMSS, route.advmss))
    return [u32(kind, value) for kind, value in wanted if value]


def list_routes(af: int, protocol: int = 0, table: int = 0, ifindex: int = 0) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`. 0: of every protocol, of every table, by every interface."""
    head = _HEAD.pack(af, 0, 0, 0, table if table < 256 else 0, protocol, 0, 0, 0)
    wanted = ((_TABLE, table), (_OIF, ifindex))
    return RTM_GETROUTE, head + b"".join(u32(kind, value) for kind, value in wanted if value)


def get_route(address: Address) -> tuple[int, bytes]:
    """The arguments of `Rtnl.get`: how the kernel would send there. Refused where it would not."""
    head = _HEAD.pack(family(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return RTM_GETROUTE, head + attribute(_DST, address.packed)


def parse_protocol(body: bytes) -> int:
    """Only who made it, and quickly."""
    return int(unpack(_HEAD, body)[5])


def is_default(body: bytes) -> bool:
    """Whether it leads everywhere, and quickly."""
    return int(unpack(_HEAD, body)[1]) == 0


def parse_route(body: bytes) -> RouteEntry | None:
    """None for one of another family, or for a route that the kernel only remembers."""
    return None if unpack(_HEAD, body)[-1] & _CLONED else parse_answer(body)


def parse_answer(body: bytes) -> RouteEntry | None:
    """To `get_route`: that the kernel would go by it. None for one of another family."""
    af, length, _src, _tos, table, protocol, scope, kind, _flags = unpack(_HEAD, body)
    found = attributes(body, _HEAD.size)
    whole = bytes(4 if af == 2 else 16)
    network = ip(af, found.get(_DST, whole))
    if network is None:
        return None
    metrics = attributes(found.get(_METRICS, b""))
    return RouteEntry(
        dst=ip_network((network, length)),
        ifindex=number(found.get(_OIF)),
        gateway=ip(af, found.get(_GATEWAY)),
        source=ip(af, found.get(_PREFSRC)),
        type=kind,
        protocol=protocol,
        scope=scope,
        table=number(found.get(_TABLE)) or table,
        priority=number(found.get(_PRIORITY)),
        mtu=number(metrics.get(_METRIC_MTU)),
        advmss=number(metrics.get(_METRIC_ADVMSS)),
        hops=tuple(_hops(af, found.get(_MULTIPATH, b""))),
    )


def _hops(af: int, body: bytes) -> Iterator[Address]:
    while len(body) >= _HOP.size:
        length = max(_HOP.unpack_from(body)[0], _HOP.size)
        if hop := ip(af, attributes(body[_HOP.size : length]).get(_GATEWAY)):
            yield hop
        body = body[-(-length // 4) * 4 :]
