"""The host's routes to its endpoints, and the unreachable ones behind them.

An agent without memory knows its own by the route protocol `names.ROUTE_PROTOCOL`. Our subnets
are ours alone: a route that somebody else put in the very place of one of ours is replaced, all
others stay, and so does what the kernel keeps for the network of an interface.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from seaway.kernel import netns
from seaway.kernel.messages.route import (
    KERNEL,
    LINK,
    MAIN,
    NOWHERE,
    UNICAST,
    UNIVERSE,
    UNREACHABLE,
    RouteEntry,
    delete_route,
    list_routes,
    new_route,
    parse_route,
    replace_route,
)
from seaway.kernel.rtnl import Request
from seaway.model.addresses import Prefix
from seaway.model.kernel import Route
from seaway.names import ROUTE_PROTOCOL


class RouteTarget:
    name = "routes"

    def __init__(self, netns_path: Path | None = None) -> None:
        self._rtnl = netns.open_rtnl(netns_path)

    def close(self) -> None:
        self._rtnl.close()

    def read(self) -> dict[Prefix, Route]:
        names: dict[int, str] = {}
        found = {}
        for entry in self._routes(ROUTE_PROTOCOL):
            device = ""
            if entry.type != UNREACHABLE:
                device = names.get(entry.ifindex) or self._rtnl.ifname(entry.ifindex)
                names[entry.ifindex] = device
            found[entry.dst] = Route(entry.dst, device, entry.source)
        return found

    def put(self, objects: Mapping[Prefix, Route]) -> dict[Prefix, OSError]:
        entries, failed = self._entries(objects)
        outcome = self._request([new_route(entry) for entry in entries.values()], entries)
        present = {dst for dst, error in outcome.items() if error.errno == errno.EEXIST}
        failed |= {dst: error for dst, error in outcome.items() if dst not in present}
        if present:
            failed |= self._replace({dst: entries[dst] for dst in present})
        return failed

    def delete(self, keys: set[Prefix]) -> dict[Prefix, OSError]:
        ours = [RouteEntry(dst, type=0, protocol=ROUTE_PROTOCOL, scope=NOWHERE) for dst in keys]
        outcome = self._request([delete_route(entry) for entry in ours], keys)
        return {dst: error for dst, error in outcome.items() if error.errno != errno.ESRCH}

    def _routes(self, protocol: int) -> Iterator[RouteEntry]:
        for af in (socket.AF_INET, socket.AF_INET6):
            for body in self._rtnl.dump(*list_routes(af, protocol, MAIN)):
                entry = parse_route(body)
                if entry and entry.protocol == protocol and entry.table == MAIN:
                    yield entry

    def _entries(
        self, objects: Mapping[Prefix, Route]
    ) -> tuple[dict[Prefix, RouteEntry], dict[Prefix, OSError]]:
        entries: dict[Prefix, RouteEntry] = {}
        failed: dict[Prefix, OSError] = {}
        for dst, route in objects.items():
            ifindex = self._rtnl.ifindex(route.device) if route.device else 0
            if route.device and not ifindex:
                failed[dst] = OSError(errno.ENODEV, f"no interface {route.device} for {dst}")
            else:
                entries[dst] = _entry(route, ifindex)
        return entries, failed

    def _replace(self, entries: Mapping[Prefix, RouteEntry]) -> dict[Prefix, OSError]:
        """Take the place of what is there, unless the kernel keeps it for an interface."""
        kept = {entry.dst for entry in self._routes(KERNEL)}
        failed = {
            dst: OSError(errno.EEXIST, f"an interface of this host is in the network {dst}")
            for dst in entries.keys() & kept
        }
        mine = [entry for dst, entry in entries.items() if dst not in kept]
        outcome = self._request([replace_route(e) for e in mine], [e.dst for e in mine])
        return failed | outcome

    def _request(self, requests: list[Request], keys: Iterable[Prefix]) -> dict[Prefix, OSError]:
        outcome = zip(keys, self._rtnl.request(requests), strict=True)
        return {dst: error for dst, error in outcome if error}


def _entry(route: Route, ifindex: int) -> RouteEntry:
    return RouteEntry(
        dst=route.dst,
        ifindex=ifindex,
        source=route.source,
        type=UNICAST if ifindex else UNREACHABLE,
        protocol=ROUTE_PROTOCOL,
        scope=LINK if ifindex and route.dst.version == 4 else UNIVERSE,
    )
