"""A trace: from host to host, each of which tells what it does with the packet.

Each host asks the next one, which it reaches without a relay: so a trace comes wherever packets
come. One that does not answer is told as such, and the next is guessed from what is known here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlencode

from msgspec.structs import replace

from seaway.desired.network.trace import walk
from seaway.desired.network.walked import Branch, Walked
from seaway.errors import Invalid, SeawayError, Unavailable
from seaway.intents.ends import EndIntents, of_one_family, told
from seaway.model.addresses import Address
from seaway.model.facts import Network, Path, Peer, Routing
from seaway.model.trace import (
    PASSES,
    Step,
    Target,
    Traced,
    TraceReport,
    Verdict,
    Way,
    checked,
    to_query,
)

_MOST: Final = 16  # questions of other hosts at once: one trace may come by here more than once
_WAITED, _TOLD = 0.8, 0.67  # of the time that is left: for an answer, and as the asked one hears it
_LEAST = 0.1  # seconds: with less nobody is asked
_VERDICTS: Final[dict[str, Verdict]] = {
    "deliver": "delivered",
    "host": "delivered",
    "drop": "dropped",
    "refuse": "refused",
}


class TraceIntents(EndIntents):
    async def trace(self, source: str, to: Target) -> TraceReport:
        """What becomes of the first packet from one end to a port of the other."""
        checked(to)
        begin = await self.source(source)
        end = await self.target(to.end, begin)
        if not (begin.host or end.host or self.is_ours(end)):
            raise Invalid(
                f"neither '{begin.said}' nor '{end.said}' is of this cluster",
                "name an endpoint, or an address of one or of a host",
            )
        one, other = of_one_family(begin, end)
        packet = Traced(source=one, destination=other, port=to.port, protocol=to.protocol)
        at = begin.host or end.host or self.host.name
        packet = packet if begin.host else replace(packet, carried="wire")
        steps = await self._at(at, packet, _until(packet))
        verdict, reason = _outcome(steps)
        return TraceReport(
            source=told(begin, one),
            destination=told(end, other),
            protocol=to.protocol,
            verdict=verdict,
            reason=reason,
            steps=tuple(steps),
        )

    async def trace_on(self, at: str, packet: Traced) -> list[Step]:
        """The same from that host on, as another one asks: of this host, or passed on to that."""
        if self.tracing >= _MOST:
            raise Unavailable(f"host '{self.host.name}' is asked too much at once", "ask it again")
        self.tracing += 1
        try:
            if at == self.host.name:
                return await self._at(at, packet, _until(packet))
            if len(packet.by) > PASSES:
                raise _lost(at)
            return await self._reach(at, packet, _until(packet))
        finally:
            self.tracing -= 1

    async def _at(self, host: str, packet: Traced, until: float) -> list[Step]:
        if host != self.host.name:
            try:
                return await self._reach(host, packet, until)
            except SeawayError as error:
                return await self._guess(host, packet, error, until)
        return await self._follow(walk(self.facts, self.surroundings.tables(), packet), until)

    async def _follow(self, walked: Walked, until: float) -> list[Step]:
        """To wherever it goes on, by as many ways as there are."""
        steps, onward, branches = walked
        if onward:
            return [*steps, *await self._at(onward.host, replace(onward.packet, by=()), until)]
        *before, last = steps
        if not branches or last.service is None:
            return list(steps)
        ways = await self._ways(branches, until)
        return [*before, replace(last, service=replace(last.service, ways=tuple(ways)))]

    async def _ways(self, branches: Sequence[Branch], until: float) -> list[Way]:
        """One after the other, each with its part of the time that is left."""
        ways = []
        for to_come, (way, walked) in zip(range(len(branches), 0, -1), branches, strict=True):
            now = time.monotonic()
            steps = await self._follow(walked, now + (until - now) / to_come)
            verdict, reason = _outcome(steps)
            ways.append(replace(way, verdict=verdict, reason=reason, steps=tuple(steps)))
        return ways

    async def _reach(self, host: str, packet: Traced, until: float) -> list[Step]:
        """Its answer, by whoever is next on the way there, as packets go; but by none of those by
        whom the question came here: each of them has tried.
        """
        if not self.facts.get(Peer, host):
            raise Unavailable(f"there is no host '{host}'", "see: seaway host ls")
        path = self.facts.get(Path, host) or Path(host=host, via=host)
        failures: list[Unavailable] = []
        for via in filter(None, (path.via, path.backup)):
            peer = self.facts.get(Peer, via)
            if peer and via not in packet.by:
                try:
                    return await self._ask(peer, host, packet, until)
                except Unavailable as error:
                    failures.append(error)
        raise failures[0] if failures else _lost(host)

    async def _ask(self, peer: Peer, host: str, packet: Traced, until: float) -> list[Step]:
        """It gets less time than it is waited for, and that leaves some for who is asked then: so
        of a host that hangs the one next to it tells, and not whoever gave up first.
        """
        left = until - time.monotonic()
        if left < _LEAST:
            raise Unavailable(f"no time is left to ask host '{peer.name}'", "see: seaway doctor")
        asked = replace(packet, by=(*packet.by, self.host.name), within=int(1000 * _TOLD * left))
        url = "/v1/trace/onward?" + urlencode({"at": host} | to_query(asked))
        try:
            async with asyncio.timeout(_WAITED * left):
                found: list[Step] = await self.others.ask(peer, "GET", url, None, list[Step])
        except TimeoutError:
            told = f"host '{peer.name}' does not answer within {_WAITED * left:.0f} s"
            raise Unavailable(told, "see: seaway host ls") from None
        return found

    # Of a host that cannot be asked

    async def _guess(
        self, host: str, packet: Traced, error: SeawayError, until: float
    ) -> list[Step]:
        """It is taken to pass the packet on as the links say that are told here."""
        after = known = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(_WAITED * (until - time.monotonic())):
                after, known = await self._behind(host, packet.destination)
        step = Step(
            host=host,
            at="",
            source=packet.source,
            destination=packet.destination,
            port=packet.port,
            decision="unknown",
            why=f"it cannot be asked: {error.message}{known}",
            to=after,
        )
        if not after or packet.ttl <= 1:
            return [step]
        relay = self.facts.get(Peer, host)
        carrier = _alike(relay.underlay if relay else (), packet.carrier)
        more = replace(packet, ttl=packet.ttl - 1, carried="overlay", carrier=carrier, by=())
        return [step, *await self._at(after, more, until)]

    async def _behind(self, host: str, address: Address) -> tuple[str, str]:
        """Who comes after that host on the way to the address, and what is known, in words."""
        end = self.holder(address)
        after = "" if end == host else await self._after(host, end, self._routing(address))
        if after:
            return after, f"; by the links it goes on to {after}"
        return "", await self._recorded(address)

    async def _recorded(self, address: Address) -> str:
        with suppress(SeawayError):
            for endpoint in await self.everywhere():
                if address in (interface.ip for interface in endpoint.addresses):
                    return f"; the records have {endpoint.network}/{endpoint.name} there"
        return ""

    async def _after(self, host: str, end: str, routing: Routing) -> str:
        """The next host on the way from that one, as the links say; empty: nobody knows."""
        if end in ("", self.host.name):
            return end
        with suppress(SeawayError):
            for report in await self.routes(end, routing):
                if host in report.path[:-1]:
                    return report.path[report.path.index(host) + 1]
        return ""

    def _routing(self, address: Address) -> Routing:
        """By which packets go there, as the programs have it: that of the address's network."""
        networks = self.facts.all(Network)
        there = (n.routing for n in networks if any(address in subnet for subnet in n.subnets))
        return next(there, "hops")


def _until(packet: Traced) -> float:
    """When its asker gives up, by the monotonic clock."""
    return time.monotonic() + packet.within / 1000


def _lost(host: str) -> Unavailable:
    return Unavailable(f"the question does not come to host '{host}'", "see: seaway route ls")


def _alike(addresses: Sequence[Address], like: Address | None) -> Address | None:
    """Of the same family, if there is one."""
    same = [a for a in addresses if like is None or a.version == like.version]
    return next(iter(same or addresses), None)


def _outcome(steps: Sequence[Step]) -> tuple[Verdict, str]:
    """With the reason, where it does not come there."""
    last = steps[-1]
    if last.decision == "choose" and last.service:
        return _of_several(last.service.ways)
    if any(step.decision == "unknown" for step in steps):
        return "unknown", last.reason
    return _VERDICTS.get(last.decision, "left"), last.reason


def _of_several(ways: Sequence[Way]) -> tuple[Verdict, str]:
    verdicts = {way.verdict for way in ways}
    reasons = [way.reason for way in ways if way.reason]
    verdict: Verdict = verdicts.pop() if len(verdicts) == 1 else "partly"
    return verdict, reasons[0] if reasons else ""
