"""Sockets that are connected: SOCK_DIAG_BY_FAMILY (linux/inet_diag.h, sock_diag.h)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from seaway.kernel.messages.fields import ip, u32, unpack
from seaway.kernel.rtnl import Request, attributes, nested
from seaway.model.addresses import Address

PROTOCOL: Final = 4  # NETLINK_SOCK_DIAG
FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21

_REQUEST = struct.Struct("=BBBxI48s")  # family, protocol, extensions, states, which socket
# family; which socket: its own port, the other's, its address, the other's, …; its inode
_HEAD = struct.Struct("=B3x2s2s16s16s12s16xI")
_CONNECTED = 1 << 1  # TCP_ESTABLISHED, of datagrams too
# Of TCP besides: SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT.
_OPEN = _CONNECTED | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8
_NO_STATE = 0
_ANY = bytes(48)
# Of a request, and in what is told: what a map of the kind SK_STORAGE has of a socket.
_REQ_STORAGES, _REQ_MAP, _STORAGES, _STORAGE, _VALUE = 2, 1, 20, 1, 3


class Socket(NamedTuple):
    family: int
    protocol: int
    id: bytes  # struct inet_diag_sockid: both ends, and the kernel's number for the socket
    target: Address
    port: int
    inode: int
    stored: bytes  # in the map that was asked for; empty: nothing


def list_connected(family: int) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`."""
    return SOCK_DIAG_BY_FAMILY, _request(family, _CONNECTED, _ANY)


def list_storing(family: int, protocol: int, port: int, storage: int) -> tuple[int, bytes]:
    """The same of those that have this port for their target (0: any), with what a map (its
    descriptor) stores of each.
    """
    which = bytes(2) + port.to_bytes(2, "big") + _ANY[4:]
    stored = nested(_REQ_STORAGES, u32(_REQ_MAP, storage))
    return SOCK_DIAG_BY_FAMILY, _request(family, _OPEN, which, protocol) + stored


def list_none() -> tuple[int, bytes]:
    """Asks only whether anything can be asked."""
    return SOCK_DIAG_BY_FAMILY, _request(socket.AF_INET, _NO_STATE, _ANY)


def destroy(found: Socket) -> Request:
    """Its owner learns it by an error (ECONNABORTED). ENOENT: it is gone."""
    return Request(SOCK_DESTROY, 0, _request(found.family, _OPEN, found.id, found.protocol))


def destroy_none() -> Request:
    """ENOENT: there is no such socket; EOPNOTSUPP: this kernel destroys none."""
    return Request(SOCK_DESTROY, 0, _request(socket.AF_INET, _CONNECTED, _ANY))


def _request(family: int, states: int, which: bytes, protocol: int = socket.IPPROTO_UDP) -> bytes:
    return _REQUEST.pack(family, protocol, 0, states, which)


def parse_socket(body: bytes, protocol: int = socket.IPPROTO_UDP) -> Socket | None:
    """Of a listing of that protocol. None for one of another family."""
    family, sport, dport, src, dst, rest, inode = unpack(_HEAD, body)
    target = ip(family, dst[:4] if family == socket.AF_INET else dst)
    if target is None:
        return None
    if isinstance(target, IPv6Address) and target.ipv4_mapped:
        target = target.ipv4_mapped
    which = b"".join((sport, dport, src, dst, rest))
    port = int.from_bytes(dport, "big")
    return Socket(family, protocol, which, target, port, inode, _stored(body))


def _stored(body: bytes) -> bytes:
    maps = attributes(attributes(body, _HEAD.size).get(_STORAGES, b""))
    return attributes(maps.get(_STORAGE, b"")).get(_VALUE, b"")
