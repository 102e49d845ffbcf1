"""Compute one host's paths in a cluster of others that are not there.

Reads names of trials, one a line, and answers each by a figure.

    python -m seaway.bench.scale_trials HOSTS SYSTEM
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from seaway.bench.flooding import Flooding, Told
from seaway.bench.simulated import Simulated
from seaway.desired.network.paths import Routes
from seaway.desired.network.topology import Topology
from seaway.facts import Facts, Index
from seaway.model.facts import Block, Peer, Routing

SYSTEMS: Final[Mapping[str, Routing]] = {
    "hops": "hops",
    "latency": "latency",
    "segments": "latency",
}
CHANGES = 16  # links that become longer or shorter in a round, one after the other
OWN = 4  # of so many links one is the host's own
MILLISECONDS = 1000


class Cluster:
    """One host's view of it: all it knows, and what it made of that."""

    def __init__(self, hosts: int, system: str) -> None:
        self._routing = SYSTEMS[system]
        self._simulated = Simulated(hosts, segments=system == "segments")
        self._host = self._simulated.names[0]
        self._facts = Facts((), (Index(Block, "host", lambda block: (block.host,)),))
        for peer in self._simulated.peers():
            self._facts.change(Peer, peer.name, peer)
        for block in self._simulated.blocks():
            self._facts.change(Block, block.prefix, block)
        self._topology, self._routes = self._computed()

    def _computed(self) -> tuple[Topology, Routes]:
        topology, routes = Topology(), Routes(self._host, self._routing)
        for state in self._simulated.states():
            topology.change(state.host, state)
        routes.change(topology.take())
        return topology, routes

    def paths_all(self) -> float:
        """Milliseconds, from all announcements to all paths."""
        start = time.perf_counter()
        self._computed()
        return (time.perf_counter() - start) * MILLISECONDS

    def paths_change(self) -> float:
        """Milliseconds from two announcements to other paths, in the slowest of some cases."""
        return max(self._changed())

    def paths_change_p50(self) -> float:
        return statistics.median(self._changed())

    def _changed(self) -> list[float]:
        taken = []
        for number in range(CHANGES):
            states = self._simulated.change(None if number % OWN else self._host)
            start = time.perf_counter()
            for state in states:
                self._topology.change(state.host, state)
            self._routes.change(self._topology.take())
            taken.append((time.perf_counter() - start) * MILLISECONDS)
        return taken

    @cached_property
    def _told(self) -> Told:
        """Of one link that changed, a second time: credentials are known by then."""
        flooding = Flooding(self._simulated)
        states = self._simulated.change()
        flooding.change(states)
        return flooding.change([replace(state, relay=False) for state in states])

    def messages(self) -> float:
        """That a host gets of it, on average. They are the same each time."""
        return self._told.messages / len(self._simulated.names)

    def octets(self) -> float:
        return self._told.octets / len(self._simulated.names)

    def memory(self) -> float:
        """MB that this process has, with all that it knows of the cluster."""
        status = Path("/proc/self/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0


class Trial(NamedTuple):
    unit: str
    measure: Callable[[Cluster], float]
    timed: bool = False  # else it is the same each time, however busy the machine is


TRIALS: Final[Mapping[str, Trial]] = {
    "memory": Trial("MB", Cluster.memory),
    "paths_all": Trial("ms", Cluster.paths_all, timed=True),
    "paths_change": Trial("ms", Cluster.paths_change, timed=True),
    "paths_change_p50": Trial("ms", Cluster.paths_change_p50, timed=True),
    "messages": Trial("a host", Cluster.messages),
    "bytes": Trial("a host", Cluster.octets),
}


def main() -> None:
    cluster = Cluster(int(sys.argv[1]), sys.argv[2])
    for line in sys.stdin:
        print(TRIALS[line.strip()].measure(cluster), flush=True)


if __name__ == "__main__":
    main()
