"""Netlink without a library: frames, attributes, and a socket that sends many requests at once.

An ADD must cost the netlink work of about two milliseconds, and a dump of 1,000 links a few
more; pyroute2 takes ten times that (docs/decisions/raw-netlink.md). Nothing here knows what a
message means: that is `messages`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Self

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200  # in answers
_NLMSG_ERROR, _NLMSG_DONE, _NLMSGERR_ATTR_MSG = 2, 3, 1

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP, _NETLINK_CAP_ACK = 1, 10
_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 11, 12
_SO_RCVBUFFORCE = 33
_SIOCGIFNAME, _SIOCGIFFLAGS, _SIOCGIFINDEX = 0x8910, 0x8913, 0x8933

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERROR = struct.Struct("=i")
_PADS = (b"", b"\0\0\0", b"\0\0", b"\0")
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_MAX_ERRNO = 4095  # of the kernel
_BATCH = 64  # answers of one batch must fit the receive buffer
_RECEIVE = 1 << 16  # the kernel fills at most 32 KiB for a dump
_DUMP_TRIES = 5


class Request(NamedTuple):
    """One message to the kernel: its type, flags besides NLM_F_REQUEST, and body."""

    kind: int
    flags: int
    body: bytes


class Frame(NamedTuple):
    """One message from the kernel."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    return _ATTRIBUTE.pack(size + 4, kind) + payload + _PADS[size & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def frames(data: bytes) -> Iterator[Frame]:
    """Cut what one receive gave into messages. Raises ValueError for what is no netlink."""
    at, end = 0, len(data)
    while at < end:
        if end - at < _HEADER.size:
            raise ValueError(f"netlink message cut off at byte {at} of {end}")
        size, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or size > end - at:
            raise ValueError(f"netlink message at byte {at} claims {size} of {end - at} bytes")
        yield Frame(kind, flags, sequence, data[at + _HEADER.size : at + size])
        at += size + 3 & ~3


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """The attributes from byte `at` on; of a repeated one the last. ValueError if malformed."""
    found: dict[int, bytes] = {}
    end = len(data)
    unpack = _ATTRIBUTE.unpack_from
    while end - at >= 4:
        size, kind = unpack(data, at)
        if size < 4 or size > end - at:
            raise ValueError(f"netlink attribute at byte {at} claims {size} of {end - at} bytes")
        found[kind & _TYPE_MASK] = data[at + 4 : at + size]
        at += size + 3 & ~3
    return found


def chosen(data: bytes, at: int, wanted: frozenset[int]) -> dict[int, bytes]:
    """The first of each that is wanted; what is behind the last of them is not looked at."""
    found: dict[int, bytes] = {}
    end = len(data)
    unpack = _ATTRIBUTE.unpack_from
    missing = len(wanted)
    while missing and end - at >= 4:
        size, kind = unpack(data, at)
        if size < 4 or size > end - at:
            raise ValueError(f"netlink attribute at byte {at} claims {size} of {end - at} bytes")
        kind &= _TYPE_MASK
        if kind in wanted and kind not in found:
            found[kind] = data[at + 4 : at + size]
            missing -= 1
        at += size + 3 & ~3
    return found


def error_of(frame: Frame) -> OSError | None:
    """What an NLMSG_ERROR says; None for an acknowledgement (error number 0)."""
    if len(frame.body) < 4:
        raise ValueError("netlink error message without an error number")
    number = -_ERROR.unpack_from(frame.body)[0]
    if number == 0:
        return None
    if not 0 < number <= _MAX_ERRNO:
        raise ValueError(f"netlink error number {-number}")
    text = os.strerror(number)
    if frame.flags & _NLM_F_ACK_TLVS:
        explained = attributes(frame.body, _explanation(frame)).get(_NLMSGERR_ATTR_MSG, b"")
        if explained:
            text += f": {explained.rstrip(bytes(1)).decode(errors='replace')}"
    return OSError(number, text)


def _explanation(frame: Frame) -> int:
    """Where the attributes of an error message begin: behind the request that it quotes."""
    if frame.flags & _NLM_F_CAPPED or len(frame.body) < 8:
        return 4 + _HEADER.size
    quoted: int = struct.unpack_from("=I", frame.body, 4)[0]
    return 4 + (quoted + 3 & ~3)


