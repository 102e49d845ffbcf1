"""What paths are, by the definition and slowly: an oracle that shares no step with what it tests.

It takes the edges as they are, hubs dissolved into pairs of hosts, and goes through all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from seaway.desired.network.links import Length
from seaway.desired.network.segments import Edge, Hub
from seaway.desired.network.topology import Topology
from seaway.model.links import LinkState

Cost = tuple[float, ...]  # compared in this order
FAR: Cost = (inf, inf)


SHUNNED = 16  # links of the costliest kind, as which a black hole counts besides
COSTLIEST = 2**24  # microseconds


def by_hops(length: Length) -> Cost:
    return (length.hops / 2 + SHUNNED * length.holes, length.rtt / 2)


def by_latency(length: Length) -> Cost:
    return (length.cost / 2 + SHUNNED * COSTLIEST * length.holes, 0)


WEIGH = {"hops": by_hops, "latency": by_latency}


class Map(NamedTuple):
    """Who is next to whom, how far, and who passes on."""

    hosts: Sequence[str]
    away: Mapping[tuple[str, str], Cost]
    relays: frozenset[str]

    @classmethod
    def of(cls, states: Sequence[LinkState], routing: str) -> Map:
        topology = Topology()
        for state in states:
            topology.change(state.host, state)
        topology.take()
        return cls.drawn(topology.all().edges, states, routing)

    @classmethod
    def drawn(
        cls, edges: Mapping[Edge, Length | None], states: Sequence[LinkState], routing: str
    ) -> Map:
        weigh, away = WEIGH[routing], dict[tuple[str, str], Cost]()
        inside: dict[Hub, dict[str, Cost]] = defaultdict(dict)
        for (one, node), length in edges.items():
            if length is None:
                continue
            if isinstance(node, Hub):
                inside[node][one] = weigh(length)
            else:
                away[one, node] = away[node, one] = weigh(length)
        for members in inside.values():
            for one, here in members.items():
                for other, there in members.items():
                    if one != other:
                        away[one, other] = min(added(here, there), away.get((one, other), FAR))
        hosts = [state.host for state in states]
        return cls(hosts, away, frozenset(state.host for state in states if state.relay))

    def distances(self, source: str) -> dict[str, Cost]:
        """By relaxing every link until nothing gets nearer (Bellman and Ford)."""
        to = dict.fromkeys(self.hosts, FAR) | {source: (0.0, 0.0)}
        while True:
            before = dict(to)
            for (one, other), away in self.away.items():
                if one == source or one in self.relays:
                    to[other] = min(to[other], added(to[one], away))
            if to == before:
                return to

    def nexts(self, source: str, end: str) -> tuple[str, ...]:
        """All equal next hops."""
        far = self.distances(source)[end]
        if far == FAR or source == end:
            return ()
        near = {other: away for (one, other), away in self.away.items() if one == source}
        return tuple(
            sorted(
                other
                for other, away in near.items()
                if (other == end or other in self.relays)
                and added(away, self.distances(other)[end]) == far
            )
        )

    def fewest_hops(self, source: str) -> dict[str, int]:
        """By going out ring by ring."""
        ring, found, hops = {source}, {source: 0}, 0
        while ring:
            hops += 1
            starts = {h for h in ring if h == source or h in self.relays}
            ring = {o for (one, o) in self.away if one in starts and o not in found}
            found |= dict.fromkeys(ring, hops)
        return found


def added(one: Cost, other: Cost) -> Cost:
    return tuple(a + b for a, b in zip(one, other, strict=True))
