"""Neighbours: RTM_NEWNEIGH and its like."""

from __future__ import annotations

import struct
from typing import NamedTuple

from seaway.kernel.messages.fields import family, ip, mac_bytes, mac_text, unpack
from seaway.kernel.rtnl import NLM_F_CREATE, NLM_F_REPLACE, Request, attribute, attributes
from seaway.model.addresses import Address

RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30

_HEAD = struct.Struct("=B3xiHBB")  # family, index, state, flags, type
_PERMANENT = 0x80
_DST, _LLADDR, _IFINDEX = 1, 2, 8


class NeighbourEntry(NamedTuple):
    address: Address
    mac: str
    permanent: bool


def permanent_neighbour(ifindex: int, address: Address, mac: str) -> Request:
    body = _HEAD.pack(family(address), ifindex, _PERMANENT, 0, 0)
    body += attribute(_DST, address.packed) + attribute(_LLADDR, mac_bytes(mac))
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


def list_neighbours(ifindex: int) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`."""
    head = _HEAD.pack(0, 0, 0, 0, 0)
    return RTM_GETNEIGH, head + attribute(_IFINDEX, struct.pack("=I", ifindex))


def parse_neighbour(body: bytes) -> NeighbourEntry | None:
    """None for one that is neither IPv4 nor IPv6."""
    af, _ifindex, state, _flags, _type = unpack(_HEAD, body)
    found = attributes(body, _HEAD.size)
    address = ip(af, found.get(_DST))
    if address is None:
        return None
    return NeighbourEntry(address, mac_text(found.get(_LLADDR, b"")), bool(state & _PERMANENT))
