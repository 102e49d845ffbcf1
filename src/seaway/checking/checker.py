"""Who is checked when, and what of it is recorded.

To the reconciler it is a target: what is to be checked is put like anything else. All that it holds
ends with the agent; what was recorded holds until it is checked anew.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import structlog

from seaway.checking.asking import ask
from seaway.desired.transport.checks import keys_of
from seaway.errors import SeawayError
from seaway.facts import Facts
from seaway.model.checks import UNASKED, Checked, Checks, Standing, judge, pace
from seaway.model.services import Check, Health, Service
from seaway.reconcile import Settle

log = structlog.get_logger(__name__)

AT_ONCE: Final = 64  # sockets
RETRY: Final = 1.0  # seconds until what could not be recorded is tried again
_APART: Final = 0.1  # of an interval, by which two checks of one endpoint may be more or less apart

Ask = Callable[[Checked, Check], Awaitable[str | None]]  # see `asking.ask`
Failing = Mapping[str, Mapping[str, str]]  # why, by endpoint, and name of the service
Record = Callable[[Failing], Awaitable[None]]


@dataclass(eq=False)
class _Watched:
    """One endpoint, for one service."""

    place: Checked
    checks: Checks
    standing: Standing
    why: str = ""  # it fails
    there: bool = True  # it is to be checked still


@dataclass
class Checker:
    """`draw`: a number from 0 to 1 by chance."""

    host: str
    facts: Facts
    ask: Ask = ask
    draw: Callable[[], float] = random.random
    name: str = "checks"
    _held: dict[str, Checks] = field(default_factory=dict)
    # By endpoint, and the key of the service.
    _watched: dict[str, dict[str, _Watched]] = field(default_factory=dict)
    # Of all that are not being asked at the moment; of those too that are gone.
    _due: list[tuple[float, int, _Watched]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # of who waits for the next one
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _turned: set[str] = field(default_factory=set)  # endpoints whose record may be another one
    _to_record: asyncio.Event = field(default_factory=asyncio.Event)

    # The target

    def read(self) -> dict[str, Checks]:
        return dict(self._held)

    def put(self, objects: Mapping[str, Checks]) -> dict[str, OSError]:
        for key, checks in objects.items():
            before = self._held.get(key)
            self._held[key] = checks
            self._put(key, checks, {p.endpoint for p in before.places} if before else set())
        return {}

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        for key in keys & self._held.keys():
            self._forget(key, {place.endpoint for place in self._held.pop(key).places})
        return {}

    def _put(self, key: str, checks: Checks, had: set[str]) -> None:
        """`had`: the endpoints that were checked for this service before."""
        wanted = {place.endpoint: place for place in checks.places}
        self._forget(key, had - wanted.keys())
        for endpoint, place in wanted.items():
            services = self._watched.setdefault(endpoint, {})
            if watched := services.get(key):
                watched.place, watched.checks = place, checks
                continue
            why = self._recorded(endpoint).get(checks.service, "")
            standing = Standing(failing=bool(why), new=why == UNASKED)
            services[key] = watched = _Watched(place, checks, standing, why)
            wait = 0.0 if standing.new else self.draw() * checks.check.interval
            self._schedule(watched, asyncio.get_running_loop().time() + wait)

    def _forget(self, key: str, endpoints: Iterable[str]) -> None:
        for endpoint in endpoints:
            services = self._watched[endpoint]
            services.pop(key).there = False
            if not services:
                del self._watched[endpoint]
            self._note(endpoint)

    def _recorded(self, endpoint: str) -> Mapping[str, str]:
        health = self.facts.get(Health, f"{self.host}/{endpoint}")
        return health.failing if health else {}

    # Checking

    async def run(self, record: Record, settle: Settle) -> None:
        """For ever, once all that is to be checked was put. `record`: these endpoints fail what is
        said, and nothing else.
        """
        services = self.facts.all(Service)
        await settle([(self.name, key) for service in services for key in keys_of(service)])
        for health in self.facts.all(Health):
            if health.host == self.host:
                self._note(health.endpoint)
        await asyncio.gather(self._keep(record), *(self._work() for _ in range(AT_ONCE)))

    async def _work(self) -> None:
        while True:
            watched, began = await self._next()
            place, check = watched.place, watched.checks.check
            why = await self.ask(place, check)
            if not watched.there:
                continue
            same = place == watched.place and check == watched.checks.check
            if why is None:
                log.warning("cannot check", endpoint=place.endpoint)
            elif same:
                self._judge(watched, why)
            wait = pace(watched.standing, watched.checks.check)
            wait *= 1 + _APART * (2 * self.draw() - 1)
            now = asyncio.get_running_loop().time()
            self._schedule(watched, max(now, began + wait) if same else now)

    async def _next(self) -> tuple[_Watched, float]:
        """Who is due, and since when; one waits for it, the others for their turn."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            while True:
                self._woken.clear()
                while self._due and not self._due[0][2].there:
                    heapq.heappop(self._due)
                if self._due and self._due[0][0] <= loop.time():
                    return heapq.heappop(self._due)[2], loop.time()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._due[0][0] if self._due else None):
                        await self._woken.wait()

    def _schedule(self, watched: _Watched, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), watched))
        if self._due[0][2] is watched:
            self._woken.set()

    def _judge(self, watched: _Watched, why: str) -> None:
        """It is compared with what is recorded, which may be of one that had the same id before."""
        endpoint, service = watched.place.endpoint, watched.checks.service
        before = watched.standing
        watched.standing = judge(before, not why, watched.checks.check)
        if watched.standing.failing != before.failing:
            told = {"why": why} if why else {}
            log.info(
                "check fails" if why else "check passes",
                endpoint=endpoint,
                service=service,
                **told,
            )
            watched.why = why
        elif why and watched.why == UNASKED:
            watched.why = why
        if self._recorded(endpoint).get(service, "") != watched.why:
            self._note(endpoint)

    # Recording

    def _note(self, endpoint: str) -> None:
        self._turned.add(endpoint)
        self._to_record.set()

    async def _keep(self, record: Record) -> None:
        """All that turned meanwhile at once. What cannot be recorded now is, as it is then."""
        lost = ""
        while True:
            await self._to_record.wait()
            self._to_record.clear()
            turned, self._turned = self._turned, set()
            try:
                await record({endpoint: self._failing(endpoint) for endpoint in turned})
                lost = ""
            except (SeawayError, OSError) as error:
                if str(error) != lost:
                    log.warning("results of checks cannot be recorded", error=str(error))
                lost = str(error)
                self._turned |= turned
                await asyncio.sleep(RETRY)
                self._to_record.set()

    def _failing(self, endpoint: str) -> dict[str, str]:
        services = self._watched.get(endpoint, {})
        return {w.checks.service: w.why for w in services.values() if w.standing.failing}
