"""Virtual hosts on one machine: what tests, demo and benchmarks move their packets between.

    ┌── host1 ──┐  ┌── host2 ──┐        ┌── world ──┐
    │   eth0    │  │   eth0    │  ...   │   eth0    │  (only where asked for: the default gateway)
    └─────┬─────┘  └─────┬─────┘        └─────┬─────┘
    ┌─────┴──────────────┴── wire ────────────┴─────┐
    │                  a bridge                     │  a network namespace, no way out
    └───────────────────────────────────────────────┘

Each host has network, mount, process, cgroup, IPC and name namespaces of its own, so that an
agent and a container runtime run in it at their default paths. The machine's own namespaces
are never written to, except for one cgroup subtree for each lab and one folder under /run.
"""

from __future__ import annotations

from seaway.lab.hosts import LabHost
from seaway.lab.labs import (
    Lab,
    check,
    down,
    link,
    load,
    names,
    part,
    passing,
    reboot,
    run,
    status,
    up,
)

__all__ = [
    "Lab",
    "LabHost",
    "check",
    "down",
    "link",
    "load",
    "names",
    "part",
    "passing",
    "reboot",
    "run",
    "status",
    "up",
]
