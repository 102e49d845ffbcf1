"""The topology as rustworkx has it, weighed for one routing.

A host is two nodes: where packets arrive, and where they leave. Between them lies an arc only
if it is a relay, so a path may start or end at any host, and passes through relays alone.

Distances are sums of whole numbers below 2^53, which a float holds exactly: hosts that know the
same compute the same, and equal is equal. So they are with 5,000 links one after the other, 700 of
them black holes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Final

from rustworkx import PyDiGraph, digraph_dijkstra_shortest_path_lengths

from seaway.desired.network.links import Length
from seaway.desired.network.segments import Hub, Node
from seaway.desired.network.topology import Changes
from seaway.model.facts import Routing
from seaway.model.links import MOST

HOP: Final = 1 << 38  # half of one; more than the round-trip times of 5,000 links together
SHUNNED: Final = 32  # halves of a link, of the costliest: a black hole counts as so much more
WEIGHTS: Final[Mapping[Routing, Callable[[Length], float]]] = {
    "hops": lambda length: float((length.hops + SHUNNED * length.holes) * HOP + length.rtt),
    "latency": lambda length: float(length.cost + SHUNNED * length.holes * MOST),
}
SHARE: Final = 1 / 32  # of all nodes: if more are otherwise, it is faster to begin anew
FEW: Final = 64  # nodes, that are not worth it
Arc = tuple[int, int, float, float]  # from, to, its weight before and now; inf: there is none
Arcs = Mapping[int, float]  # by the node at their other end, their weight


class Graph:
    """Nodes have numbers here, of which one that is free again may be given to another."""

    def __init__(self, routing: Routing) -> None:
        self._weigh = WEIGHTS[routing]
        self._graph: PyDiGraph[Node, float] = PyDiGraph(multigraph=False)
        self._arrive: dict[Node, int] = {}
        self._leave: dict[Node, int] = {}  # a hub is one node: packets leave where they arrive
        self._arrivals: dict[int, Node] = {}
        self._nodes: dict[int, Node] = {}
        self.size = 0  # above every number

    @property
    def many(self) -> float:
        """So many nodes that it is faster to look at all than at those that changed."""
        return max(FEW, SHARE * self.size)

    def __contains__(self, node: Node) -> bool:
        return node in self._arrive

    def change(self, changes: Changes) -> list[Arc]:
        """Learn of them: the arcs that are otherwise than before. Nodes are left as they are."""
        arcs = [arc for host, relay in changes.relays.items() for arc in self._let(host, relay)]
        for (host, node), length in changes.edges.items():
            weight = inf if length is None else self._weigh(length)
            arcs += self._set(host, node, weight)
            arcs += self._set(node, host, weight)
        return arcs

    def forget(self, changes: Changes) -> None:
        """Nodes that are not there any more after these."""
        nodes: set[Node] = {node for _, node in changes.edges if isinstance(node, Hub)}
        nodes |= {host for host, relay in changes.relays.items() if relay is None}
        for node in nodes & self._arrive.keys():
            if self.after(self._leave[node]):
                continue  # a hub that is left by some only
            for number in {self._arrive.pop(node), self._leave.pop(node)}:
                self._graph.remove_node(number)
                self._arrivals.pop(number, None)
                del self._nodes[number]

    def _let(self, host: str, relay: bool | None) -> Iterator[Arc]:
        """Pass on what is for others, or not. Who is forgotten does not."""
        if host not in self:
            if relay is None:
                return
            self._add(host)
        yield from self._set_arc(self._arrive[host], self._leave[host], 0.0 if relay else inf)

    def _set(self, start: Node, end: Node, weight: float) -> Iterator[Arc]:
        for node in (start, end):
            if node not in self:
                if weight == inf:
                    return
                self._add(node)
        yield from self._set_arc(self._leave[start], self._arrive[end], weight)

    def _add(self, node: Node) -> None:
        arrive = self._graph.add_node(node)
        leave = arrive if isinstance(node, Hub) else self._graph.add_node(node)
        self._arrive[node], self._leave[node] = arrive, leave
        self._arrivals[arrive] = self._nodes[arrive] = self._nodes[leave] = node
        self.size = max(self.size, arrive + 1, leave + 1)

    def _set_arc(self, start: int, end: int, weight: float) -> Iterator[Arc]:
        graph = self._graph
        before = graph.get_edge_data(start, end) if graph.has_edge(start, end) else inf
        if weight == before:
            return
        if weight == inf:
            graph.remove_edge(start, end)
        else:
            graph.add_edge(start, end, weight)
        yield start, end, before, weight

    def node(self, number: int) -> Node:
        return self._nodes[number]

    def arrivals(self) -> Iterable[int]:
        """All nodes where packets arrive."""
        return self._arrivals

    def arrival(self, number: int) -> Node | None:
        """What it is that packets arrive at there; None: they do not."""
        return self._arrivals.get(number)

    def arriving(self, node: Node) -> int:
        return self._arrive[node]

    def leaving(self, node: Node) -> int:
        return self._leave[node]

    def relays(self, host: str) -> bool:
        return self._graph.has_edge(self._arrive[host], self._leave[host])

    def before(self, number: int) -> Arcs:
        """That lead there."""
        return self._graph.adj_direction(number, True)

    def after(self, number: int) -> Arcs:
        """That lead on from there."""
        return self._graph.adj_direction(number, False)

    def distances(self, number: int) -> list[float]:
        """From a node to each other, by number; inf: there is no path. By Dijkstra's algorithm."""
        distances = [inf] * self.size
        distances[number] = 0.0
        found = digraph_dijkstra_shortest_path_lengths(self._graph, number, float)
        for end, distance in found.items():
            distances[end] = distance
        return distances
