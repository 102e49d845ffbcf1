"""Who is at the other end of the socket, and what he may do.

root changes, members of the group `seaway` read. The kernel tells user and groups as they
were when the peer connected, so nothing that the peer says is believed.
"""

from __future__ import annotations

import array
import grp
import socket
import struct
from dataclasses import dataclass

from seaway import names
from seaway.errors import Forbidden

_SO_PEERGROUPS = 59  # not in Python's socket module; the same on x86-64 and arm64
_UCRED = struct.Struct("=iII")  # pid, uid, gid
_MOST_GROUPS = 65536  # NGROUPS_MAX


@dataclass(frozen=True)
class Peer:
    uid: int
    groups: frozenset[int]  # the main group and the supplementary ones

    def must_read(self, readers: int | None) -> None:
        """`readers` is the number of the group `seaway`; None where there is no such group."""
        if self.uid != 0 and readers not in self.groups:
            raise Forbidden(
                f"user {self.uid} may not read from this agent",
                f"use root, or become a member of group {names.GROUP}",
            )

    def must_change(self) -> None:
        if self.uid != 0:
            raise Forbidden(f"user {self.uid} may not change this network", "use root")


def peer_of(connection: socket.socket) -> Peer:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, gid = _UCRED.unpack(credentials)
    groups = array.array("I", _supplementary(connection))
    return Peer(uid, frozenset({gid, *groups}))


def _supplementary(connection: socket.socket) -> bytes:
    size = 64
    while True:
        try:
            return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, size)
        except OSError as error:  # ERANGE: more groups than that
            if size >= 4 * _MOST_GROUPS:
                raise Forbidden(f"the groups of the peer cannot be read: {error}") from error
            size *= 8


def readers() -> int | None:
    """The number of the group whose members may read; None where there is none."""
    try:
        return grp.getgrnam(names.GROUP).gr_gid
    except KeyError:
        return None
