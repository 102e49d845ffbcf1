"""The host's own datagram sockets that asked a published port, and would outlive it.

A socket that connects is led to the backend once (`bpf/lib/socket.h`), and nothing is looked at
when it sends. So when a publication ends or leads elsewhere, those that it led are ended: their
owners get an error, as where a port is closed, and ask again. What the hooks did not lead is left,
whomever it speaks with. A kernel that ends no sockets leaves them as they are (`findings`).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from seaway.bpf import abi, syscall
from seaway.bpf.objects import DataPlane
from seaway.kernel import sockets
from seaway.kernel.messages import sockets as wire
from seaway.kernel.rtnl import Rtnl
from seaway.model.addresses import Address
from seaway.model.reports import Finding

log = structlog.get_logger(__name__)

_DESCRIPTOR = struct.Struct("=I")
# What a kernel says that ends no sockets, or not of this kind; or the socket is gone.
LACKING = frozenset((errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT))


@dataclass(frozen=True, slots=True)
class Place(abi.Record):
    """bpf/lib/place.h"""

    c_name, c_format = "place", "=16s2sH"
    addr: bytes
    port: bytes
    pad: int = 0


@dataclass(frozen=True, slots=True)
class Asked(abi.Record):
    """bpf/lib/asker.h: the backend, and what its owner named."""

    c_name, c_format = "asked", "=20s20sIIQQQ"
    backend: bytes
    place: bytes
    counted: int = 0  # of a service: among the connections of the backend
    pad: int = 0
    service_limit: int = 0  # that it is counted for
    own_limit: int = 0
    netns: int = 0


ASKED: Final = struct.calcsize(Asked.c_format)  # bytes


class Askers:
    """Of the network namespace of the thread that calls, but for those that a service led."""

    def __init__(self, plane: DataPlane) -> None:
        self._storage = plane.maps["sockets"]

    def end(
        self, speaks: Callable[[Address, int], bool], astray: Callable[[Place, Place], bool]
    ) -> None:
        """Those that speak with such an address and port, and whose place and backend are astray.

        Whom they asked, only their descriptors tell: all processes are gone through, but only
        where one speaks so.
        """
        try:
            with Rtnl(protocol=wire.PROTOCOL) as diag:
                speaking = {s.inode: s for s in _connected(diag) if speaks(s.target, s.port)}
                requests = [wire.destroy(speaking[i]) for i in self._led(speaking, astray)]
                failed = [e for e in diag.request(requests) if e and e.errno != errno.ENOENT]
        except OSError as error:
            failed = [error]
        if any(error.errno not in LACKING for error in failed):
            log.warning("sockets that asked a published port are not ended", error=str(failed[0]))

    def _led(
        self, inodes: Collection[int], astray: Callable[[Place, Place], bool]
    ) -> Iterator[int]:
        for inode, descriptor in sockets.borrowed(inodes):
            found = syscall.lookup(self._storage, _DESCRIPTOR.pack(descriptor), ASKED)
            if found is not None:
                asked = Asked.unpack(found)
                if not asked.counted and astray(
                    Place.unpack(asked.place), Place.unpack(asked.backend)
                ):
                    yield inode


def _connected(diag: Rtnl) -> Iterator[wire.Socket]:
    for family in wire.FAMILIES:
        yield from filter(None, map(wire.parse_socket, diag.dump(*wire.list_connected(family))))


def findings() -> Iterator[Finding]:
    """For `seaway doctor`."""
    if _ends_sockets():
        found = "sockets of the host that asked a published port end with it"
        yield Finding(check="sockets", level="ok", found=found, advice="")
    else:
        found = "connected UDP sockets of the host outlive a published port that they asked"
        advice = "a kernel with CONFIG_INET_UDP_DIAG and CONFIG_INET_DIAG_DESTROY ends them"
        yield Finding(check="sockets", level="off", found=found, advice=advice)


def _ends_sockets() -> bool:
    try:
        with Rtnl(protocol=wire.PROTOCOL) as diag:
            diag.dump(*wire.list_none())
            (refusal,) = diag.request([wire.destroy_none()])
    except OSError as error:
        if error.errno not in LACKING:
            raise
        return False
    return refusal is not None and refusal.errno == errno.ENOENT
