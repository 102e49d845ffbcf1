"""The kernel's notifications: what somebody changed of our links, addresses and routes.

Costs nothing while nothing happens. What is told is a hint that is worth a reading back, not
the truth: a notification may be older than what we have done since, and the kernel says nothing
of IPv4 routes that a device takes along when it goes down or away.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Final, Protocol

from seaway.kernel import netns
from seaway.kernel.links import as_link
from seaway.kernel.messages import address, link, route
from seaway.kernel.rtnl import NLM_F_REPLACE, Frame
from seaway.kernel.vxlan import as_vxlan
from seaway.model.addresses import Address
from seaway.model.facts import HostAddresses
from seaway.model.kernel import HostAddress, Route
from seaway.names import GATEWAY_MAC, LINK_PREFIX, OVERLAY_DEVICE, ROUTE_PROTOCOL

TOLD: Final = ("links", "vxlan", "addresses", "routes")  # the targets whose keys are told of
_AT_ONCE = 64  # notifications, before other tasks have their turn


class Watcher(Protocol):
    """Who is told. None of these may take long."""

    def changed(self, target: str, key: Hashable, actual: object | None) -> None:
        """A key of one of the targets in `TOLD` holds this now; None: nothing."""

    def down(self, name: str) -> None:
        """A link of ours is set down, and has lost its IPv4 routes without another word."""

    def addresses(self, here: HostAddresses) -> None:
        """The host's addresses are these now."""

    def uplinks(self) -> None:
        """A device of others came or changed, or a default route; or a router told a route."""

    def lost(self) -> None:
        """Notifications came faster than they were read: everything may be different."""


class Watch:
    """Reads from `start` to `close`, on the running loop."""

    def __init__(self, watcher: Watcher, netns_path: Path | None = None) -> None:
        self._watcher = watcher
        groups = (link.GROUP, *address.GROUPS, *route.GROUPS)
        self._events = netns.open_rtnl(netns_path, groups)
        self._events.socket.setblocking(False)
        self._questions = netns.open_rtnl(netns_path)
        self._here: set[tuple[int, Address]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handlers: dict[int, Callable[[Frame], None]] = {
            link.RTM_NEWLINK: self._link,
            link.RTM_DELLINK: self._link,
            address.RTM_NEWADDR: self._address,
            address.RTM_DELADDR: self._address,
            route.RTM_NEWROUTE: self._route,
            route.RTM_DELROUTE: self._route,
        }

    def start(self) -> None:
        """Tell the host's addresses, and from then on every change."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events.socket, self._readable)
        self._read_addresses()

    def close(self) -> None:
        if self._loop:
            self._loop.remove_reader(self._events.socket)
        self._events.close()
        self._questions.close()

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                received = self._events.receive()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._begin_anew()
                return
            for frame in received:
                if handle := self._handlers.get(frame.kind):
                    handle(frame)

    def _begin_anew(self) -> None:
        """What is left in the queue is older than what was lost: it would tell of the past."""
        while True:
            try:
                self._events.socket.recv(1)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
        self._watcher.lost()
        self._read_addresses()

    def _link(self, frame: Frame) -> None:
        name = link.parse_name(frame.body)
        if name == OVERLAY_DEVICE:
            gone = frame.kind == link.RTM_DELLINK
            self._watcher.changed("vxlan", name, None if gone else as_vxlan(frame.body))
            return
        if not name.startswith(LINK_PREFIX):
            if frame.kind == link.RTM_NEWLINK:
                self._watcher.uplinks()
            return
        entry = link.parse_link(frame.body)
        if entry.kind != "veth":
            return
        gone = frame.kind == link.RTM_DELLINK or entry.mac != GATEWAY_MAC
        actual = None if gone else as_link(entry)
        self._watcher.changed("links", name, actual)
        if not gone and not entry.flags & link.UP and not self._questions.is_up(name):
            self._watcher.down(name)

    def _address(self, frame: Frame) -> None:
        entry = address.parse_address(frame.body)
        if entry is None:
            return
        ip, new = entry.address.ip, frame.kind == address.RTM_NEWADDR
        before = len(self._here)
        (self._here.add if new else self._here.discard)((entry.ifindex, ip))
        if len(self._here) != before:
            self._tell_addresses()
        if entry.protocol == ROUTE_PROTOCOL:
            self._watcher.changed("addresses", ip, HostAddress(ip) if new else None)

    def _route(self, frame: Frame) -> None:
        protocol = route.parse_protocol(frame.body)
        if protocol == route.BY_RA or route.is_default(frame.body):
            self._watcher.uplinks()
        ours = protocol == ROUTE_PROTOCOL
        if not ours and not frame.flags & NLM_F_REPLACE:
            return
        entry = route.parse_route(frame.body)
        if entry is None or entry.table != route.MAIN:
            return
        actual = None
        if ours and frame.kind == route.RTM_NEWROUTE:
            unreachable = entry.type == route.UNREACHABLE
            device = "" if unreachable else self._questions.ifname(entry.ifindex)
            actual = Route(entry.dst, device, entry.source)
        self._watcher.changed("routes", entry.dst, actual)

    def _read_addresses(self) -> None:
        found = map(address.parse_address, self._questions.dump(*address.list_addresses()))
        self._here = {(entry.ifindex, entry.address.ip) for entry in found if entry}
        self._tell_addresses()

    def _tell_addresses(self) -> None:
        here = frozenset(ip for _, ip in self._here)
        self._watcher.addresses(HostAddresses(addresses=here))