class Rtnl:
    """A socket of the network namespace in which its thread opened it."""

    def __init__(self, groups: Sequence[int] = (), protocol: int = socket.NETLINK_ROUTE) -> None:
        self._sequence = 0
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        try:
            for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK):
                self.socket.setsockopt(_SOL_NETLINK, option, 1)
            if groups:
                self.socket.bind((0, 0))  # the kernel passes over a socket without a port
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
                for group in groups:
                    self.socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def request(self, requests: Sequence[Request]) -> list[OSError | None]:
        """Send all; for each in turn its error, or None. A failure does not stop the rest."""
        outcome: list[OSError | None] = []
        for start in range(0, len(requests), _BATCH):
            outcome += self._batch(requests[start : start + _BATCH])
        return outcome

    def one(self, request: Request) -> None:
        """Send one request. Raises its error."""
        (error,) = self._batch([request])
        if error is not None:
            raise error

    def get(self, kind: int, body: bytes) -> bytes:
        """The body of the one object that is asked for. Raises the kernel's refusal."""
        self._sequence += 1
        self.socket.send(_encoded(Request(kind, 0, body), self._sequence, 0))
        while True:
            for frame in frames(self.socket.recv(_RECEIVE)):
                if frame.sequence != self._sequence:
                    continue
                if frame.kind == _NLMSG_ERROR:
                    raise error_of(frame) or OSError(errno.EPROTO, "a question was acknowledged")
                return frame.body

    def dump(self, kind: int, body: bytes, most: int = sys.maxsize) -> list[bytes]:
        """The body of every object that the kernel lists; a consistent list, or OSError.

        EMSGSIZE: more than `most`, in all tries together; nothing else may be asked here then.
        """
        for _ in range(_DUMP_TRIES):
            listed, consistent = self._dump(kind, body, most)
            if consistent:
                return listed
            most -= len(listed)
        raise OSError(errno.EBUSY, "what should be listed changed during every listing")

    def ifindex(self, name: str) -> int:
        """0 if there is no such interface."""
        try:
            answer = fcntl.ioctl(self.socket, _SIOCGIFINDEX, _ifreq(name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0
        return int(struct.unpack_from("=i", answer, 16)[0])

    def ifname(self, ifindex: int) -> str:
        """Empty if there is no such interface."""
        try:
            answer = fcntl.ioctl(self.socket, _SIOCGIFNAME, struct.pack("=16si20x", b"", ifindex))
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):
                raise
            return ""
        return answer[:16].split(b"\0", 1)[0].decode()

    def is_up(self, name: str) -> bool:
        """Whether there is such an interface, and it is set up."""
        return bool(self.flags(name) & 1)

    def flags(self, name: str) -> int:
        """The lower 16 of them (IFF_…); 0 if there is no such interface."""
        try:
            answer = fcntl.ioctl(self.socket, _SIOCGIFFLAGS, _ifreq(name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0
        return int(struct.unpack_from("=H", answer, 16)[0])

    def receive(self) -> list[Frame]:
        """What came unasked. ENOBUFS: some was lost."""
        return list(frames(self.socket.recv(_RECEIVE)))

    def _batch(self, requests: Sequence[Request]) -> list[OSError | None]:
        first = self._sequence + 1
        self._sequence += len(requests)
        self.socket.send(
            b"".join(
                _encoded(request, first + at, NLM_F_ACK) for at, request in enumerate(requests)
            )
        )
        outcome: list[OSError | None] = [None] * len(requests)
        missing = len(requests)
        while missing:
            for frame in frames(self.socket.recv(_RECEIVE)):
                at = frame.sequence - first
                if frame.kind == _NLMSG_ERROR and 0 <= at < len(outcome):
                    outcome[at] = error_of(frame)
                    missing -= 1
        return outcome

    def _dump(self, kind: int, body: bytes, most: int) -> tuple[list[bytes], bool]:
        self._sequence += 1
        self.socket.send(_encoded(Request(kind, NLM_F_DUMP, body), self._sequence, 0))
        listed: list[bytes] = []
        consistent = True
        while True:
            for frame in frames(self.socket.recv(_RECEIVE)):
                if frame.sequence != self._sequence:
                    continue  # left over from a listing that failed
                consistent = consistent and not frame.flags & NLM_F_DUMP_INTR
                if frame.kind == _NLMSG_DONE:
                    _raise_if_failed(frame)
                    return listed, consistent
                if frame.kind == _NLMSG_ERROR:
                    raise error_of(frame) or OSError(errno.EPROTO, "a listing was acknowledged")
                listed.append(frame.body)
            if len(listed) > most:
                raise OSError(errno.EMSGSIZE, "more is listed than anybody wants to know")


def _encoded(request: Request, sequence: int, flags: int) -> bytes:
    size = _HEADER.size + len(request.body)
    flags |= request.flags | NLM_F_REQUEST
    header = _HEADER.pack(size, request.kind, flags, sequence, 0)
    return header + request.body + _PADS[size & 3]


def _raise_if_failed(done: Frame) -> None:
    if len(done.body) >= 4 and (error := error_of(done)):
        raise error


def _ifreq(name: str) -> bytes:
    return struct.pack("=15sx24x", name.encode())
