"""One attachment in both languages: CNI's wishes as an endpoint's request, the endpoint as CNI's
result, and a result as what a CHECK looks for. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product

from msgspec.structs import replace

from seaway.doors.cni_config import Header, Wishes
from seaway.doors.cni_env import Attachment, Environment
from seaway.doors.cni_result import Dns, Ip, Link, Result, Route, links_of, merged
from seaway.errors import Invalid
from seaway.model.addresses import EVERYWHERE, Address, Prefix
from seaway.model.facts import Endpoint, ExtraRoute, Publication, endpoint_id
from seaway.model.requests import Listed, NewEndpoint
from seaway.names import DOMAIN, GATEWAY4, GATEWAY6, GATEWAY_MAC, link_name, short_name

DOOR = "cni"
_LONGEST_NAME = 128
_FIRST_INTERFACE = "eth0"
_HOST, _INSIDE = 0, 1  # the places of our two interfaces in a result


def id_of(attachment: Attachment) -> str:
    return endpoint_id(attachment.container, attachment.interface)


def name_of(attachment: Attachment, given: str = "") -> str:
    """As people know the container; further interfaces say which."""
    container, interface = attachment.container, attachment.interface
    name = given or short_name(container)
    if interface != _FIRST_INTERFACE:
        name += "-" + re.sub(r"[^A-Za-z0-9_.-]", "-", interface)
    return name if len(name) <= _LONGEST_NAME else id_of(attachment)


def requests_of(
    call: Environment, header: Header, wishes: Wishes, foreign: Result | None
) -> Iterator[NewEndpoint]:
    """One for each choice among given ranges; another IPAM's word (`foreign`) is the last."""
    request = NewEndpoint(
        netns=call.netns,
        network=header.network,
        container=call.attachment.container,
        interface=call.attachment.interface,
        name=name_of(call.attachment, wishes.name),
        mac=wishes.mac,
        mtu=wishes.mtu,
        labels=wishes.labels,
        aliases=wishes.aliases,
        ports=wishes.ports,
        ingress_rate=wishes.bandwidth.ingress_rate,
        ingress_burst=wishes.bandwidth.ingress_burst,
        egress_rate=wishes.bandwidth.egress_rate,
        egress_burst=wishes.bandwidth.egress_burst,
        default_route=not _has_default(wishes.previous),
        door=DOOR,
        door_network=header.name,
    )
    if foreign is None:
        request = replace(request, addresses=wishes.addresses)
        yield from (replace(request, ranges=chosen) for chosen in product(*wishes.ranges))
        return
    yield replace(
        request,
        foreign=tuple(ip.address for ip in foreign.ips),
        routes=tuple(_extra_route(route, foreign) for route in foreign.routes),
        default_route=request.default_route and _has_default(foreign),
    )


def _has_default(result: Result | None) -> bool:
    return result is not None and any(route.dst.prefixlen == 0 for route in result.routes)


def _extra_route(route: Route, result: Result) -> ExtraRoute:
    """Without a gateway of its own, a route takes that of the address of its family."""
    gateways = (ip.gateway for ip in result.ips if ip.address.version == route.dst.version)
    return ExtraRoute(
        dst=route.dst,
        gateway=route.gw or next(gateways, None),
        mtu=route.mtu,
        advmss=route.advmss,
        priority=route.priority,
        table=route.table or 0,
        scope=route.scope,
    )


def result_of(
    endpoint: Endpoint, call: Environment, subnets: tuple[Prefix, ...], foreign: Result | None
) -> Result:
    """The host's side of the veth, and the container's with its addresses and routes."""
    gateways = {ip.address: ip.gateway for ip in foreign.ips} if foreign else {}
    links = (
        Link(name=link_name(endpoint.id), mac=GATEWAY_MAC, mtu=endpoint.mtu),
        Link(name=endpoint.interface, mac=endpoint.mac, mtu=endpoint.mtu, sandbox=call.netns),
    )
    ips = tuple(
        Ip(address=a, gateway=gateways.get(a) or _gateway(a.version), link=_INSIDE)
        for a in endpoint.addresses
    )
    return Result(
        links=links,
        ips=ips,
        routes=tuple(_routes(endpoint, subnets)),
        dns=foreign.dns if foreign else Dns(),
    )


def answer_of(own: Result, wishes: Wishes, resolver: Dns) -> Result:
    """The configuration's word on DNS goes before an IPAM plugin's; a chain goes on. Where none of
    them says anything, names are asked of our resolver.
    """
    dns = own.dns if wishes.dns == Dns() else wishes.dns
    told = Result(links=own.links, ips=own.ips, routes=own.routes, dns=dns)
    whole = told if wishes.previous is None else merged(wishes.previous, told)
    return replace(whole, dns=resolver) if whole.dns == Dns() else whole


def dns_of(endpoint: Endpoint, resolvers: Iterable[Address]) -> Dns:
    """Of one that reaches the resolver: where another interface leads to everywhere, who answers
    there is another's affair.
    """
    if not endpoint.default_route:
        return Dns()
    families = {interface.version for interface in endpoint.addresses}
    return Dns(
        nameservers=tuple(str(a) for a in resolvers if a.version in families),
        search=(f"{endpoint.network}.{DOMAIN}",),
    )


def _gateway(version: int) -> Address:
    return GATEWAY4 if version == GATEWAY4.version else GATEWAY6


def _routes(endpoint: Endpoint, subnets: tuple[Prefix, ...]) -> Iterator[Route]:
    """Those of its own, and the default ones or, behind another interface's, the network's."""
    versions = sorted({a.version for a in endpoint.addresses})
    own = {r.dst for r in endpoint.routes if not r.table}
    everywhere = [EVERYWHERE[v] for v in versions]
    for dst in everywhere if endpoint.default_route else subnets:
        if dst not in own and dst.version in versions:
            yield Route(dst=dst, gw=_gateway(dst.version))
    for route in endpoint.routes:
        yield Route(
            dst=route.dst,
            gw=route.gateway or _gateway(route.dst.version),
            mtu=route.mtu,
            advmss=route.advmss,
            priority=route.priority,
            table=route.table or None,
            scope=route.scope,
        )


def listed_of(
    previous: Result | None, interface: str, ports: tuple[Publication, ...] = ()
) -> Listed:
    """What of an interface a runtime's last result lists, and the ports that it published."""
    if previous is None:
        raise Invalid("prevResult is missing", "expected the result of the ADD")
    places = set(links_of(previous, interface))
    if not places:
        raise Invalid(
            f"prevResult does not list interface '{interface}' of the container",
            "expected the result of the ADD",
        )
    addresses = (ip.address.ip for ip in previous.ips if ip.link is None or ip.link in places)
    return Listed(
        mac=next(previous.links[i].mac for i in places).lower(),
        addresses=frozenset(addresses),
        destinations=frozenset(route.dst for route in previous.routes),
        ports=frozenset(ports),
    )
