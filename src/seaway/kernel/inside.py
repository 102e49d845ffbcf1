"""The inside of a container: its interface's addresses, neighbours and routes.

Nothing there is known to be ours but by what an endpoint asks for; so what is found besides is
left alone, and what is missing is added.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seaway.kernel import netns
from seaway.kernel.messages.address import list_addresses, new_address, parse_address
from seaway.kernel.messages.link import UP, LinkEntry, change_mac, get_link, parse_link, set_flags
from seaway.kernel.messages.neighbour import (
    list_neighbours,
    parse_neighbour,
    permanent_neighbour,
)
from seaway.kernel.messages.route import (
    LINK,
    MAIN,
    RouteEntry,
    list_routes,
    new_route,
    parse_route,
)
from seaway.kernel.messages.rule import (
    RuleEntry,
    delete_rule,
    list_rules,
    new_rule,
    parse_rule,
)
from seaway.kernel.rtnl import Request, Rtnl
from seaway.model.addresses import EVERYWHERE, Address, host_prefix
from seaway.model.facts import ExtraRoute
from seaway.model.kernel import Inside
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC, ROUTE_PROTOCOL

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_LOOPBACK = 1  # the ifindex of `lo` in every network namespace
_MOST = 1000  # addresses, neighbours, routes of one interface, each
_OWN_TABLE = 0x53590000  # and the number of the interface: the table of what it answers
_OWN_PRIORITY = 30000  # before the main table, behind whatever a runtime or a plugin made
_IPV6_METRIC = 1024  # what the kernel makes of 0


class Part(NamedTuple):
    """One thing that belongs inside: its name for a person, its mark, and how to make it."""

    name: tuple[object, ...]  # words; put together only when somebody reads them
    mark: object  # equal to one of `_present` if it is there
    request: Request
    shared: bool = False  # another interface of the container may have it instead
    moved: object = None  # its mark where somebody else has put it

    def is_in(self, present: set[object]) -> bool:
        return self.mark in present or self.moved in present

    @property
    def told(self) -> str:
        return " ".join(map(str, self.name))


def configure(rtnl: Rtnl, inside: Inside, ifindex: int) -> None:
    """Add what belongs there, over a socket inside. Raises the first failure; tries all.

    EADDRINUSE: another interface of the container has one of the routes.
    """
    if inside.own_way:
        _forget_rules(rtnl)
    _add(rtnl, inside, ifindex, _parts(inside, ifindex))


def _forget_rules(rtnl: Rtnl) -> None:
    """Those of interfaces that are gone: the kernel keeps them."""
    entries = (parse_address(body) for body in rtnl.dump(*list_addresses(), most=_MOST))
    there = {entry.address.ip for entry in entries if entry}
    rtnl.request([delete_rule(rule) for rule in _rules(rtnl) if rule.source not in there])


def _rules(rtnl: Rtnl) -> list[RuleEntry]:
    """Ours."""
    bodies = (b for af in _FAMILIES for b in rtnl.dump(*list_rules(af), most=_MOST))
    rules = filter(None, map(parse_rule, bodies))
    return [rule for rule in rules if rule.protocol == ROUTE_PROTOCOL]


def _add(rtnl: Rtnl, inside: Inside, ifindex: int, wanted: list[Part]) -> None:
    failures = _make(rtnl, wanted)
    if any(error.errno == errno.EACCES for _, error in failures):
        _enable_ipv6(inside)
        failures = _make(rtnl, wanted)
    if failures:
        failures = _real(rtnl, inside, ifindex, failures)
    for part, error in failures:
        taken = error.errno == errno.EEXIST and part.name[0] == "route"
        number = errno.EADDRINUSE if taken else error.errno
        raise OSError(number, f"{part.told} in the container: {error.strerror}")


def check(inside: Inside) -> list[str]:
    """What is wrong, in words; empty if nothing, or if there is too much to look through."""
    try:
        with netns.entered(inside) as (_, rtnl):
            ifindex = rtnl.ifindex(inside.name)
            if not ifindex:
                return [f"interface {inside.name} is missing in the container"]
            entry = parse_link(rtnl.get(*get_link(ifindex)))
            return _problems(rtnl, inside, entry)
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            return []
        return [f"network namespace {inside.netns}: {error.strerror}"]


def repair(inside: Inside) -> None:
    """Bring the container's interface to what it should be.

    ENODEV: there is none; EMSGSIZE: it has so much that it is left alone.
    """
    with netns.entered(inside) as (_, rtnl):
        ifindex = rtnl.ifindex(inside.name)
        if not ifindex:
            raise OSError(errno.ENODEV, f"interface {inside.name} is missing in the container")
        if parse_link(rtnl.get(*get_link(ifindex))).mac != inside.mac:
            rtnl.one(change_mac(ifindex, inside.mac))
        present = _present(rtnl, inside, ifindex)
        missing = [part for part in _parts(inside, ifindex) if not part.is_in(present)]
        _add(rtnl, inside, ifindex, missing)


def _problems(rtnl: Rtnl, inside: Inside, entry: LinkEntry) -> list[str]:
    present = _present(rtnl, inside, entry.ifindex)
    problems = [
        f"interface {inside.name}: {part.told} is missing"
        for part in _parts(inside, entry.ifindex)
        if not part.is_in(present) and not part.shared
    ]
    if entry.mac != inside.mac:
        problems.append(f"interface {inside.name} has MAC {entry.mac}, expected {inside.mac}")
    return problems


def _make(rtnl: Rtnl, wanted: list[Part]) -> list[tuple[Part, OSError]]:
    outcome = rtnl.request([part.request for part in wanted])
    return [(part, error) for part, error in zip(wanted, outcome, strict=True) if error]


def _real(
    rtnl: Rtnl, inside: Inside, ifindex: int, failures: list[tuple[Part, OSError]]
) -> list[tuple[Part, OSError]]:
    """Leave out what failed only because it is there already, on this interface."""
    try:
        present = _present(rtnl, inside, ifindex)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return [(part, error) for part, error in failures if error.errno != errno.EEXIST]
    return [
        (part, error)
        for part, error in failures
        if not (error.errno == errno.EEXIST and (part.shared or part.mark in present))
    ]


def _parts(inside: Inside, ifindex: int) -> list[Part]:
    """All that belongs inside, in the order in which the kernel takes it."""
    versions = {address.version for address in inside.addresses}
    gateways = [g for g in (GATEWAY4, GATEWAY6) if g.version in versions]
    return [
        *(Part(("address", a), a, new_address(ifindex, a)) for a in inside.addresses),
        Part(("the flag UP",), (ifindex, UP), set_flags(ifindex, UP)),
        Part(("a loopback that is up",), (_LOOPBACK, UP), set_flags(_LOOPBACK, UP)),
        *_neighbours(inside, gateways, ifindex),
        *(_gateway_route(g, ifindex) for g in gateways if g.version == 4),
        *(_route_part(r) for r in _routes(inside, gateways, ifindex)),
        *(_own_way(inside, gateways, ifindex) if inside.own_way else ()),
    ]


def _own_way(inside: Inside, gateways: list[Address], ifindex: int) -> Iterator[Part]:
    """A table that leads everywhere by this interface, for what its addresses send."""
    table = _OWN_TABLE + ifindex
    for gateway in gateways:
        route = RouteEntry(EVERYWHERE[gateway.version], ifindex, gateway, table=table)
        yield _route_part(route)._replace(moved=None)
    for address in inside.addresses:
        rule = RuleEntry(address.ip, table, _OWN_PRIORITY, ROUTE_PROTOCOL)
        yield Part(("rule for", address.ip), rule, new_rule(rule))


def _neighbours(inside: Inside, gateways: list[Address], ifindex: int) -> Iterator[Part]:
    """Every next hop is this host: nobody needs to be asked for its MAC."""
    explicit = (route.gateway for route in inside.routes if route.gateway)
    for address in dict.fromkeys((*gateways, *explicit)):
        request = permanent_neighbour(ifindex, address, GATEWAY_MAC)
        yield Part(("neighbour", address), (address, GATEWAY_MAC), request)


def _gateway_route(gateway: Address, ifindex: int) -> Part:
    """A container with two of our interfaces has it once; their routes work all the same."""
    route = RouteEntry(host_prefix(gateway), ifindex, scope=LINK)
    part = _route_part(route)
    return part._replace(shared=True)


def _routes(inside: Inside, gateways: list[Address], ifindex: int) -> Iterator[RouteEntry]:
    by_version = {gateway.version: gateway for gateway in gateways}
    for extra in inside.routes:
        yield _extra_route(extra, extra.gateway or by_version.get(extra.dst.version), ifindex)
    if not inside.default_route:
        return
    own = {r.dst.version for r in inside.routes if r.dst.prefixlen == 0 and r.table in (0, MAIN)}
    for gateway in gateways:
        if gateway.version not in own:
            yield RouteEntry(EVERYWHERE[gateway.version], ifindex, gateway)


def _extra_route(extra: ExtraRoute, gateway: Address | None, ifindex: int) -> RouteEntry:
    if extra.scope == LINK and extra.gateway is None:
        gateway = None
    return RouteEntry(
        dst=extra.dst,
        ifindex=ifindex,
        gateway=gateway,
        scope=extra.scope or 0,
        table=extra.table or MAIN,
        priority=extra.priority,
        mtu=extra.mtu,
        advmss=extra.advmss,
    )


def _route_part(route: RouteEntry) -> Part:
    name = ("route", route.dst, "via", route.gateway) if route.gateway else ("route", route.dst)
    return Part(name, _route_mark(route), new_route(route), moved=_moved_mark(route))


def _route_mark(route: RouteEntry) -> tuple[object, ...]:
    """A route's place among the others, and its next hop."""
    priority = route.priority
    if route.dst.version == 6 and priority == 0:
        priority = _IPV6_METRIC
    return (route.dst, route.table, priority, route.ifindex, route.gateway)


