"""What processes of a lab host have used: CPU and memory, which a busy machine does not change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seaway.lab import LabHost, cgroups


@dataclass(frozen=True)
class Process:
    """`proc`: its folder in /proc, as the machine numbers it."""

    proc: Path

    @property
    def cpu(self) -> float:
        """Seconds, by the scheduler's own clock: ticks are too coarse for an idle process."""
        tasks = (self.proc / "task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    @property
    def resident(self) -> float:
        """MB."""
        lines = (self.proc / "status").read_text().splitlines()
        line = next(text for text in lines if text.startswith("VmRSS"))
        return int(line.split()[1]) / 1000


def agents(host: LabHost) -> list[Process]:
    """The agent that runs there, also one that only starts; none, or one."""
    return [process for process in residents(host) if _is(process.proc, b"agent")]


def ours(host: LabHost) -> list[Process]:
    """The agent and `routed`: all that a member of a cluster needs."""
    return [p for p in residents(host) if any(_is(p.proc, what) for what in (b"agent", b"routed"))]


def residents(host: LabHost) -> list[Process]:
    """All that runs there."""
    return [Process(Path(f"/proc/{pid}")) for pid in cgroups.processes(host.cgroup)]


def agent_cpu(host: LabHost) -> float:
    """0 while there is none."""
    try:
        return sum(process.cpu for process in agents(host))
    except OSError:  # it ended meanwhile
        return 0.0


def _is(proc: Path, what: bytes) -> bool:
    try:
        command = (proc / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return what in command and b"python" in command[0]
