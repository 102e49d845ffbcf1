"""Sockets that a service led to a backend which is none any more: they are ended.

Such a socket speaks with the backend itself, and nothing is looked at when it sends. So it ends
when the time is over that it was given: its owner gets an error (ECONNABORTED), and asks again.
What the hooks did not lead is left, whomever it speaks with.

What a socket asked lies with it in the map `sockets`. Of streams the kernel tells it when it lists
them (INET_DIAG_SK_BPF_STORAGES), of datagrams only to who has a descriptor: so one is borrowed
(`sockets`). It lists one network namespace at a time: each client's is entered, but only while
somebody has connections to such a backend (`serving`).
"""

from __future__ import annotations

import errno
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import structlog

from seaway.bpf import abi, askers, syscall
from seaway.bpf.askers import ASKED, Asked, Place
from seaway.bpf.objects import DataPlane
from seaway.bpf.services import on_hosts
from seaway.bpf.table import Table
from seaway.kernel import netns, sockets
from seaway.kernel.messages import sockets as wire
from seaway.kernel.rtnl import Request, Rtnl
from seaway.model.publications import PROTOCOLS

log = structlog.get_logger(__name__)

_MOST: Final = 262144  # backends that are counted (bpf/lib/serving.h)
_MUCH: Final = _MOST // 4
_AGAIN: Final = 1.0  # seconds, after which what went wrong is tried again
_UDP: Final = PROTOCOLS["udp"]
_GONE: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ESTALE, errno.ESRCH))


@dataclass(frozen=True, slots=True)
class Parting:
    """A port of a VIP, or of every host, and what was a backend of it."""

    service: abi.PortKey
    backend: abi.PortKey


Serves = Callable[[abi.PortKey, abi.PortKey], bool]
Spaces = Callable[[], Iterable[tuple[str, int]]]  # network namespaces: paths and inodes


