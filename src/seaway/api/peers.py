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
_MOST_BYTES = 1024  # that Python's getsockopt takes: 256 groups


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

    def must_read_all(self) -> None:
        if self.uid != 0:
            raise Forbidden(f"user {self.uid} may not read the whole state", "use root")

    def must_change(self) -> None:
        if self.uid != 0:
            raise Forbidden(f"user {self.uid} may not change this network", "use root")


def peer_of(connection: socket.socket) -> Peer:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, gid = _UCRED.unpack(credentials)
    if uid == 0:
        return Peer(uid, frozenset({gid}))
    try:
        more = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError as error:  # ERANGE
        raise Forbidden(
            f"user {uid} is in more groups than are looked at: {error}",
            f"at most {_MOST_BYTES // 4}, or use root",
        ) from error
    return Peer(uid, frozenset({gid, *array.array("I", more)}))


def readers() -> int | None:
    """The number of the group whose members may read; None where there is none."""
    try:
        return grp.getgrnam(names.GROUP).gr_gid
    except KeyError:
        return None
