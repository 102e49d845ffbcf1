"""The pins of our maps and programs: what lets the next agent find them when this one is gone.

An agent without memory knows its own by their places (`objects`); each must hold
the very object that this agent works with. The pins of links belong to `attachments`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from seaway.bpf import syscall
from seaway.bpf.objects import DataPlane
from seaway.model.kernel import Pin

_File = tuple[int, int, int]  # device, inode, when it was made
_IDENTITY = struct.Struct("=II")  # every struct bpf_*_info begins with type and id


class PinTarget:
    """A target (`seaway.reconcile`)."""

    name = "pins"

    def __init__(self, plane: DataPlane) -> None:
        self._wanted = plane.pinned
        self._ours = {name: _identity(fd) for name, (_, fd) in plane.pinned.items()}
        self._found: dict[str, tuple[_File, Pin]] = {}

    def read(self) -> dict[str, Pin]:
        found = {}
        for name, (path, _) in self._wanted.items():
            with suppress(FileNotFoundError):
                found[name] = self._look(name, path)
        self._found = found
        return {name: pin for name, (_, pin) in found.items()}

    def _look(self, name: str, path: Path) -> tuple[_File, Pin]:
        """A file of a bpffs holds the same object as long as it lives: it is opened once."""
        stat = path.stat()
        file = stat.st_dev, stat.st_ino, stat.st_ctime_ns
        known = self._found.get(name)
        if known and known[0] == file:
            return known
        with syscall.closing(syscall.pinned(path)) as other:
            same = _identity(other) == self._ours[name]
        return file, Pin(name) if same else Pin(name, "another object")

    def put(self, objects: Mapping[str, Pin]) -> dict[str, OSError]:
        failed = {}
        for name in objects:
            path, fd = self._wanted[name]
            try:
                _put(path, fd)
            except OSError as error:
                failed[name] = error
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        for name in keys:
            self._wanted[name][0].unlink(missing_ok=True)
        return {}


def _put(path: Path, fd: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    syscall.pin(fd, path)


def _identity(fd: int) -> tuple[int, ...]:
    return _IDENTITY.unpack(syscall.info(fd, _IDENTITY.size))
