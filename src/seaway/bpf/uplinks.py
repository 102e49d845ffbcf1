"""Our program on the host's own devices, by which others reach it: ingress alone.

These devices are not ours: whatever else is on them stays, before or behind our program, which
passes on what it does not decide. Where the kernel has TCX, a link is pinned as
uplinks/<device>-ingress, by which an agent without memory knows it; else a filter, known by a
handle and a priority that others do not choose by accident.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from seaway.bpf import swap, syscall, tcx
from seaway.bpf.classifier import Classifier, FilterId
from seaway.bpf.objects import DataPlane
from seaway.kernel.messages import link as wire
from seaway.kernel.rtnl import Rtnl
from seaway.model.kernel import Uplink
from seaway.names import LINK_PREFIX

HOOK: Final = "ingress"
FILTER: Final = FilterId(handle=0x5357, priority=0x5357)  # "SW"; behind most others
_DEVICE = struct.Struct("=I")  # how a link tells where it is (swap.held)


class UplinkTarget:
    """A target (`seaway.reconcile`). `way`: "cls_bpf" forces filters."""

    name = "uplinks"

    def __init__(self, plane: DataPlane, way: str = "auto") -> None:
        self._plane = plane
        self._tcx = way != "cls_bpf" and tcx.available()
        self._rtnl = Rtnl()
        self._filters = Classifier(self._rtnl, FILTER)

    def close(self) -> None:
        self._rtnl.close()

    def read(self) -> dict[str, Uplink]:
        names = {program.id: program.name for program in self._plane.programs.values()}
        found: dict[str, Uplink] = {}
        for device, ifindex, program in self._linked():
            told = names.get(program) or f"program {program}"
            found[device] = Uplink(device, ifindex, told if ifindex else "of a device that is gone")
        for device, ifindex in () if self._tcx else _devices(self._rtnl):
            if program := self._filters.program(ifindex, HOOK):
                found[device] = Uplink(device, ifindex, names.get(program) or f"program {program}")
        return found

    def put(self, objects: Mapping[str, Uplink]) -> dict[str, OSError]:
        failed = {}
        for device, wanted in objects.items():
            try:
                self._put(wanted)
            except OSError as error:
                failed[device] = error
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        for device in keys:
            self._unpin(device)
            if ifindex := self._rtnl.ifindex(device):
                self._filters.detach(ifindex, (HOOK,))
        return {}

    def _pin(self, device: str) -> Path:
        return self._plane.uplinks / f"{device}-{HOOK}"

    def _unpin(self, device: str) -> None:
        """Off the device at once: with its pin a link goes a moment later."""
        pin = self._pin(device)
        try:
            with syscall.closing(syscall.pinned(pin)) as link:
                syscall.link_detach(link)
        except FileNotFoundError:
            return
        pin.unlink(missing_ok=True)

    def _linked(self) -> Iterator[tuple[str, int, int]]:
        """Device, ifindex (0: it is gone) and program of every pinned link."""
        folder = self._plane.uplinks
        for pin in folder.iterdir() if folder.exists() else ():
            with syscall.closing(syscall.pinned(pin)) as link:
                _, program, ifindex = swap.held(link, _DEVICE)
            yield pin.name.removesuffix(f"-{HOOK}"), ifindex, program

    def _put(self, wanted: Uplink) -> None:
        program = self._plane.programs[wanted.program]
        if self._rtnl.ifindex(wanted.device) != wanted.ifindex:
            raise OSError(errno.ENODEV, f"{wanted.device} is gone")
        if not self._tcx:
            for error in self._filters.attach(wanted.ifindex, {HOOK: program}).values():
                raise error
            return
        pin = self._pin(wanted.device)
        if swap.swapped(pin, program.fd, wanted.ifindex, _DEVICE):
            return
        pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pin.unlink(missing_ok=True)
        with syscall.closing(syscall.link_create(program.fd, wanted.ifindex, HOOK)) as link:
            syscall.pin(link, pin)


def take_away() -> None:
    """Our filters, off every device: for uninstall. Links end with their pins."""
    with Rtnl() as rtnl:
        filters = Classifier(rtnl, FILTER)
        for _, ifindex in _devices(rtnl):
            if filters.program(ifindex, HOOK):
                filters.detach(ifindex, (HOOK,))


def _devices(rtnl: Rtnl) -> Iterator[tuple[str, int]]:
    """Those that may have a filter of ours."""
    for body in rtnl.dump(*wire.list_links()):
        entry = wire.parse_link(body)
        if not entry.name.startswith(LINK_PREFIX):
            yield entry.name, entry.ifindex
