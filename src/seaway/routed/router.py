"""From link state and records to this host's paths, for each routing that is asked for. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from seaway.desired.network.explain import Chart, holes_between
from seaway.desired.network.paths import Route, Routes
from seaway.desired.network.segments import by_record
from seaway.desired.network.topology import Changes, Topology
from seaway.model.addresses import Address
from seaway.model.facts import Routing
from seaway.model.links import LinkState
from seaway.model.reports import BlackHole, RouteReport
from seaway.model.routing import Turn


class Router:
    """Of one host."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._topology = Topology()
        self._heard: dict[str, LinkState] = {}
        self._underlays: Mapping[str, Sequence[Address]] = {}
        self._routes: dict[Routing, Routes] = {}

    def learn(self, changes: Mapping[str, LinkState | None]) -> None:
        for host, state in changes.items():
            if state is None:
                self._heard.pop(host, None)
            else:
                self._heard[host] = state
            self._draw(host)

    def place(self, underlays: Mapping[str, Sequence[Address]]) -> None:
        """Where each host is reached, by its record."""
        before, self._underlays = self._underlays, underlays
        for host in [h for h in self._heard if before.get(h) != underlays.get(h)]:
            self._draw(host)

    def _draw(self, host: str) -> None:
        state = self._heard.get(host)
        placed = by_record(state, self._underlays.get(host, ())) if state else None
        self._topology.change(host, placed)

    def telling_of_us(self) -> list[str]:
        """Hosts that announce a link to this one, be it up or down, and not only because we do."""
        links = self._topology.links
        words = ((host, links.words(host).get(self._host)) for host in links.states)
        return sorted(host for host, word in words if word and not word.returned)

    def holes(self, host: str) -> tuple[BlackHole, ...]:
        """On the link to this one, as both ends announce them."""
        return tuple(holes_between(self._topology.links, self._host, host))

    def use(self, routings: Iterable[Routing]) -> list[Turn]:
        """From now on compute these: what is gone, or new."""
        wanted = [*routings]
        gone = [routing for routing in self._routes if routing not in wanted]
        turns = [Turn(routing=r, paths=(), whole=True) for r in gone]
        for routing in gone:
            del self._routes[routing]
        for routing in wanted:
            if routing not in self._routes:
                self._routes[routing] = Routes(self._host, routing)
                self._routes[routing].change(self._topology.all())
                turns.append(self.whole(routing))
        return turns

    def compute(self) -> list[Turn]:
        """The paths that are otherwise than the last time."""
        changes = self._topology.take()
        return [turn for r in self._routes if (turn := self._compute(r, changes))]

    def _compute(self, routing: Routing, changes: Changes) -> Turn | None:
        turned = self._routes[routing].change(changes)
        if not turned:
            return None
        paths = tuple(route.path(h, routing) for h, route in sorted(turned.items()) if route)
        gone = tuple(sorted(host for host, route in turned.items() if not route))
        return Turn(routing=routing, paths=paths, gone=gone)

    def whole(self, routing: Routing) -> Turn:
        """All paths; none of a routing that is not asked for any more."""
        routes = self._routes.get(routing)
        found: Mapping[str, Route] = routes.found if routes else {}
        paths = tuple(route.path(host, routing) for host, route in sorted(found.items()))
        return Turn(routing=routing, paths=paths, whole=True)

    @property
    def routings(self) -> list[Routing]:
        return list(self._routes)

    def apart(self, without: str) -> tuple[tuple[str, ...], ...]:
        """Groups of hosts that only this one connects. No routing makes a difference."""
        routing = next(iter(self._routes), None)
        if routing is None:
            return ()
        return Chart(self._topology, self._routes[routing], routing).apart(without)

    def explain(self, routing: Routing, to: str) -> tuple[RouteReport, ...]:
        """The way to this host, or to all of which there is one; empty: not for this routing."""
        if routing not in self._routes:
            return ()
        chart = Chart(self._topology, self._routes[routing], routing)
        hosts = [to] if to else sorted(self._topology.links.states.keys() - {self._host})
        return tuple(chart.to(host) for host in hosts)
