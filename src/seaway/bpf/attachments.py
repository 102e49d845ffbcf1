"""Which program stands on which hook of our devices.

A new device gets its programs as filters, in one batch, before it is set up: it never passes a
packet without them. Where the kernel has TCX, they move into links once the device has lived
for a while and the host is quiet, because every change of a TCX hook holds up all of the
host's network configuration for 16 ms (docs/decisions/attach.md). Both ways know their own
without memory (`tcx`, `classifier`), and swap a program without a packet in between.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final

from seaway.bpf import tcx
from seaway.bpf.classifier import Classifier
from seaway.bpf.devices import Devices
from seaway.bpf.objects import DataPlane, Program
from seaway.bpf.promotion import Patience, Promotion
from seaway.kernel.rtnl import Rtnl
from seaway.model.kernel import HOOKS, Attachment

Key = tuple[str, str]  # device, hook

_USUAL: Final = Patience()


class Attachments:
    """A target (`seaway.reconcile`), which also sets devices up that have both programs.

    `way`: "auto", or "tcx" or "cls_bpf" by force; `mode`: which of the two devices end up with.
    """

    name = "attachments"
    remembers = True

    def __init__(
        self,
        plane: DataPlane,
        set_up: Callable[[int], None],
        way: str = "auto",
        patience: Patience = _USUAL,
    ) -> None:
        self._tcx = tcx.available()
        self.mode = "tcx" if way == "tcx" or (way == "auto" and self._tcx) else "cls_bpf"
        self._plane = plane
        self._set_up = set_up
        self._way = way
        self._rtnl = Rtnl()
        self._filters = Classifier(self._rtnl)
        self._devices = Devices(self._rtnl, self._filters)
        self._found: dict[Key, Attachment] = {}  # by the last reading
        self._links = tcx.Links(plane.links)
        self.promotion = Promotion(plane, self._links, patience)
        self._seen: dict[str, int] = {}  # device: ifindex

    def close(self) -> None:
        self._devices.close()
        self._rtnl.close()

    def read(self) -> dict[Key, Attachment]:
        """A device that is down counts as not attached; a foreign program goes by its number."""
        names = {program.id: program.name for program in self._plane.programs.values()}
        found, devices = {}, self._devices.look()
        for device, ifindex, up in devices:
            for hook in HOOKS:
                known = self._found.get((device, hook))
                if known and self.promotion.moving(device):
                    found[device, hook] = known  # as it was: it is read again when it was moved
                    continue
                number = self._links.program(ifindex, hook) if self._tcx else 0
                number = number or self._devices.filter(ifindex, hook)
                if number and up:
                    program = names.get(number) or _foreign(number)
                    found[device, hook] = self._told(device, ifindex, hook, program)
            if self._seen.get(device) != ifindex:
                self._consider(device, ifindex)  # its filters may be left over from a move
        self._found = found
        present = {device.name for device in devices}
        for device, hook in self._links.pins():
            if device not in present:
                found[device, hook] = Attachment(device, 0, hook, "of a device that is gone")
        return found

    def look(self, keys: Collection[Key]) -> dict[Key, Attachment]:
        names = {program.id: program.name for program in self._plane.programs.values()}
        found = {}
        for device, hook in keys:
            known = self._found.get((device, hook))
            if known and self.promotion.moving(device):
                found[device, hook] = known
                continue
            ifindex = self._rtnl.ifindex(device)
            number = self._links.program(ifindex, hook) if ifindex and self._tcx else 0
            number = number or (self._filters.standing(ifindex, hook) if ifindex else 0)
            if number and self._rtnl.is_up(device):
                program = names.get(number) or _foreign(number)
                found[device, hook] = self._told(device, ifindex, hook, program)
        return found

    def _told(self, device: str, ifindex: int, hook: str, program: str) -> Attachment:
        """The one that was told before, if it says the same: it costs less to compare."""
        known = self._found.get((device, hook))
        if known and known.ifindex == ifindex and known.program == program:
            return known
        return Attachment(device, ifindex, hook, program)

    def put(self, objects: Mapping[Key, Attachment]) -> dict[Key, OSError]:
        self.promotion.disturb()
        devices: dict[tuple[str, int], dict[str, Program]] = defaultdict(dict)
        for (device, hook), wanted in objects.items():
            devices[device, wanted.ifindex][hook] = self._plane.programs[wanted.program]
        failed: dict[Key, OSError] = {}
        for (device, ifindex), programs in devices.items():
            with self.promotion.apart(device):
                errors = self._attach(device, ifindex, programs) or self._start(ifindex, programs)
            failed |= {(device, hook): error for hook, error in errors.items()}
            if not errors and not all(self._linked(ifindex, hook) for hook in HOOKS):
                self._consider(device, ifindex)
        return failed

    def delete(self, keys: set[Key]) -> dict[Key, OSError]:
        """What is left of devices that are gone. A device keeps its programs while it lives."""
        self.promotion.disturb()
        failed: dict[Key, OSError] = {}
        for device, hook in keys:
            if self._rtnl.ifindex(device):
                failed[device, hook] = OSError(errno.EBUSY, f"{device} is still there")
                continue
            with self.promotion.apart(device):
                self._links.forget(device, hook)
            self.promotion.forget(device)
            self._seen.pop(device, None)
        return failed

    def _attach(
        self, device: str, ifindex: int, programs: Mapping[str, Program]
    ) -> dict[str, OSError]:
        failed: dict[str, OSError] = {}
        filters = {}
        for hook, program in programs.items():
            try:
                if self._way == "tcx" or self._linked(ifindex, hook):
                    self._link(device, ifindex, hook, program)
                else:
                    self._links.forget(device, hook)
                    filters[hook] = program
            except OSError as error:
                failed[hook] = error
        return failed | (self._filters.attach(ifindex, filters) if filters else {})

    def _link(self, device: str, ifindex: int, hook: str, program: Program) -> None:
        """The kernel takes a program once per hook, so one that runs behind another's goes away
        before it comes first: a filter stands in, and stays if it does not come."""
        if self._links.swap(device, ifindex, hook, program):
            return
        if self._links.runs(device, ifindex, hook):
            for error in self._filters.attach(ifindex, {hook: program}).values():
                raise error
        self._links.attach(device, ifindex, hook, program)
        if self._filters.program(ifindex, hook):
            self._filters.detach(ifindex, (hook,))

    def _start(self, ifindex: int, programs: Mapping[str, Program]) -> dict[str, OSError]:
        """Set the device up, now that neither hook is without its program."""
        try:
            if all(hook in programs or self._running(ifindex, hook) for hook in HOOKS):
                self._set_up(ifindex)
        except OSError as error:
            return dict.fromkeys(programs, error)
        return {}

    def _running(self, ifindex: int, hook: str) -> int:
        """The id of the program that runs first on the hook; 0: none."""
        number = self._links.program(ifindex, hook) if self._tcx else 0
        return number or self._filters.program(ifindex, hook)

    def _linked(self, ifindex: int, hook: str) -> bool:
        """Whether links are on the hook, ours or another's: they run before any filter."""
        return self._tcx and self._links.program(ifindex, hook) != 0

    def _consider(self, device: str, ifindex: int) -> None:
        """For the move to links, later on."""
        self._seen[device] = ifindex
        if self._way == "auto" and self.mode == "tcx":
            self.promotion.consider(device, ifindex)


def _foreign(number: int) -> str:
    return f"program {number}" if number > 0 else f"filter with handle {-number}"
