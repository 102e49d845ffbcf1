"""When sockets end whose backend is none any more, at once or when their time to drain is over; how
long endpoints answer for a published port that leads to them no more.

Who finds and ends sockets is `bpf/partings.py`: in a thread, as it looks into every container.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from seaway.bpf import abi
from seaway.bpf.partings import Partings, Serves
from seaway.desired.transport.node_ports import behind, behind_of, is_published
from seaway.desired.transport.services import places_of
from seaway.facts import Facts
from seaway.model.services import Answering, EndpointSlice, Service
from seaway.reconcile import Settle


class Lingering:
    """Endpoints that answer for what led to them before, each a fact until its time is over."""

    def __init__(self, facts: Facts, clock: Callable[[], float] = time.monotonic) -> None:
        self._facts = facts
        self._clock = clock
        self._until: dict[str, float] = {}  # by their ids

    def changed(self, old: Service | None, new: Service | None) -> None:
        """Before a service changes (`Facts.tell`): who stands behind its ports no more."""
        if old and is_published(old) and not (new and behind_of(old) == behind_of(new)):
            self._keep(old, old.drain)

    def slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """The same of a slice. Who stood behind a service that went before is known already."""
        if old and not (new and _behind(new) == _behind(old)):
            service = self._facts.get(Service, f"{old.network}/{old.service}")
            if service and is_published(service):
                self._keep(old, service.drain)

    def _keep(self, of: Service | EndpointSlice, drain: float) -> None:
        until = self._clock() + drain
        for endpoint in behind(of, self._facts):
            self._until[endpoint.id] = max(until, self._until.get(endpoint.id, 0.0))
            self._facts.change(Answering, endpoint.id, Answering(endpoint=endpoint.id))

    @property
    def due(self) -> float | None:
        """In how many seconds `end` has something to do; None: there is nothing."""
        return max(0.0, min(self._until.values()) - self._clock()) if self._until else None

    def end(self) -> bool:
        """Forget those whose time is over; whether there were any."""
        now = self._clock()
        over = [endpoint for endpoint, until in self._until.items() if until <= now]
        for endpoint in over:
            del self._until[endpoint]
            self._facts.change(Answering, endpoint, None)
        return bool(over)


def _behind(of: EndpointSlice) -> tuple[Any, ...]:
    """Whose backends it names, and which."""
    return of.network, of.service, of.endpoints


class Draining:
    """`drains`: of services that go, by their ports: in how many seconds their connections end."""

    def __init__(
        self, partings: Partings, lingering: Lingering, drains: dict[abi.PortKey, float]
    ) -> None:
        self._partings = partings
        self._lingering = lingering
        self._drains = drains
        self._stirred = asyncio.Event()

    def left(self, service: abi.PortKey, backends: Collection[abi.PortKey], drain: float) -> None:
        """These are no backends of the service any more; seconds in which connections may end."""
        self._partings.left(service, backends, drain)
        self._stirred.set()

    def changed(self, old: Service | None, new: Service | None) -> None:
        self._lingering.changed(old, new)
        if old:
            self._drains |= dict.fromkeys(places_of(old), old.drain)
        for place in places_of(new) if new else ():
            self._drains.pop(place, None)  # what stands there says it itself
        self._stirred.set()

    def slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        self._lingering.slice_changed(old, new)
        self._stirred.set()

    @property
    def due(self) -> float | None:
        return min(
            (due for due in (self._partings.due, self._lingering.due) if due is not None),
            default=None,
        )

    async def run(self, serves: Serves, settle: Settle) -> None:
        """`serves`: whether it is a backend now. First of all what parted while no agent was here:
        of the services that sockets asked, once what stands behind them was written. For ever.
        """
        found = await asyncio.to_thread(self._partings.find)
        await settle([("services", service) for service in {p.service for p in found}])
        await asyncio.to_thread(self._partings.lost, found, serves)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.due):
                    await self._stirred.wait()
            self._stirred.clear()
            if self._lingering.end():
                await settle([])
            if self._partings.due == 0.0:
                await asyncio.to_thread(self._partings.end, serves)
