"""Programs attached by TCX links (kernel 6.6), each pinned as links/<device>-<hook>.

A pinned link outlives the agent, nobody removes it by accident as a qdisc is removed, and it
runs a little faster than a filter. Ours are known by their pins.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from pathlib import Path

from seaway.bpf import swap, syscall
from seaway.bpf.objects import Program

_LOOPBACK = 1  # in every network namespace
_DEVICE = struct.Struct("=I")  # how a link tells where it is (swap.held)


def available() -> bool:
    """Whether this kernel has TCX."""
    try:
        syscall.attached(_LOOPBACK, "ingress")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


class Links:
    """The folder of pins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._make()

    def pins(self) -> Iterator[tuple[str, str]]:
        """The (device, hook) of every pin, also of devices that are gone."""
        self._make()
        for pin in self._folder.iterdir():
            device, _, hook = pin.name.rpartition("-")
            yield device, hook

    def _make(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def attach(self, device: str, ifindex: int, hook: str, program: Program) -> None:
        """Make this the first program on the hook: others that came before it go behind.

        Where our link `runs` behind another's, the hook is without it for a moment, or for
        longer if the new one fails: whoever asks for that has a filter of ours there.
        """
        if self.swap(device, ifindex, hook, program):
            return
        self._release(device, hook)
        self._make()
        with syscall.closing(syscall.link_create(program.fd, ifindex, hook)) as link:
            syscall.pin(link, self._path(device, hook))

    def program(self, ifindex: int, hook: str) -> int:
        """The id of the program that runs first there; 0: none does."""
        try:
            return syscall.first_attached(ifindex, hook)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0

    def forget(self, device: str, hook: str) -> None:
        """Remove the pin, and with it the link."""
        self._path(device, hook).unlink(missing_ok=True)

    def _release(self, device: str, hook: str) -> None:
        """Remove the pin and the link at once: without its pin the kernel ends it a bit later."""
        try:
            descriptor = syscall.pinned(self._path(device, hook))
        except FileNotFoundError:
            return
        with syscall.closing(descriptor) as link:
            syscall.link_detach(link)
        self.forget(device, hook)

    def swap(self, device: str, ifindex: int, hook: str, program: Program) -> bool:
        """Whether the pinned link is alive, on this device and first; then the program is in it."""
        try:
            descriptor = syscall.pinned(self._path(device, hook))
        except FileNotFoundError:
            return False
        with syscall.closing(descriptor) as link:
            number, held, on = swap.held(link, _DEVICE)
            if on != ifindex or syscall.attached(ifindex, hook)[:1] != ((held, number),):
                return False
            if held != program.id:
                syscall.link_update(link, program.fd)
            return True

    def runs(self, device: str, ifindex: int, hook: str) -> bool:
        """Whether the pinned link is alive, on this device, at whatever place."""
        try:
            descriptor = syscall.pinned(self._path(device, hook))
        except FileNotFoundError:
            return False
        with syscall.closing(descriptor) as link:
            return swap.held(link, _DEVICE).place == ifindex

    def _path(self, device: str, hook: str) -> Path:
        return self._folder / f"{device}-{hook}"
