"""Processes with which a runtime holds the ports of a container, so that no other takes them.

They answer nobody: the port is the container's. Podman's is the monitor of the container, which
names that on its command line; nerdctl's has its number in a file. Only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

_MONITOR: Final = "conmon"
_MONITORED: Final = b"-c"  # the option before the container's id
_NERDCTL: Final = "*/*/port-reserver.pid"  # of the container NAMESPACE-ID, by both its parts


def of_container(container: str, proc: Path, run: Path) -> Iterator[int]:
    """Their numbers, out of `/proc` and `/run`."""
    for folder in proc.iterdir():
        if folder.name.isdecimal() and _monitors(folder, container):
            yield int(folder.name)
    for path in (run / "nerdctl").glob(_NERDCTL):
        if container == f"{path.parts[-3]}-{path.parts[-2]}":
            with suppress(OSError, ValueError):
                yield int(path.read_text())


def _monitors(folder: Path, container: str) -> bool:
    with suppress(OSError):  # processes end while they are looked at
        if (folder / "comm").read_text().strip() == _MONITOR:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            return (_MONITORED, container.encode()) in pairwise(words)
    return False
