"""Our devices and the filters on them, read again only where the kernel told of a change.

A look at every filter of 1,000 devices takes tens of milliseconds, and most looks find what the
last one found. The kernel tells of every change of a link, a qdisc or a filter: what it told
waits in a socket until somebody looks here. Where it told too much for that, all is read again.
Of TCX links it tells nothing: they are asked for each time (`tcx`).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from seaway.bpf.classifier import Classifier
from seaway.kernel.messages import link as wire
from seaway.kernel.rtnl import Rtnl
from seaway.names import GATEWAY_MAC, LINK_PREFIX, OVERLAY_DEVICE

_TC_GROUP: Final = 4  # RTNLGRP_TC: qdiscs and filters
_LINK_KINDS: Final = frozenset((wire.RTM_NEWLINK, wire.RTM_DELLINK))
_IFINDEX = struct.Struct("=4xi")  # where struct tcmsg has it


class Device(NamedTuple):
    name: str
    ifindex: int
    up: bool


class Devices:
    """Of the network namespace of the thread that makes it."""

    def __init__(self, rtnl: Rtnl, filters: Classifier) -> None:
        self._rtnl = rtnl
        self._classifier = filters
        self._notices = Rtnl((wire.GROUP, _TC_GROUP))
        self._notices.socket.setblocking(False)
        self._listed: list[Device] | None = None
        self._filters: dict[tuple[int, str], int] = {}

    def close(self) -> None:
        self._notices.close()

    def look(self) -> list[Device]:
        """As they are now; known as `kernel.links` and `kernel.vxlan` know them."""
        changed = self._changed()
        if changed is None:
            self._listed = None
            self._filters.clear()
        else:
            self._filters = {k: v for k, v in self._filters.items() if k[0] not in changed}
        if self._listed is None:
            self._listed = list(self._read())
            present = {device.ifindex for device in self._listed}
            self._filters = {k: v for k, v in self._filters.items() if k[0] in present}
        return self._listed

    def filter(self, ifindex: int, hook: str) -> int:
        """What stands in the place of our filter (`Classifier.standing`), as of the last `look`."""
        key = ifindex, hook
        if key not in self._filters:
            self._filters[key] = self._classifier.standing(ifindex, hook)
        return self._filters[key]

    def _changed(self) -> set[int] | None:
        """On which devices filters changed since the last look; None: nobody knows.

        That links changed is noted by the way.
        """
        devices: set[int] = set()
        while True:
            try:
                frames = self._notices.receive()
            except BlockingIOError:
                return devices
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._drain()
                return None
            for frame in frames:
                if frame.kind in _LINK_KINDS:
                    self._listed = None
                else:
                    devices.add(_IFINDEX.unpack_from(frame.body)[0])

    def _drain(self) -> None:
        while True:
            try:
                self._notices.socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _read(self) -> Iterator[Device]:
        for body in self._rtnl.dump(*wire.list_links("vxlan")):
            if wire.parse_name(body) == OVERLAY_DEVICE:
                entry = wire.parse_link(body)
                yield Device(entry.name, entry.ifindex, bool(entry.flags & wire.UP))
        for body in self._rtnl.dump(*wire.list_links("veth")):
            if wire.parse_name(body).startswith(LINK_PREFIX):
                entry = wire.parse_link(body)
                if entry.mac == GATEWAY_MAC:
                    yield Device(entry.name, entry.ifindex, bool(entry.flags & wire.UP))
