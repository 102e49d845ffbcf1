"""The device of the overlay: VXLAN, to which programs say whom each packet is for.

An agent without memory knows it by its name (`names.OVERLAY_DEVICE`) and its kind; there is one,
and only while there are other hosts. What cannot be changed of a device makes a new one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from seaway.kernel import netns
from seaway.kernel.messages import link as wire
from seaway.model.kernel import Vxlan
from seaway.names import OVERLAY_DEVICE

Told = Callable[[int], None]  # is told the number of the device, 0 when it is gone


class VxlanTarget:
    name = "vxlan"

    def __init__(self, netns_path: Path | None = None, tell: Told | None = None) -> None:
        self._tell = tell
        self._told = 0
        self._rtnl = netns.open_rtnl(netns_path)

    def close(self) -> None:
        self._rtnl.close()

    def read(self) -> dict[str, Vxlan]:
        """Somebody may have made it anew: then its number is another one."""
        ifindex, found = self._look(OVERLAY_DEVICE)
        self._note(ifindex if found else 0)
        return {found.name: found} if found else {}

    def put(self, objects: Mapping[str, Vxlan]) -> dict[str, OSError]:
        failed = {}
        for name, wanted in objects.items():
            try:
                self._put(wanted)
            except OSError as error:
                failed[name] = error
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        failed = {}
        for name in keys & self.read().keys():
            (error,) = self._rtnl.request([wire.delete_link(self._rtnl.ifindex(name))])
            if error and error.errno != errno.ENODEV:
                failed[name] = error
        self.read()
        return failed

    def _note(self, ifindex: int) -> None:
        if self._tell and ifindex != self._told:
            self._tell(ifindex)
        self._told = ifindex

    def _look(self, name: str) -> tuple[int, Vxlan | None]:
        ifindex = self._rtnl.ifindex(name)
        try:
            return ifindex, as_vxlan(self._rtnl.get(*wire.get_link(ifindex))) if ifindex else None
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0, None

    def _put(self, wanted: Vxlan) -> None:
        _, found = self._look(wanted.name)
        if found and replace(found, mtu=wanted.mtu, mac=wanted.mac, arp=wanted.arp) != wanted:
            self._rtnl.one(wire.delete_link(self._rtnl.ifindex(wanted.name)))
            found = None
        if found is None:
            self._rtnl.one(wire.new_vxlan(wanted.name, wanted.mac, wanted.mtu, wanted.port))
        ifindex = self._rtnl.ifindex(wanted.name)
        if found:
            self._correct(ifindex, found, wanted)
        self._no_link_local(ifindex)
        self._note(ifindex)

    def _correct(self, ifindex: int, found: Vxlan, wanted: Vxlan) -> None:
        if found.mac != wanted.mac:
            self._rtnl.one(wire.change_mac(ifindex, wanted.mac))
        if found.mtu != wanted.mtu:
            self._rtnl.one(wire.change_mtu(ifindex, wanted.mtu))
        if found.arp:
            self._rtnl.one(wire.set_flags(ifindex, wire.NOARP))

    def _no_link_local(self, ifindex: int) -> None:
        """A host without IPv6 has nothing to forbid."""
        (error,) = self._rtnl.request([wire.no_link_local(ifindex)])
        if error and error.errno != errno.EAFNOSUPPORT:
            raise error


def as_vxlan(body: bytes) -> Vxlan | None:
    """What the kernel tells of a link, if it is of this kind."""
    entry = wire.parse_link(body)
    if entry.kind != "vxlan":
        return None
    peculiar = wire.parse_vxlan(body)
    return Vxlan(
        name=entry.name,
        mtu=entry.mtu,
        port=peculiar.port,
        mac=entry.mac,
        arp=not entry.flags & wire.NOARP,
        external=peculiar.external,
        bare6=peculiar.bare6,
    )
