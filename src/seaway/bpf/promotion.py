"""The move of a device's programs from filters into links, once it has lived and all is quiet.

Which device is next is chosen on the loop, which alone knows the candidates. The move takes
32 ms, most of it the kernel's wait for its readers, in a thread of its own. Whoever changes the
same device meanwhile waits for its end (`apart`); the others go on.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from seaway.bpf import tcx
from seaway.bpf.classifier import Classifier
from seaway.bpf.objects import DataPlane
from seaway.kernel.rtnl import Rtnl
from seaway.model.kernel import HOOKS


class Patience(NamedTuple):
    """Seconds before programs move into links."""

    lived: float = 60.0  # that a device must have lived to be worth it
    quiet: float = 10.0  # without a change: so nobody waits on our account


class Candidate(NamedTuple):
    device: str
    ifindex: int


class Promotion:
    def __init__(self, plane: DataPlane, links: tcx.Links, patience: Patience) -> None:
        self._plane = plane
        self._links = links
        self._patience = patience
        self._since: dict[str, tuple[int, float]] = {}  # device: ifindex, since when; oldest first
        self._changed = time.monotonic()
        self._moving = ""  # a device, from when it is chosen until it is moved
        self._hold = threading.Lock()

    def consider(self, device: str, ifindex: int) -> None:
        known, _ = self._since.get(device, (0, 0.0))
        if known != ifindex:
            self._since.pop(device, None)
            self._since[device] = ifindex, time.monotonic()

    def forget(self, device: str) -> None:
        self._since.pop(device, None)

    def disturb(self) -> None:
        """Something is attached or detached: not now."""
        self._changed = time.monotonic()

    def choose(self) -> Candidate | None:
        """The device that is to be moved now, if there is one. It is told once."""
        now = time.monotonic()
        if now - self._changed < self._patience.quiet:
            return None
        device, (ifindex, since) = next(iter(self._since.items()), ("", (0, now)))
        if not device or now - since < self._patience.lived:
            return None
        del self._since[device]
        self._moving = device
        return Candidate(device, ifindex)

    def moving(self, device: str) -> bool:
        """Whether its programs may be in two places at this moment."""
        return device == self._moving

    @contextmanager
    def apart(self, device: str) -> Iterator[None]:
        """While this device is not being moved."""
        if not self.moving(device):
            yield
            return
        with self._hold:
            yield

    def move(self, candidate: Candidate) -> None:
        """Links first, then the filters go. For a thread."""
        with self._hold:
            try:
                with Rtnl() as rtnl:
                    self._move(rtnl, *candidate)
            finally:
                self._moving = ""

    def _move(self, rtnl: Rtnl, device: str, ifindex: int) -> None:
        filters = Classifier(rtnl)
        ours = {program.id: program for program in self._plane.programs.values()}
        filtered = {hook: ours.get(filters.program(ifindex, hook)) for hook in HOOKS}
        try:
            for hook, program in filtered.items():
                if program and rtnl.ifindex(device) == ifindex:
                    self._links.attach(device, ifindex, hook, program)
            if all(self._links.program(ifindex, hook) in ours for hook in HOOKS):
                filters.detach(ifindex, HOOKS)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        finally:
            if rtnl.ifindex(device) != ifindex:
                for hook in HOOKS:
                    self._links.forget(device, hook)