def _moved_mark(route: RouteEntry) -> tuple[object, ...]:
    """A chained CNI plugin (sbr) may move our routes to a table of its own."""
    return (route.dst, route.ifindex, route.gateway)


def _present(rtnl: Rtnl, inside: Inside, ifindex: int) -> set[object]:
    """The marks of all that is on this interface.

    A container has as much as it likes, and the loop waits: EMSGSIZE where it is too much.
    """
    present: set[object] = set(_rules(rtnl) if inside.own_way else ())
    for index in (_LOOPBACK, ifindex):
        entry = parse_link(rtnl.get(*get_link(index)))
        present.add((index, entry.flags & UP))
    for body in rtnl.dump(*list_addresses(ifindex), most=_MOST):
        address = parse_address(body)
        if address:
            present.add(address.address)
    for body in rtnl.dump(*list_neighbours(ifindex), most=_MOST):
        neighbour = parse_neighbour(body)
        if neighbour and neighbour.permanent:
            present.add((neighbour.address, neighbour.mac))
    for af in _FAMILIES:
        for body in rtnl.dump(*list_routes(af, ifindex=ifindex), most=_MOST):
            route = parse_route(body)
            if route:
                present |= {_route_mark(route), _moved_mark(route)}
    return present


def _enable_ipv6(inside: Inside) -> None:
    """Some runtimes forbid IPv6 in a new namespace until somebody asks for it: we do."""
    knob = Path("/proc/sys/net/ipv6/conf") / inside.name / "disable_ipv6"
    with netns.entered(inside) as (descriptor, _):
        netns.visit(descriptor, lambda: knob.write_text("0"))
