"""The cgroup v2 subtree of a lab: how its processes are known, and ended, without memory.

`<cgroup2>/seaway-lab.<lab>/<host>` is the root of a host's cgroup namespace; its processes
start in the leaf `init` below, because a cgroup with processes cannot hand on controllers.
"""

from __future__ import annotations

import time
from pathlib import Path

from seaway.errors import HostUnfit, SystemFailed

PREFIX = "seaway-lab."
LEAF = "init"


def root() -> Path:
    """Where cgroup v2 is mounted: /sys/fs/cgroup, or `unified` below it on a hybrid machine."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, filesystem = line.partition(" - ")
        if filesystem.startswith("cgroup2 "):
            return Path(mount.split()[4])
    raise HostUnfit("cgroup v2 is not mounted", "mount -t cgroup2 none /sys/fs/cgroup")


def of_lab(name: str) -> Path:
    return root() / f"{PREFIX}{name}"


def lab_names() -> list[str]:
    return sorted(path.name.removeprefix(PREFIX) for path in root().glob(f"{PREFIX}*"))


def make(cgroup: Path) -> None:
    (cgroup / LEAF).mkdir(parents=True)


def settle(cgroup: Path) -> None:
    """Move a host's first processes from its root to the leaf, and hand down the controllers."""
    for pid in (cgroup / "cgroup.procs").read_text().split():
        (cgroup / LEAF / "cgroup.procs").write_text(pid)
    for folder in (cgroup.parent, cgroup):
        controllers = (folder / "cgroup.controllers").read_text().split()
        if controllers:
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in controllers))


def processes(cgroup: Path) -> list[int]:
    """The processes of the whole subtree, by the reader's process numbers."""
    found: list[int] = []
    for file in cgroup.rglob("cgroup.procs"):
        try:
            found += map(int, file.read_text().split())
        except OSError:  # the cgroup vanished, or is a threaded one
            continue
    return sorted(found)


def remove(cgroup: Path, within: float = 10.0) -> None:
    """End every process of the subtree and remove it. What is gone is no error."""
    deadline = time.monotonic() + within
    while cgroup.exists():
        try:
            (cgroup / "cgroup.kill").write_text("1")
            _remove_folders(cgroup)
        except FileNotFoundError:
            return
        except OSError as error:  # busy: a killed process is not gone yet
            if time.monotonic() > deadline:
                raise SystemFailed(f"cgroup {cgroup} stays: {error.strerror}") from error
            time.sleep(0.01)


def _remove_folders(cgroup: Path) -> None:
    below = sorted((p for p in cgroup.rglob("*") if p.is_dir()), reverse=True)
    for folder in [*below, cgroup]:
        folder.rmdir()