class Partings:
    """`spaces`: of the endpoints. That of the thread that calls is the host's. `opened`: whom to
    ask about the sockets of one. `much`: of backends that are counted; those without connections
    are forgotten then.
    """

    def __init__(
        self,
        plane: DataPlane,
        spaces: Spaces,
        clock: Callable[[], float] = time.monotonic,
        *,
        opened: Callable[[str | None, int], Rtnl] | None = None,
        much: int = _MUCH,
    ) -> None:
        self._opened = opened or diag_of
        self._much = much
        self._storage = plane.maps["sockets"]
        self._serving = Table(plane.maps["serving"])
        self._spaces = spaces
        self._clock = clock
        self._due: dict[Parting, float] = {}
        self._missed = False  # whether the last look passed one over
        self._went = 0  # backends, since those that nobody has any connection to were forgotten

    def left(self, service: abi.PortKey, backends: Iterable[abi.PortKey], within: float) -> None:
        """These are no backends of the service any more; seconds until their sockets end."""
        at = self._clock() + within
        for backend in backends:
            self._due[Parting(service, backend)] = at

    def vanished(self, addresses: Collection[bytes]) -> None:
        """Nobody has these any more: sockets of datagrams that were led there end now."""
        now = self._clock()
        for parting in list(self._due):
            if parting.backend.protocol == _UDP and parting.backend.addr in addresses:
                self._due[parting] = now

    @property
    def due(self) -> float | None:
        """In how many seconds `end` has something to do; None: nothing is known."""
        times = list(self._due.values())
        return max(0.0, min(times) - self._clock()) if times else None

    def end(self, serves: Serves) -> int:
        """The sockets whose time is over; how many. `serves`: whether it is a backend (again)."""
        now = self._clock()
        over = [parting for parting, at in list(self._due.items()) if at <= now]
        for parting in over:
            del self._due[parting]
        gone = {p for p in over if not serves(p.service, p.backend)}
        self._went += len(gone)
        busy = {p for p in gone if self.connections(p.backend)}
        ended = self._end_all(busy, serves) if busy else 0
        if self._missed:
            self._due |= dict.fromkeys(busy, now + _AGAIN)
        if self._went > self._much:
            self._forget(dict(self._serving.elements()))
        return ended

    def find(self) -> set[Parting]:
        """Which services led sockets where, that are there now. Where none counts, no namespace is
        entered: with a thousand of them that is half a second.
        """
        serving = dict(self._serving.elements())
        if len(serving) > self._much:
            self._forget(serving)
        counted = (abi.PortKey.unpack(key) for key, value in serving.items() if _sockets(value))
        asked = {(key.protocol, int.from_bytes(key.port, "big")) for key in counted}
        with ExitStack() as stack:
            return {parting for _, _, parting in self._led(asked, stack)} if asked else set()

    def connections(self, backend: abi.PortKey) -> int:
        """How many sockets of this host have to it, by services."""
        value = self._serving.element(backend.pack())
        return _sockets(value) if value else 0

    def _end_all(self, busy: Collection[Parting], serves: Serves) -> int:
        """Who asked a port of hosts has named one of the host's own addresses."""
        asked = {(p.backend.protocol, int.from_bytes(p.backend.port, "big")) for p in busy}
        requests: dict[Rtnl, list[Request]] = defaultdict(list)
        with ExitStack() as stack:
            for diag, socket, parting in self._led(asked, stack):
                by_host = Parting(on_hosts(parting.service), parting.backend)
                led = by_host in busy and not serves(parting.service, parting.backend)
                if parting in busy or led:
                    requests[diag].append(wire.destroy(socket))
            told = [error for diag, sent in requests.items() for error in _answers(diag, sent)]
        for error in filter(None, told):
            self._pass_over(error)
        return told.count(None)

    def _led(
        self, asked: Collection[tuple[int, int]], stack: ExitStack
    ) -> Iterator[tuple[Rtnl, wire.Socket, Parting]]:
        """Sockets that services led to one of these protocols and ports, each with whom to ask
        about it: until the stack is closed.
        """
        speaking: list[tuple[Rtnl, wire.Socket]] = []
        self._missed = False
        for path, inode in ((None, 0), *self._spaces()):
            try:
                with ExitStack() as own:
                    diag = own.enter_context(self._opened(path, inode))
                    if found := list(_listed(diag, asked, self._storage)):
                        speaking += ((diag, socket) for socket in found)
                        stack.push(own.pop_all())
            except OSError as error:
                self._pass_over(error)
        stored = self._borrowed({s.inode for _, s in speaking if s.protocol == _UDP})
        for diag, socket in speaking:
            if parting := _parting(socket.protocol, stored.get(socket.inode, socket.stored)):
                yield diag, socket, parting

    def _borrowed(self, inodes: Collection[int]) -> dict[int, bytes]:
        """What is stored of sockets of datagrams: only their descriptors tell."""
        found = {}
        for inode, descriptor in sockets.borrowed(inodes):
            key = descriptor.to_bytes(4, sys.byteorder)
            found[inode] = syscall.lookup(self._storage, key, ASKED) or b""
        return found

    def _pass_over(self, error: OSError) -> None:
        """A namespace that is gone has no sockets; some kernels end none."""
        if error.errno not in _GONE | askers.LACKING:
            log.warning("sockets that asked a service are not ended", error=str(error))
            self._missed = True

    def _forget(self, serving: Mapping[bytes, bytes]) -> None:
        """Of backends that nobody has a connection to. Only where they take much of the place:
        who connects after it was read, and before it is deleted, is not counted.
        """
        self._serving.delete([key for key, count in serving.items() if not any(count)])
        self._went = 0


def diag_of(path: str | None, inode: int) -> Rtnl:
    def here() -> Rtnl:
        return Rtnl(protocol=wire.PROTOCOL)

    if path is None:
        return here()
    with netns.opened(path, inode) as space:
        return netns.visit(space, here)


def _sockets(serving: bytes) -> int:
    return abi.Serving.unpack(serving).sockets


def _answers(diag: Rtnl, requests: list[Request]) -> list[OSError | None]:
    """Of the kernel; or why it gave none (ENOBUFS): then some may be ended, and are not known."""
    try:
        return diag.request(requests)
    except OSError as error:
        return [error]


def _listed(diag: Rtnl, asked: Collection[tuple[int, int]], storage: int) -> Iterator[wire.Socket]:
    for family in wire.FAMILIES:
        for protocol, port in asked:
            for body in diag.dump(*wire.list_storing(family, protocol, port, storage)):
                if socket := wire.parse_socket(body, protocol):
                    yield socket


def _parting(protocol: int, stored: bytes) -> Parting | None:
    """None: no service led it."""
    asked = Asked.unpack(stored) if len(stored) == ASKED else None
    if asked is None or not asked.counted:
        return None
    service, backend = (Place.unpack(place) for place in (asked.place, asked.backend))
    return Parting(
        abi.PortKey(service.addr, service.port, protocol),
        abi.PortKey(backend.addr, backend.port, protocol),
    )
