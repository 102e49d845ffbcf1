"""Why packets go the way they go: every hop of it, and what was wrong with the other ways.

Links are as long in both directions, so how far it is to a host is how far it is from there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from math import inf

from seaway.desired.network.alternates import Near
from seaway.desired.network.graph import WEIGHTS, Graph
from seaway.desired.network.links import Length, Links
from seaway.desired.network.paths import Route, Routes
from seaway.desired.network.segments import Hub, Node
from seaway.desired.network.topology import Topology
from seaway.model.facts import SHARED, Routing
from seaway.model.reports import BlackHole, Detour, RouteReport

SHOWN = 16  # detours: the shortest, then those that are none
_NONE = Length(0, 0, 0)
_UNKNOWN = "large packets do not pass, as most links of a host on it show"


class Chart:
    """What one host knows, to be asked about."""

    def __init__(self, topology: Topology, routes: Routes, routing: Routing) -> None:
        changes = topology.all()
        self.host = routes.host
        self.found = routes.found
        self.routing = routing
        self.weigh = WEIGHTS[routing]
        self.links = topology.links
        self.graph = Graph(routing)
        self.graph.change(changes)
        self._away: dict[Node, dict[Node, Length]] = defaultdict(dict)
        for (host, node), length in changes.edges.items():
            if length is not None:
                self._away[host][node] = self._away[node][host] = length

    def to(self, host: str) -> RouteReport:
        """The way there, and the detours."""
        if host not in self.graph or self.host not in self.graph:
            return RouteReport(host=host, routing=self.routing, path=())
        return Journey(self, host).report()

    def near(self, host: str) -> dict[str, Length]:
        """Who is reached from there without a relay, and how far away it is."""
        near: dict[str, Length] = {}
        for node, length in self._away[host].items():
            if not isinstance(node, Hub):
                near[node] = min(length, near.get(node, length), key=self.weigh)
                continue
            for other, more in self._away[node].items():
                through = length.and_(more)
                near[str(other)] = min(through, near.get(str(other), through), key=self.weigh)
        near.pop(host, None)
        return near

    def holes(self, path: tuple[str, ...]) -> Iterator[BlackHole]:
        """Those on the way from this host along these, as their ends announce them."""
        for one, other in pairwise((self.host, *path)):
            yield from holes_between(self.links, one, other)

    def unmeasured(self, path: tuple[str, ...], backup: str) -> Iterator[str]:
        """Links that hosts of one segment take for granted: they do not probe each other, or began
        to a moment ago.
        """
        ways = [*pairwise((self.host, *path)), *[(self.host, backup)] * bool(backup)]
        for one, other in dict.fromkeys(ways):
            if other not in self.links.counted(one):
                yield f"{one} - {other}"

    def apart(self, without: str) -> tuple[tuple[str, ...], ...]:
        """Groups of hosts that only this one connects; empty: it connects none. Who relays nothing
        may be in several, and reaches who do not reach each other: groups are of others first.
        """
        groups: list[set[str]] = []
        relays = without in self.graph and self.graph.relays(without)
        near = set(self.near(without)) if relays else set[str]()
        relay = next(filter(self.graph.relays, sorted(near)), None)
        if relay and near <= self._reached(relay, without):
            return ()  # mostly so, and found at once
        reached = {host: self._reached(host, without) for host in near}
        for host in sorted(near, key=lambda h: (len(near & reached[h]), h)):
            if not any(host in group for group in groups):
                groups.append(reached[host])
        return tuple(tuple(sorted(group)) for group in groups) if len(groups) > 1 else ()

    def _reached(self, start: str, without: str) -> set[str]:
        """From one host, by relays but this one; with the host itself."""
        seen: set[Node] = {start, without}
        waiting: list[Node] = [start]
        while waiting:
            for node in self._away[waiting.pop()]:
                if node in seen:
                    continue
                seen.add(node)
                if isinstance(node, Hub) or self.graph.relays(node):
                    waiting.append(node)
        return {str(node) for node in seen if not isinstance(node, Hub)} - {without}

    def mentioned(self) -> set[str]:
        """With whom this host has a link, if one asks either end."""
        ours = self.links.words(self.host).keys()
        return {*ours, *(h for h in self.links.states if self.host in self.links.words(h))}


def holes_between(links: Links, one: str, other: str) -> Iterator[BlackHole]:
    """In both directions, as far as it is announced."""
    for source, target in ((one, other), (other, one)):
        word = links.words(source).get(target)
        if word and word.up and word.hole:
            yield BlackHole(source=source, target=target, size=word.hole)


class Journey:
    """From a host to another."""

    def __init__(self, chart: Chart, end: str) -> None:
        self._chart = chart
        self._end = end
        self._far = chart.graph.distances(chart.graph.leaving(end))
        self._far[chart.graph.arriving(end)] = 0.0
        self._near = chart.near(chart.host)

    def report(self) -> RouteReport:
        route = self._chart.found.get(self._end)
        path = self._path(route.nexts[0]) if route else ()
        length = self._length(path)
        detours = sorted(self._detours(route), key=lambda found: found[0])[:SHOWN]
        backup = route.backup if route else ""
        return RouteReport(
            host=self._end,
            routing=self._chart.routing,
            path=path,
            hops=length.hops // 2,
            rtt=length.rtt // 2,
            cost=length.cost // 2,
            equal=route.nexts[1:SHARED] if route else (),
            backup=backup,
            detours=tuple(detour for _, detour in detours),
            holes=tuple(self._chart.holes(path)),
            unmeasured=tuple(self._chart.unmeasured(path, backup)),
        )

    def _path(self, via: str) -> tuple[str, ...]:
        """As each host on the way decides: of equal neighbours the first by name."""
        path, graph, weigh = [via], self._chart.graph, self._chart.weigh
        while (here := path[-1]) != self._end:
            far = self._far[graph.arriving(here)]
            nexts = (
                other
                for other, length in self._chart.near(here).items()
                if weigh(length) + self._far[graph.arriving(other)] == far
                and (other == self._end or graph.relays(other))
            )
            path.append(min(nexts))
        return tuple(path)

    def _length(self, path: tuple[str, ...]) -> Length:
        length, here = _NONE, self._chart.host
        for host in path:
            length = length.and_(self._chart.near(here)[host])
            here = host
        return length

    def _detours(self, route: Route | None) -> Iterator[tuple[tuple[float, str], Detour]]:
        """With what they are sorted by."""
        chart = self._chart
        near = Near.of(chart.graph, chart.host)
        others = {*near.linked, *near.relays(chart.graph), *chart.mentioned()}
        if self._end in self._near:
            others.add(self._end)
        for via in others.difference(route.nexts[:SHARED] if route else ()):
            why = self._broken(via)
            if why:
                yield (inf, via), Detour(via=via, path=(), lost=why)
                continue
            path = self._path(via)
            length = self._length(path)
            detour = Detour(
                via=via,
                path=path,
                hops=length.hops // 2,
                rtt=length.rtt // 2,
                cost=length.cost // 2,
                lost=self._lost(path, length, route),
            )
            yield (chart.weigh(length), via), detour

    def _broken(self, via: str) -> str:
        """Why nothing leads to the end by this neighbour; empty: something does."""
        chart = self._chart
        if via not in self._near:
            return self._no_link(via)
        if via != self._end and not chart.graph.relays(via):
            return f"{via} passes nothing on"
        if self._far[chart.graph.arriving(via)] == inf:
            return f"nothing leads from {via} to {self._end}"
        return ""

    def _no_link(self, via: str) -> str:
        host, links = self._chart.host, self._chart.links
        words = {host: links.words(host).get(via), via: links.words(via).get(host)}
        down = [name for name, word in words.items() if word and not word.up]
        if down:
            return f"the link is down, says {' and '.join(down)}"
        told = [name for name, word in words.items() if word]
        return f"only {' and '.join(told)} tells of a link"

    def _lost(self, path: tuple[str, ...], length: Length, route: Route | None) -> str:
        chart = self._chart
        if chart.host in path:
            return f"it leads back through {chart.host}"
        if route is None:
            return "it is new, and will be taken"
        more = chart.weigh(length) - route.distance
        if not more:
            return "it is no shorter, and its name comes later"
        best = self._length(self._path(route.nexts[0]))
        if length.holes > best.holes:
            return next((hole.told() for hole in chart.holes(path)), _UNKNOWN)
        return self._longer(length, best, more)

    def _longer(self, length: Length, best: Length, more: float) -> str:
        """Than the way that is taken, by so much of what the routing counts."""
        if self._chart.routing == "latency":
            return f"it costs {more / 2000:g} ms more"
        if length.hops > best.hops:
            return f"hops: {length.hops // 2}, not {best.hops // 2}"
        return f"its round trip takes {(length.rtt - best.rtt) / 2000:g} ms more"
