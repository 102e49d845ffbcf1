"""From one host to every other: all next hops by which the way is equally short.

What leads to a node by a shortest path led there by the same next hops. So nodes are looked at
from the nearest on, and of those that nothing changed for none.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf

from seaway.desired.network.distances import Distances
from seaway.desired.network.graph import Arc, Graph
from seaway.desired.network.segments import Hub, Node

EQUAL = 8  # next hops that are remembered for one destination: the first by name
_ITSELF = ""  # the host that is led to is its own next hop; sorts before all names

Nexts = tuple[str, ...]  # hosts, in the order of their names


class Ways:
    """Of one host, by destination; a hub is one too."""

    def __init__(self, graph: Graph, host: str, distances: Distances) -> None:
        self._graph = graph
        self._host = host
        self._distances = distances
        self.found: dict[Node, Nexts] = {}
        self._look_at_all()

    def update(self, arcs: Iterable[Arc], moved: set[int]) -> set[Node]:
        """After arcs and distances to nodes changed: the destinations with other next hops."""
        if len(moved) > self._graph.many:
            return self._look_at_all()
        stale = {*moved, *(end for _, end, *_ in arcs)}
        for number in list(stale):
            stale |= self._graph.after(number).keys()
        return self._look_at(stale)

    def _look_at_all(self) -> set[Node]:
        nodes = self._in_order(self._graph.arrivals())
        return {node for _, number, node in nodes if self._turn(node, number)}

    def _look_at(self, numbers: Iterable[int]) -> set[Node]:
        """And at what they lead to, where that makes a difference."""
        graph, to = self._graph, self._distances.to
        todo, seen, changed = self._in_order(numbers), set[int](), set[Node]()
        while todo:
            distance, number, node = heappop(todo)
            if number in seen:
                continue
            seen.add(number)
            if not self._turn(node, number):
                continue
            changed.add(node)
            here = graph.leaving(node)
            if to[here] == distance < inf:  # else it is no relay
                ends = [n for n, weight in graph.after(here).items() if distance + weight == to[n]]
                for one in self._in_order(ends):
                    heappush(todo, one)
        return changed

    def _in_order(self, numbers: Iterable[int]) -> list[tuple[float, int, Node]]:
        """Destinations, the nearest first."""
        to, arrival = self._distances.to, self._graph.arrival
        nodes = ((n, arrival(n)) for n in numbers)
        return sorted((to[n], n, node) for n, node in nodes if node not in {None, self._host})

    def _turn(self, node: Node, number: int) -> bool:
        """Whether its next hops are others now."""
        way = self._way(node, number)
        if way == self.found.get(node, ()):
            return False
        if way:
            self.found[node] = way
        else:
            del self.found[node]
        return True

    def _way(self, node: Node, number: int) -> Nexts:
        graph, to = self._graph, self._distances.to
        distance, way = to[number], Nexts()
        if distance == inf:
            return way
        for start, weight in graph.before(number).items():
            if to[start] + weight == distance:
                before = graph.node(start)
                nexts = (_ITSELF,) if before == self._host else self.found[before]
                way = _joined(way, nexts)
        if way[0] == _ITSELF and not isinstance(node, Hub):
            return _joined(way[1:], (node,))
        return way


def _joined(one: Nexts, other: Nexts) -> Nexts:
    if one == other or not one:
        return other
    return tuple(sorted({*one, *other})[:EQUAL])
