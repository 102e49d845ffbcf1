"""Holder processes: what keeps a lab host's namespaces alive, and the way into them.

A holder is known by its cgroup alone: it is process 1 of the process namespace there. So a lab
whose maker crashed can be entered and taken down like any other.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from seaway.errors import NotFound, SystemFailed
from seaway.lab import cgroups

SCRIPT = Path(__file__).with_name("holder.sh")
NAMESPACES = ["--net", "--mount", "--pid", "--cgroup", "--uts", "--ipc"]
UNSHARE = ["unshare", "--fork", "--kill-child", *NAMESPACES, "--propagation", "private"]
# A cgroup, then a command. Our own commands are found in every host.
JOIN = ["sh", "-c", f'PATH=$PATH:{sys.prefix}/bin; echo 0 > "$0/cgroup.procs" && exec "$@"']
OVERLAID = ("/etc/", "/opt/", "/var/")
START_WITHIN = 10.0  # seconds


def start(name: str, cgroup: Path, store: Path) -> None:
    """Start the holder of one host; return when its file systems are ready."""
    cgroups.make(cgroup)
    # The namespace's root is the cgroup that its maker is in.
    command = [*JOIN, str(cgroup), "setsid", "--fork", *UNSHARE]
    script = ["sh", str(SCRIPT), name, str(store), *_kept()]
    text = _first_line([*command, *script])
    if text != "ready":
        raise SystemFailed(f"lab host '{name}' did not start: {text or 'no answer'}")
    cgroups.settle(cgroup)


def enter(cgroup: Path, argv: list[str]) -> list[str]:
    """The command that runs `argv` inside; killed, it takes that with it."""
    into = ["nsenter", "--target", str(find(cgroup)), *NAMESPACES]
    return join(cgroup, [*into, "setpriv", "--pdeathsig", "KILL", *argv])


def join(cgroup: Path, argv: list[str]) -> list[str]:
    """The command that runs `argv` as one of a host's processes, in the machine's namespaces."""
    return [*JOIN, str(cgroup / cgroups.LEAF), *argv]


def find(cgroup: Path) -> int:
    """The number of a host's first process, or NotFound."""
    for pid in cgroups.processes(cgroup / cgroups.LEAF):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it ended, before or while it was read
            continue
        numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        if len(numbers) > 2 and numbers[-1] == "1":  # the label, our number, the host's
            return pid
    raise NotFound(f"lab host '{cgroup.name}' is not running", "seaway lab up")


def _kept() -> list[str]:
    """Where our own code lies, if an overlay could hide it."""
    homes = {str(Path(sys.prefix).resolve()), str(Path(__file__).resolve().parents[2])}
    return sorted(home for home in homes if home.startswith(OVERLAID))


def _first_line(argv: list[str]) -> str:
    """Start a command that goes on in the background; return the first line that it prints."""
    reader, writer = os.pipe()
    try:
        try:
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
        finally:
            os.close(writer)
        return _read_line(reader)
    finally:
        os.close(reader)


def _read_line(fd: int) -> str:
    deadline, text = time.monotonic() + START_WITHIN, b""
    while not text.endswith(b"\n"):
        readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(fd, 4096) if readable else b""
        if not chunk:
            break
        text += chunk
    return text.decode(errors="replace").strip()
