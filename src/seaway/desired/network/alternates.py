"""To whom packets may be given when the next hop is dead, before others know of it.

A neighbour is a loop-free alternate if its own way to the destination does not lead back through
this host (RFC 5286, inequality 1). One whose way avoids the next hop too (inequality 3) is
preferred: this host cannot tell a dead link from a dead host. Then the nearest is, then the first
by name. The destination itself avoids all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import NamedTuple

from seaway.desired.network.distances import Distances
from seaway.desired.network.graph import Arc, Graph
from seaway.desired.network.segments import Hub
from seaway.desired.network.ways import Nexts

LINKED = 16  # neighbours that are looked at: so many with a link of their own, the nearest,
INSIDE = 8  # and so many of the same segment, first those that lead out of it


class Near(NamedTuple):
    """The neighbours of a host, and how far away they are."""

    linked: Mapping[str, float]  # by a link of their own
    inside: Mapping[str, float]  # by the hub of a segment
    hubs: frozenset[Hub]

    @classmethod
    def of(cls, graph: Graph, host: str) -> Near:
        linked: dict[str, float] = {}
        inside: dict[str, float] = {}
        hubs = set()
        for number, weight in graph.after(graph.leaving(host)).items():
            node = graph.node(number)
            if not isinstance(node, Hub):
                linked[node] = weight
                continue
            hubs.add(node)
            for end, more in graph.after(number).items():
                other = str(graph.node(end))
                inside[other] = min(weight + more, inside.get(other, inf))
        inside.pop(host, None)
        return cls(linked, inside, frozenset(hubs))

    def hosts(self) -> set[str]:
        return {*self.linked, *self.inside}

    def away(self, host: str) -> float:
        """inf: it is no neighbour."""
        return min(self.linked.get(host, inf), self.inside.get(host, inf))

    def relays(self, graph: Graph) -> Iterator[str]:
        """Those that are looked at as alternates."""
        linked = [(away, h) for h, away in self.linked.items() if graph.relays(h)]
        inside = [
            (len(graph.after(graph.leaving(h))) == 1, away, h)
            for h, away in self.inside.items()
            if h not in self.linked and graph.relays(h)
        ]
        yield from (host for _, host in sorted(linked)[:LINKED])
        yield from (host for *_, host in sorted(inside)[:INSIDE])


class Alternate(NamedTuple):
    """A relay among the neighbours."""

    host: str
    away: float
    back: float  # from there to us; inf if we are no relay: then no way leads through us


class Backups:
    """The alternates of one host, to be asked for each destination."""

    def __init__(self, graph: Graph, host: str, distances: Distances) -> None:
        self._graph = graph
        self._host = host
        self._distances = distances
        self._from: dict[str, Distances] = {}
        self._look()

    def _look(self) -> None:
        """Who are the neighbours, and which of them are alternates?"""
        graph = self._graph
        self._near = near = Near.of(graph, self._host)
        here = {graph.arriving(self._host), graph.leaving(self._host)}
        self._ours = here.union(graph.leaving(hub) for hub in near.hubs)
        self._theirs = {n for h in near.hosts() for n in (graph.arriving(h), graph.leaving(h))}
        known = self._from
        self._from = {h: known.get(h) or Distances(graph, h) for h in sorted(near.relays(graph))}
        self._alternates = self._placed()

    def _placed(self) -> list[Alternate]:
        """In the order of their names."""
        graph, here = self._graph, self._graph.arriving(self._host)
        through = graph.relays(self._host)
        return [
            Alternate(host, self._near.away(host), distances.to[here] if through else inf)
            for host, distances in self._from.items()
        ]

    def update(self, arcs: list[Arc]) -> set[str] | None:
        """After these changed: the hosts that are otherwise placed for one of the alternates;
        None: all of them.
        """
        moved = {number for d in self._from.values() for number in d.repair(arcs)}
        stale = {host for n in moved if isinstance(host := self._graph.arrival(n), str)}
        near, before = self._near, self._alternates
        if any(self._concerns(arc) for arc in arcs):
            self._look()
            hosts = {*near.hosts(), *self._near.hosts()}
            stale |= {host for host in hosts if near.away(host) != self._near.away(host)}
        self._alternates = self._placed()
        return stale if self._alternates == before else None

    def _concerns(self, arc: Arc) -> bool:
        """Whether there may be other neighbours with it, or other relays among them."""
        start, _, before, now = arc
        return start in self._ours or (start in self._theirs and inf in {before, now})

    def of(self, host: str, nexts: Nexts) -> str:
        """For the way to this host by the first of these; empty: there is none."""
        first = nexts[0]
        end, hop = self._graph.arriving(host), self._graph.arriving(first)
        far = self._distances.to[end]
        rest = far - self._distances.to[hop]
        best, chosen = (True, inf), ""
        if host != first and (away := self._near.away(host)) < inf:
            best, chosen = (False, away), host
        for other, away, back in self._alternates:
            to = self._from[other].to
            on = to[end]
            if on >= back + far or other == first:
                continue
            rank = (host != first and on >= to[hop] + rest, away + on)
            if rank < best or (rank == best and other < chosen):
                best, chosen = rank, other
        if not chosen and len(nexts) > 1:
            return nexts[1]
        return chosen
