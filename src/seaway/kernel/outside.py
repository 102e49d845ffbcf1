"""By which devices others reach this host, and it them. Only read."""

from __future__ import annotations

import errno
from functools import cache, partial
from pathlib import Path

from seaway.kernel import netns
from seaway.kernel.host import routes, uplink_mtu
from seaway.kernel.messages.address import list_addresses, parse_address
from seaway.kernel.messages.link import (
    ETHERNET,
    LOOPBACK,
    UP,
    LinkEntry,
    get_link,
    list_links,
    parse_link,
    parse_master,
)
from seaway.kernel.messages.route import BY_RA, LOCAL, UNICAST, RouteEntry
from seaway.kernel.rtnl import Rtnl
from seaway.model.addresses import Interface
from seaway.model.facts import Uplinks
from seaway.model.reports import Finding
from seaway.names import LINK_PREFIX, ROUTE_PROTOCOL

_IPV6 = Path("/proc/sys/net/ipv6")
_OF_CONTAINERS = frozenset(("veth", "tun", "vxlan", "dummy"))  # or of machines that are virtual
_ROUTER = "vrf"  # the one kind of master whose devices still are addressed themselves


def uplinks(netns_path: Path | None = None) -> Uplinks:
    """How this host reaches others, and they it."""
    known = known_addresses(netns_path)
    return Uplinks(
        ipv6=_IPV6.exists(),
        by_advertisement=tuple(learnt_by_ra(netns_path)),
        devices=tuple(addressed_devices(netns_path)),
        addresses=frozenset(address.ip for address in known),
        segments=frozenset(a.network for a in known if a.network.num_addresses > 1),
        mtu=uplink_mtu(netns_path),
    )


def known_addresses(netns_path: Path | None = None) -> list[Interface]:
    """By which others may know this host, in the long run.

    Not by those of bridges that lead to containers alone (docker0), nor by one that the host
    changes by itself. Ours are of the cluster.
    """
    with netns.open_rtnl(netns_path) as rtnl:
        entries = (parse_address(body) for body in rtnl.dump(*list_addresses()))
        leads = cache(partial(_leads_outside, rtnl))
        return [
            entry.address
            for entry in entries
            if entry
            and entry.protocol != ROUTE_PROTOCOL
            and not (entry.passing or entry.address.is_loopback or entry.address.is_link_local)
            and leads(entry.ifindex)
        ]


def _leads_outside(rtnl: Rtnl, ifindex: int) -> bool:
    """Where nothing tells that a device leads nowhere else, it does: `lo` has addresses for all."""
    body = link_if_there(rtnl, ifindex)
    if body is None or _serves(rtnl, parse_master(body)):
        return False
    link = parse_link(body)
    if link.hardware in (ETHERNET, LOOPBACK) and not _is_inside(rtnl, link):
        return True
    found = (route for route in routes(rtnl, ifindex=ifindex) if route.type == UNICAST)
    return any(route.gateway or not route.dst.prefixlen for route in found)


def _is_inside(rtnl: Rtnl, link: LinkEntry) -> bool:
    """Whether it is a bridge with no device that could be a wire."""
    if link.kind != "bridge":
        return False
    ports = map(parse_link, rtnl.dump(*list_links(master=link.ifindex)))
    return all(port.kind in _OF_CONTAINERS for port in ports)


def addressed_devices(netns_path: Path | None = None) -> list[tuple[str, int]]:
    """Ethernet devices with an address: not ours, and none that serves another device alone.

    What a port of a bridge gets, or a device in a bond, comes by the bridge or the bond.
    """
    with netns.open_rtnl(netns_path) as rtnl:
        entries = (parse_address(body) for body in rtnl.dump(*list_addresses()))
        found = {entry.ifindex for entry in entries if entry}
        serves = cache(partial(_serves, rtnl))
        bodies = filter(None, (link_if_there(rtnl, ifindex) for ifindex in found))
        return sorted(
            (link.name, link.ifindex)
            for body in bodies
            if (link := parse_link(body)).hardware == ETHERNET
            and not link.name.startswith(LINK_PREFIX)
            and not serves(parse_master(body))
        )


def findings(netns_path: Path | None = None) -> list[Finding]:
    """For `seaway doctor`."""
    names = deaf_devices(netns_path)
    if not names:
        return []
    return [
        Finding(
            check="uplinks",
            level="warning",
            found=f"{', '.join(names)}: not Ethernet; who comes by it reaches no published port",
            advice="let them ask by another device, or a proxy of this host that asks 127.0.0.1",
        )
    ]


def deaf_devices(netns_path: Path | None = None) -> list[str]:
    """Devices without Ethernet (WireGuard, PPP, TUN) by which others may come all the same: our
    programs take no packets without a link-layer header.
    """
    with netns.open_rtnl(netns_path) as rtnl:
        addresses = (parse_address(body) for body in rtnl.dump(*list_addresses()))
        used = {a.ifindex for a in addresses if a and not a.address.ip.is_link_local}
        used |= {route.ifindex for route in routes(rtnl) if _leads_out(route)}
        links = map(parse_link, rtnl.dump(*list_links()))
        return sorted(
            link.name
            for link in links
            if link.ifindex in used
            and link.hardware not in (ETHERNET, LOOPBACK)
            and link.flags & UP
        )


def _leads_out(route: RouteEntry) -> bool:
    """Whether somebody made it: the kernel gives every device some of its own."""
    private = route.dst.is_multicast or route.dst.is_link_local
    return route.table != LOCAL and not private


def _serves(rtnl: Rtnl, master: int) -> bool:
    """Whether who has this master (0: none) is no device of the host's by itself."""
    found = link_if_there(rtnl, master) if master else None
    return found is not None and parse_link(found).kind != _ROUTER


def link_if_there(rtnl: Rtnl, ifindex: int) -> bytes | None:
    """None: it went away meanwhile."""
    try:
        return rtnl.get(*get_link(ifindex))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None


def learnt_by_ra(netns_path: Path | None = None) -> list[str]:
    """Devices whose default route a router told: forwarding would end that (accept_ra=2)."""
    with netns.open_rtnl(netns_path) as rtnl:
        told = routes(rtnl, BY_RA)
        devices = {e.ifindex for e in told if e.dst.prefixlen == 0 and e.ifindex}
        return sorted(filter(None, (rtnl.ifname(ifindex) for ifindex in devices)))
