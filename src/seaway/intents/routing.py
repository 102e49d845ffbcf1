"""Links to other hosts, and the paths over them, as `routed` tells."""

from __future__ import annotations

from typing import get_args

from seaway.errors import Invalid, NotFound
from seaway.intents.desk import Desk
from seaway.model.facts import Network, Peer, Routing
from seaway.model.reports import RouteReport
from seaway.model.routing import Question, RoutedReport, Routes


class RoutingIntents(Desk):
    async def links(self) -> RoutedReport:
        """A host with none beside it has none, and nobody who measures them."""
        if not self.facts.all(Peer):
            return RoutedReport(host=self.host.name)
        return await self.surroundings.ask_routed(Question(ask="status"), RoutedReport)

    async def routes(self, to: str = "", routing: str = "") -> list[RouteReport]:
        """To this host, or to all; by this routing, or by each that a network has."""
        if to and not self.facts.get(Peer, to):
            raise NotFound(f"there is no other host '{to}'", "see: seaway route ls")
        if not self.facts.all(Peer):
            return []
        found: list[RouteReport] = []
        for one in self._routings(routing):
            question = Question(ask="routes", to=to, routing=one)
            found += (await self.surroundings.ask_routed(question, Routes)).routes
        return sorted(found, key=lambda report: (report.host, report.routing))

    def _routings(self, asked: str) -> list[Routing]:
        """Those that are computed: what a network has, and the one by which hosts meet."""
        if asked and asked not in get_args(Routing):
            expected = " or ".join(get_args(Routing))
            raise Invalid(f"'{asked}' is no routing", f"expected {expected}")
        used = sorted({"hops", *(network.routing for network in self.facts.all(Network))})
        if asked and asked not in used:
            raise NotFound(
                f"no network has the routing '{asked}'",
                f"seaway network update NAME --routing {asked}",
            )
        return [one for one in used if asked in ("", one)]
