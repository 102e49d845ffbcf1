"""The way from one host to every other: next hop, equal ones, and a loop-free alternate.

Every host computes this for itself, from the same link state. Each next hop is strictly nearer to
the destination, so hosts that know the same make no loop, whichever of equal ones they take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from seaway.desired.network.alternates import Backups
from seaway.desired.network.distances import Distances
from seaway.desired.network.graph import Arc, Graph
from seaway.desired.network.topology import Changes
from seaway.desired.network.ways import Nexts, Ways
from seaway.model.facts import SHARED, Path, Routing


class Route(NamedTuple):
    """The way to one host."""

    nexts: Nexts  # equally near; flows are shared over the first ones
    backup: str  # empty: there is none
    distance: float  # in the weights of its routing

    def path(self, host: str, routing: Routing) -> Path:
        """As a fact, of the way to this host."""
        via, *equal = self.nexts[:SHARED]
        return Path(host=host, via=via, backup=self.backup, routing=routing, equal=tuple(equal))


class Routes:
    """From one host to all others, for one routing: a function of the topology, whatever was
    before.
    """

    def __init__(self, host: str, routing: Routing) -> None:
        self.host = host
        self.graph = Graph(routing)
        self.found: dict[str, Route] = {}
        self._view: View | None = None  # none: nothing is known of this host itself

    def change(self, changes: Changes) -> dict[str, Route | None]:
        """Learn of them: the routes that are otherwise than before; None: there is no way."""
        stale = self._look(self.graph.change(changes), changes)
        turned: dict[str, Route | None] = {}
        for host in stale:
            route = self._view.route(host) if self._view else None
            if route == self.found.get(host):
                continue
            turned[host] = route
            if route:
                self.found[host] = route
            else:
                del self.found[host]
        self.graph.forget(changes)
        return turned

    def _look(self, arcs: list[Arc], changes: Changes) -> set[str]:
        """At what changed: to whom the route may be another now."""
        forgotten = changes.relays.get(self.host, False) is None
        if forgotten or self.host not in self.graph:
            self._view = None
            return set(self.found)
        if self._view is None:
            self._view = View(self.graph, self.host)
            return self._view.hosts()
        return self._view.update(arcs, self.found)


class View:
    """The graph as one host sees it that is in it."""

    def __init__(self, graph: Graph, host: str) -> None:
        self._graph = graph
        self._distances = Distances(graph, host)
        self._ways = Ways(graph, host, self._distances)
        self._backups = Backups(graph, host, self._distances)

    def hosts(self) -> set[str]:
        """All that are reached."""
        return {node for node in self._ways.found if isinstance(node, str)}

    def update(self, arcs: list[Arc], found: Mapping[str, Route]) -> set[str]:
        """After these changed: to whom the route may be another now. `found` are those before."""
        moved = self._distances.repair(arcs)
        nodes = self._ways.update(arcs, moved) | {self._graph.arrival(n) for n in moved}
        stale = {node for node in nodes if isinstance(node, str)}
        placed = self._backups.update(arcs)
        if placed is None:
            return self.hosts() | found.keys()
        stale |= placed
        return stale | {host for host, route in found.items() if route.nexts[0] in stale}

    def route(self, host: str) -> Route | None:
        nexts = self._ways.found.get(host)
        if not nexts:
            return None
        distance = self._distances.to[self._graph.arriving(host)]
        return Route(nexts, self._backups.of(host, nexts), distance)
