"""Addresses of interfaces: RTM_NEWADDR and its like."""

from __future__ import annotations

import struct
from ipaddress import ip_interface
from typing import Final, NamedTuple

from seaway.kernel.messages.fields import family, ip, number, unpack
from seaway.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    attribute,
    attributes,
)
from seaway.model.addresses import Interface

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
GROUPS: Final = (5, 9)  # of notifications: IPv4, IPv6
SCOPE_UNIVERSE: Final = 0

_HEAD = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_NODAD = 0x02
_TEMPORARY, _DEPRECATED = 0x01, 0x20  # the first is another thing for IPv4
_ADDRESS, _LOCAL, _FLAGS, _PROTO = 1, 2, 8, 11


class AddressEntry(NamedTuple):
    ifindex: int
    address: Interface
    protocol: int  # who made it; 0: nobody said
    passing: bool = False  # it changes by itself, or is used no more: nobody is told of it


def new_address(ifindex: int, address: Interface) -> Request:
    """Without duplicate address detection: our addresses are unique already. EEXIST if there."""
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address(ifindex, address))


def put_address(ifindex: int, address: Interface, protocol: int) -> Request:
    """The same, by this maker, and no error if it is there."""
    body = _address(ifindex, address) + attribute(_PROTO, bytes([protocol]))
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body)


def delete_address(ifindex: int, address: Interface) -> Request:
    return Request(RTM_DELADDR, 0, _address(ifindex, address))


def _address(ifindex: int, address: Interface) -> bytes:
    flags = _NODAD if address.version == 6 else 0
    length = address.network.prefixlen
    packed = address.ip.packed
    head = _HEAD.pack(family(address), length, flags, SCOPE_UNIVERSE, ifindex)
    return head + attribute(_LOCAL, packed) + attribute(_ADDRESS, packed)


def list_addresses(ifindex: int = 0) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`. 0: of every interface."""
    return RTM_GETADDR, _HEAD.pack(0, 0, 0, 0, ifindex)


def parse_address(body: bytes) -> AddressEntry | None:
    """None for one that is neither IPv4 nor IPv6."""
    af, length, flags, _scope, ifindex = unpack(_HEAD, body)
    found = attributes(body, _HEAD.size)
    address = ip(af, found.get(_LOCAL) or found.get(_ADDRESS))
    if address is None:
        return None
    protocol = found.get(_PROTO) or b"\0"
    flags = number(found.get(_FLAGS)) or flags
    passing = bool(flags & (_DEPRECATED if address.version == 4 else _DEPRECATED | _TEMPORARY))
    return AddressEntry(ifindex, ip_interface((address, length)), protocol[0], passing)
