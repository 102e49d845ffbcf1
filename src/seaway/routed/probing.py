"""Probes on the wire: one UDP socket a family, read when the prober looks.

None is ever cut to pieces, by this host or another one. What a router tells of a smaller MTU the
kernel believes: what is sent next fits, the packets of containers too (bpf/lib/way.h).
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

from seaway.model.addresses import Address
from seaway.routed.packet import PORT

_TIMESTAMP: Final = 35  # SO_TIMESTAMPNS and SCM_TIMESTAMPNS: when the kernel got it
_TIMESPEC: Final = struct.Struct("@ll")
_PKTINFO: Final = 8  # IP_PKTINFO
_DEVICES: Final = {  # by which device it came
    (socket.IPPROTO_IP, _PKTINFO): struct.Struct("=i8x"),
    (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO): struct.Struct("=16xi"),
}
_SPACE: Final = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(20)
_LONGEST: Final = 2048
_LARGEST: Final = 65535  # bytes of a packet, whatever the MTU
# By the version of IP: of the socket, IP_MTU_DISCOVER and IP_MTU; IP_PMTUDISC_DO of either.
_LEVEL: Final = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_DISCOVER: Final = {4: 10, 6: 23}
_MTU: Final = {4: 14, 6: 24}
_NEVER_CUT: Final = 2
_DONT_FRAGMENT: Final = 62  # IPV6_DONTFRAG
_MOST: Final = 4_000  # datagrams in one look: what is more has to wait
_ROOM: Final = 4 << 20  # bytes of what came and was not read yet
_ROOM_FORCED: Final = 33  # SO_RCVBUFFORCE: more than net.core.rmem_max


class Datagram(NamedTuple):
    data: bytes
    address: str
    at: float  # by the monotonic clock
    device: int  # by which it came; 0: nobody said so


class ProbeSocket:
    """Of all addresses of this host."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        with ExitStack() as stack:
            for version in _FAMILY:
                if made := _open(version):
                    self._sockets[version] = stack.enter_context(made)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def send(self, address: Address, data: bytes) -> bool:
        """Whether the kernel took it: where no way leads it does not."""
        if address.version not in self._sockets:
            return False
        with suppress(OSError):
            self._sockets[address.version].sendto(data, (str(address), PORT))
            return True
        return False

    def read(self) -> Iterator[Datagram]:
        """What is there."""
        ahead = time.time() - time.monotonic()
        for made in self._sockets.values():
            for _ in range(_MOST):
                try:
                    data, more, _, source = made.recvmsg(_LONGEST, _SPACE)
                except BlockingIOError:
                    break
                except OSError:  # of an earlier datagram: nobody was there
                    continue
                yield Datagram(data, source[0], _when(more) - ahead, _device(more))


def room(address: Address) -> int:
    """Bytes of the largest packet by the route there, with what is learnt of its MTU; 0: there is
    none. Nothing is sent.
    """
    version = address.version
    with suppress(OSError), socket.socket(_FAMILY[version], socket.SOCK_DGRAM) as made:
        made.connect((str(address), PORT))
        return min(_LARGEST, made.getsockopt(_LEVEL[version], _MTU[version]))
    return 0


def _when(more: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in more:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def _device(more: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in more:
        if layout := _DEVICES.get((level, kind)):
            return int(layout.unpack_from(data)[0])
    return 0


def _open(version: int) -> socket.socket | None:
    """None: this host has not that protocol."""
    try:
        made = socket.socket(_FAMILY[version], socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        made.setsockopt(socket.IPPROTO_IPV6, _DONT_FRAGMENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
    made.setsockopt(_LEVEL[version], _DISCOVER[version], _NEVER_CUT)
    made.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
    _make_room(made)
    made.setblocking(False)
    made.bind(("", PORT))
    return made


def _make_room(made: socket.socket) -> None:
    """For what comes until the next look, should somebody send what is no answer."""
    try:
        made.setsockopt(socket.SOL_SOCKET, _ROOM_FORCED, _ROOM)
    except PermissionError:  # without CAP_NET_ADMIN: as much as anybody may have
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
