"""What a lab host's agent has used: CPU and memory, neither of which a busy machine changes."""

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
    found = (Path(f"/proc/{pid}") for pid in cgroups.processes(host.cgroup))
    return [Process(proc) for proc in found if _is_agent(proc)]


def agent_cpu(host: LabHost) -> float:
    """0 while there is none."""
    try:
        return sum(process.cpu for process in agents(host))
    except OSError:  # it ended meanwhile
        return 0.0


def _is_agent(proc: Path) -> bool:
    try:
        command = (proc / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"agent" in command and b"python" in command[0]
