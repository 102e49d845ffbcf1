"""What each endpoint asks for: its veth, its programs, its map entries and its routes.

Everything but the veth itself needs the number that the kernel gave it, so it waits for the
observed fact `Attached`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b

from seaway.bpf import abi
from seaway.desired.network import overlay
from seaway.desired.network.networks import is_of_services
from seaway.desired.network.shapers import is_tried
from seaway.desired.transport.bandwidth import bandwidth_of
from seaway.desired.transport.node_ports import stands_behind
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import EVERYWHERE, Address, Prefix, address_of, host_prefix, own_prefix
from seaway.model.facts import (
    Attached,
    Block,
    Cluster,
    Endpoint,
    ExtraRoute,
    Host,
    Network,
    Overlay,
    Peer,
)
from seaway.model.kernel import HOOKS, OVERLAY_HOOKS, Attachment, Inside, Link, Route
from seaway.model.requests import Listed
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC, OVERLAY_DEVICE, link_name


def inside_of(endpoint: Endpoint, network: Network) -> Inside:
    """Where another interface has the default route, this one routes its own network, and what its
    addresses answer: who asks a published port hears from that.
    """
    own = () if endpoint.default_route else tuple(ExtraRoute(dst=s) for s in network.subnets)
    return Inside(
        netns=endpoint.netns,
        netns_inode=endpoint.netns_inode,
        name=endpoint.interface,
        mac=endpoint.mac,
        addresses=endpoint.addresses,
        default_route=endpoint.default_route,
        routes=endpoint.routes + own,
        netns_cookie=endpoint.netns_cookie,
        own_way=not endpoint.default_route,
    )


def narrowed(inside: Inside, listed: Listed) -> Inside:
    """Only what is listed; a default route may be listed for one family alone."""
    gateways: tuple[Address, ...] = (GATEWAY4, GATEWAY6) if inside.default_route else ()
    defaults = (ExtraRoute(dst=EVERYWHERE[g.version], gateway=g) for g in gateways)
    versions = {a.version for a in inside.addresses}
    own = {r.dst for r in inside.routes}
    routes = (*inside.routes, *(d for d in defaults if d.dst not in own))
    return replace(
        inside,
        mac=listed.mac or inside.mac,
        addresses=tuple(a for a in inside.addresses if a.ip in listed.addresses),
        default_route=False,
        own_way=False,
        routes=tuple(
            r for r in routes if r.dst in listed.destinations and r.dst.version in versions
        ),
    )


def _link(name: str, view: View) -> Link | None:
    for endpoint in view.where(Endpoint, "link", name):
        network = view.get(Network, endpoint.network)
        if network:
            inside = inside_of(endpoint, network)
            return Link(name=name, mac=GATEWAY_MAC, mtu=endpoint.mtu, inside=inside)
    return None


LINKS = Derivation("links", (Source(Endpoint, lambda e: [link_name(e.id)]),), _link)


def _attachment(key: tuple[str, str], view: View) -> Attachment | None:
    device, hook = key
    if device == OVERLAY_DEVICE:
        there = view.get(Overlay, "host")
        return Attachment(device, there.ifindex, hook, OVERLAY_HOOKS[hook]) if there else None
    for endpoint in view.where(Endpoint, "link", device):
        attached = view.get(Attached, endpoint.id)
        if attached:
            return Attachment(device, attached.ifindex, hook, HOOKS[hook])
    return None


ATTACHMENTS = Derivation(
    "attachments",
    (
        Source(Attached, lambda a: [(link_name(a.endpoint), hook) for hook in HOOKS]),
        Source(Overlay, lambda _: [(OVERLAY_DEVICE, hook) for hook in OVERLAY_HOOKS]),
    ),
    _attachment,
)


def container_number(endpoint: Endpoint) -> int:
    """The same for every interface of one container: what anti-spoofing compares.

    Of its network namespace too: whoever attaches chooses the name, also another container's.
    """
    named = f"{endpoint.netns_inode}\0{endpoint.container}".encode()
    return int.from_bytes(blake2b(named, digest_size=8).digest(), "little")


def _record(endpoint: Endpoint, view: View) -> abi.Endpoint | None:
    attached = view.get(Attached, endpoint.id)
    network = view.get(Network, endpoint.network)
    if not attached or not network:
        return None
    return abi.Endpoint(
        container=container_number(endpoint),
        ifindex=attached.ifindex,
        network=network.number,
        identity=endpoint.identity,
        flags=_flags(endpoint, network, view),
        mtu=endpoint.mtu,
        mac=bytes.fromhex(endpoint.mac.replace(":", "")),
    )


def _flags(endpoint: Endpoint, network: Network, view: View) -> int:
    published = endpoint.ports or stands_behind(endpoint, view)
    into, out = bandwidth_of(endpoint, view)
    if into.service or out.service:
        view.ask("shapers", link_name(endpoint.id))
    tried = (into.rate or out.rate) and is_tried(endpoint, view)
    return (
        (abi.ENDPOINT_OPEN if network.open else 0)
        | (0 if network.host_access else abi.ENDPOINT_HOST_CLOSED)
        | (abi.ENDPOINT_LINK_LOCAL if network.link_local else 0)
        | (abi.ENDPOINT_PUBLISHED if published else 0)
        | (abi.ENDPOINT_SHAPED_IN if tried and into.rate else 0)
        | (abi.ENDPOINT_SHAPED_OUT if tried and out.rate else 0)
    )


def _by_address(address: Address, view: View) -> abi.Endpoint | None:
    for endpoint in view.where(Endpoint, "address", address):
        return _record(endpoint, view)
    return None


ENDPOINTS = Derivation(
    "endpoints", (Source(Endpoint, lambda e: map(address_of, e.addresses)),), _by_address
)


def _by_interface(ifindex: int, view: View) -> abi.Endpoint | None:
    for attached in view.where(Attached, "ifindex", ifindex):
        endpoint = view.get(Endpoint, attached.endpoint)
        if endpoint:
            return _record(endpoint, view)
    return None


INTERFACES = Derivation("interfaces", (Source(Attached, lambda a: [a.ifindex]),), _by_interface)


def _destinations(fact: Endpoint) -> Iterable[Prefix]:
    return map(own_prefix, fact.addresses)


def _route(dst: Prefix, view: View) -> Route | None:
    """To an endpoint through its veth, to what another host has by the overlay; to the rest of a
    subnet of ours, and to VIPs: unreachable.
    """
    if dst.prefixlen == dst.max_prefixlen:
        for endpoint in view.where(Endpoint, "address", dst.network_address):
            if not view.get(Attached, endpoint.id):
                return None
            return Route(dst, link_name(endpoint.id), _source(dst, view))
    if overlay.holder(dst, view) and view.get(Overlay, "host"):
        return Route(dst, OVERLAY_DEVICE, _source(dst, view))
    if view.where(Network, "subnet", dst) or is_of_services(dst, view):
        return Route(dst, "")
    return None


def _source(dst: Prefix, view: View) -> Address | None:
    """The host speaks to its containers from its address in the cluster."""
    for host in view.all(Host):
        for address in host.addresses:
            if address.version == dst.version:
                return address
    return None


ROUTES = Derivation(
    "routes",
    (
        Source(Endpoint, _destinations),
        Source(Network, lambda n: n.subnets),
        Source(Cluster, lambda c: c.service_subnets),
        Source(Block, lambda b: [b.prefix]),
        Source(Peer, lambda p: map(host_prefix, p.addresses)),
    ),
    _route,
)
