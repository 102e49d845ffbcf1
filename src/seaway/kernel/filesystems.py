"""What kind of file system lies under a path: pins need bpffs, hooks of sockets a cgroup."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# linux/magic.h
BPFFS: Final = 0xCAFE4A11
CGROUP2: Final = 0x63677270


def has(path: Path, kind: int) -> bool:
    """Whether a file system of that kind is there, on top of all else."""
    return path.exists() and _kind(path) == kind


def _kind(path: Path) -> int:
    """The magic number that statfs(2) gives as the type."""
    answer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), answer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return int.from_bytes(answer.raw[:8], "little")
