"""Our programs on the hooks of the host's sockets: links on the root of its cgroups, pinned.

An agent without memory knows its own by their pins in the folder `sockets`. They stand beside
what others attach there, and hold for every process of the host: the programs look at the
network namespace of the socket (`bpf/lib/socket.h`).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seaway.bpf import swap, syscall
from seaway.bpf.objects import DataPlane
from seaway.kernel import filesystems
from seaway.model.kernel import SocketHook

_CGROUP = struct.Struct("=Q")  # how a link tells where it is (swap.held)
_MOUNTS = Path("/proc/self/mountinfo")


class SocketTarget:
    """A target (`seaway.reconcile`). `cgroup`: the root; None: where cgroup v2 is mounted."""

    name = "sockets"

    def __init__(self, plane: DataPlane, cgroup: Path | None = None) -> None:
        self._plane = plane
        self._cgroup = cgroup
        self._folder = plane.sockets

    def read(self) -> dict[str, SocketHook]:
        found = {}
        ours = {program.id for program in self._plane.programs.values()}
        for pin in self._pins():
            with syscall.closing(syscall.pinned(pin)) as link:
                _, program, cgroup = swap.held(link, _CGROUP)
            if not cgroup:
                found[pin.name] = SocketHook(pin.name, "of a cgroup that is gone")
            else:
                told = "ours" if program in ours else f"program {program}"
                found[pin.name] = SocketHook(pin.name, told)
        return found

    def put(self, objects: Mapping[str, SocketHook]) -> dict[str, OSError]:
        failed = {}
        for hook in objects:
            try:
                self._put(hook)
            except OSError as error:
                failed[hook] = error
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        for hook in keys:
            (self._folder / hook).unlink(missing_ok=True)
        return {}

    def _pins(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.exists() else []

    def _put(self, hook: str) -> None:
        """Into the link that is pinned, without a moment between the programs; else a new one."""
        program, pin = self._plane.programs[hook], self._folder / hook
        with self._root() as root:
            if swap.swapped(pin, program.fd, os.fstat(root).st_ino, _CGROUP):
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            pin.unlink(missing_ok=True)
            with syscall.closing(syscall.cgroup_link_create(program.fd, root, hook)) as link:
                syscall.pin(link, pin)

    @contextmanager
    def _root(self) -> Iterator[int]:
        folder = self._cgroup or root()
        if folder is None:
            text = (
                "cgroup v2 is not mounted: the host's processes do not reach published ports; "
                "mount it: mkdir -p /run/cgroup2 && mount -t cgroup2 cgroup2 /run/cgroup2"
            )
            raise OSError(errno.ENODEV, text)
        with syscall.closing(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as found:
            yield found


def root() -> Path | None:
    """Where cgroup v2 is mounted and can be seen; None: nowhere."""
    for line in reversed(_MOUNTS.read_text().splitlines()):
        mount, _, kind = line.partition(" - ")
        folder = Path(mount.split()[4])
        if kind.startswith("cgroup2 ") and filesystems.has(folder, filesystems.CGROUP2):
            return folder
    return None
