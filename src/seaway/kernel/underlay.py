"""Where other hosts reach this one, as far as it can tell by itself: at most one address a family.

The device by which it speaks with somebody is one that others reach; if that has an address of the
other family too, it is reached by both. Addresses of ours and link-local ones are none.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from seaway.kernel import netns
from seaway.kernel.messages.address import AddressEntry, list_addresses, parse_address
from seaway.kernel.outside import addressed_devices
from seaway.model.addresses import Address
from seaway.names import ROUTE_PROTOCOL

_ANYWHERE = ("192.0.2.1", "2001:db8::1")  # documentation addresses: whose way is the default route


def towards(address: str) -> tuple[Address, ...]:
    """Of the device that leads to this address; empty: there is no way."""
    source = _source(address)
    return _of_device(source) if source else ()


def default() -> tuple[Address, ...]:
    """Of the device of the default route; without one, of the first that has an address."""
    for somewhere in _ANYWHERE:
        if (source := _source(somewhere)) and (found := _of_device(source)):
            return found
    entries = list(_entries())
    for _, ifindex in addressed_devices():
        if found := _best(e for e in entries if e.ifindex == ifindex):
            return found
    return ()


def _source(address: str) -> Address | None:
    """From which address the kernel would send there; nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 9))
        return ip_address(sock.getsockname()[0].partition("%")[0])
    return None


def _of_device(source: Address) -> tuple[Address, ...]:
    entries = list(_entries())
    devices = {e.ifindex for e in entries if e.address.ip == source}
    others = _best(e for e in entries if e.ifindex in devices)
    own = (source,) if any(e.address.ip == source for e in entries) else ()
    found = (*own, *(a for a in others if a.version != source.version))
    return tuple(sorted(found, key=lambda a: a.version))


def _entries(netns_path: Path | None = None) -> Iterator[AddressEntry]:
    with netns.open_rtnl(netns_path) as rtnl:
        found = [parse_address(body) for body in rtnl.dump(*list_addresses())]
    for entry in filter(None, found):
        ip = entry.address.ip
        if entry.protocol != ROUTE_PROTOCOL and not (ip.is_link_local or ip.is_loopback):
            yield entry


def _best(entries: Iterable[AddressEntry]) -> tuple[Address, ...]:
    """The first of each family, lasting ones before others."""
    found: dict[int, Address] = {}
    for entry in sorted(entries, key=lambda e: e.passing):
        found.setdefault(entry.address.version, entry.address.ip)
    return tuple(found[version] for version in sorted(found))
