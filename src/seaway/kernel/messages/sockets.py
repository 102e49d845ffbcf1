"""Sockets of datagrams that are connected: SOCK_DIAG_BY_FAMILY (linux/inet_diag.h, sock_diag.h)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from seaway.kernel.messages.fields import ip, unpack
from seaway.kernel.rtnl import Request
from seaway.model.addresses import Address

PROTOCOL: Final = 4  # NETLINK_SOCK_DIAG
FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21

_REQUEST = struct.Struct("=BBBxI48s")  # family, protocol, extensions, states, which socket
# family; which socket: its own port, the other's, its address, the other's, …; its inode
_HEAD = struct.Struct("=B3x2s2s16s16s12s16xI")
_CONNECTED = 1 << 1  # TCP_ESTABLISHED, of datagrams too
_NO_STATE = 0
_ANY = bytes(48)


class DatagramSocket(NamedTuple):
    family: int
    id: bytes  # struct inet_diag_sockid: both ends, and the kernel's number for the socket
    target: Address
    port: int
    inode: int


def list_connected(family: int) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`."""
    return SOCK_DIAG_BY_FAMILY, _request(family, _CONNECTED, _ANY)


def list_none() -> tuple[int, bytes]:
    """Asks only whether anything can be asked."""
    return SOCK_DIAG_BY_FAMILY, _request(socket.AF_INET, _NO_STATE, _ANY)


def destroy(found: DatagramSocket) -> Request:
    """Its owner learns it by an error (ECONNABORTED). ENOENT: it is gone."""
    return Request(SOCK_DESTROY, 0, _request(found.family, _CONNECTED, found.id))


def destroy_none() -> Request:
    """ENOENT: there is no such socket; EOPNOTSUPP: this kernel destroys none."""
    return Request(SOCK_DESTROY, 0, _request(socket.AF_INET, _CONNECTED, _ANY))


def _request(family: int, states: int, which: bytes) -> bytes:
    return _REQUEST.pack(family, socket.IPPROTO_UDP, 0, states, which)


def parse_socket(body: bytes) -> DatagramSocket | None:
    """None for one of another family."""
    family, sport, dport, src, dst, rest, inode = unpack(_HEAD, body)
    target = ip(family, dst[:4] if family == socket.AF_INET else dst)
    if target is None:
        return None
    if isinstance(target, IPv6Address) and target.ipv4_mapped:
        target = target.ipv4_mapped
    which = b"".join((sport, dport, src, dst, rest))
    return DatagramSocket(family, which, target, int.from_bytes(dport, "big"), inode)
