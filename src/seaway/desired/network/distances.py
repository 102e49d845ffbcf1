"""How far it is from one host to all others, kept true while the graph changes.

Most changes leave most distances as they are: then only those are found anew that were made of
an arc that is longer now, or are shorter by one that is shorter (Ramalingam and Reps, 1996).
"""

from __future__ import annotations

from contextlib import suppress
from heapq import heapify, heappop, heappush
from math import inf

from seaway.desired.network.graph import Arc, Graph


class _TooMany(Exception):
    """Nodes that are nearer or further: see `Graph.many`."""


class Distances:
    """From where packets leave a host, whether it is a relay or not."""

    def __init__(self, graph: Graph, host: str) -> None:
        self._graph = graph
        self._fixed = (graph.leaving(host), graph.arriving(host))
        self.to: list[float] = self._measure()  # by node; inf: there is no path

    def _measure(self) -> list[float]:
        leave, arrive = self._fixed
        distances = self._graph.distances(leave)
        distances[arrive] = 0.0
        return distances

    def repair(self, arcs: list[Arc]) -> set[int]:
        """After these changed: the nodes that are nearer or further now."""
        self.to.extend([inf] * (self._graph.size - len(self.to)))
        before = self.to.copy()
        if len(arcs) < self._graph.many:
            with suppress(_TooMany):
                return self._settle(arcs, self._cut_off(arcs), before)
        self.to = self._measure()
        return {n for n, (a, b) in enumerate(zip(before, self.to, strict=True)) if a != b}

    def _cut_off(self, arcs: list[Arc]) -> set[int]:
        """The nodes that no path leads to any more which is as short as before."""
        to, graph, lost = self.to, self._graph, set[int]()
        todo = [
            (to[end], end)
            for start, end, before, now in arcs
            if before < now and to[start] + before == to[end] < inf
        ]
        heapify(todo)
        while todo:
            distance, number = heappop(todo)
            if number in lost or number in self._fixed or self._is_held(number, lost):
                continue
            lost.add(number)
            if len(lost) > self._graph.many:
                raise _TooMany
            for end, weight in graph.after(number).items():
                if distance + weight <= to[end] < inf:
                    heappush(todo, (to[end], end))
        return lost

    def _is_held(self, number: int, lost: set[int]) -> bool:
        to = self.to
        arcs = self._graph.before(number).items()
        return any(start not in lost and to[start] + w <= to[number] for start, w in arcs)

    def _settle(self, arcs: list[Arc], lost: set[int], before: list[float]) -> set[int]:
        """Find what was lost another way, and what is nearer now: the nearest first."""
        to, graph = self.to, self._graph
        for number in lost:
            to[number] = inf
        todo = [(to[start] + now, end) for start, end, _, now in arcs]
        for number in lost:
            todo += [(to[start] + w, number) for start, w in graph.before(number).items()]
        heapify(todo)
        found = set(lost)
        while todo:
            distance, number = heappop(todo)
            if distance >= to[number]:
                continue
            to[number] = distance
            found.add(number)
            if len(found) > self._graph.many:
                raise _TooMany
            for end, weight in graph.after(number).items():
                if distance + weight < to[end]:
                    heappush(todo, (distance + weight, end))
        return {number for number in found if to[number] != before[number]}
