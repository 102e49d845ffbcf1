"""When sockets end whose backend is none any more; how long endpoints answer for a published port
that leads to them no more.

Sockets have the service's time to drain. Those of datagrams only as long as the backend is there to
answer: nothing else would tell their owners that it is gone. Who finds and ends sockets is
`bpf/partings.py`: in a thread, as it looks into every container.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, Final

from seaway.bpf import abi
from seaway.bpf.partings import Parting, Partings, Serves
from seaway.bpf.services import on_hosts
from seaway.desired.transport.node_ports import behind, behind_of, is_published
from seaway.desired.transport.services import PLACE, VipPort, places_of
from seaway.desired.transport.tasks import addresses_of
from seaway.facts import Facts
from seaway.model.addresses import Address, mapped, unmapped
from seaway.model.facts import Endpoint
from seaway.model.publications import PROTOCOLS
from seaway.model.services import DRAIN, Answering, Distant, EndpointSlice, Service
from seaway.reconcile import Settle

_UDP: Final = PROTOCOLS["udp"]


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
        self,
        facts: Facts,
        partings: Partings,
        lingering: Lingering,
        drains: dict[abi.PortKey, float],
    ) -> None:
        self._facts = facts
        self._partings = partings
        self._lingering = lingering
        self._drains = drains
        self._gone: set[bytes] = set()  # addresses whose endpoint went, whoever has them now
        self._doubted: set[bytes] = set()  # those that nobody may have any more
        self._stirred = asyncio.Event()

    def listen(self) -> None:
        """To what changes of facts mean for sockets, before anything else follows from them."""
        self._facts.tell(Service, self.changed)
        self._facts.tell(EndpointSlice, self.slice_changed)
        self._facts.tell(Endpoint, self.endpoint_changed)
        self._facts.tell(Distant, self.endpoint_changed)

    def left(self, service: abi.PortKey, backends: Collection[abi.PortKey], drain: float) -> None:
        """These are no backends of the service any more; seconds in which connections may end."""
        self._partings.left(service, backends, drain)
        if service.protocol == _UDP:
            self._doubted.update(backend.addr for backend in backends)
        self._stirred.set()

    def lost(self, partings: Iterable[Parting]) -> None:
        """What parted while no agent was here: its time begins now."""
        for parting in partings:
            self.left(parting.service, [parting.backend], self._drain_of(parting.service))

    def _drain_of(self, service: abi.PortKey) -> float:
        """As `Partings` knows it: who asked a port of hosts has named an address of one."""
        found: list[VipPort] = self._facts.parts(Service, PLACE, service)
        found = found or self._facts.parts(Service, PLACE, on_hosts(service))
        return found[0].service.drain if found else DRAIN

    def endpoint_changed(
        self, old: Endpoint | Distant | None, new: Endpoint | Distant | None
    ) -> None:
        """Sockets may wait for what was there."""
        if old and not (new and old.addresses == new.addresses):
            kept = addresses_of(new) if new else ()
            self._gone.update(mapped(a) for a in addresses_of(old) if a not in kept)
            self._stirred.set()

    def look(self) -> None:
        """For addresses that the same endpoint has no more, or none of any host."""
        vanished, self._gone = self._gone, set()
        doubted, self._doubted = self._doubted, set()
        vanished |= {octets for octets in doubted if not self._is_there(unmapped(octets))}
        if vanished:
            self._partings.vanished(vanished)

    def _is_there(self, address: Address) -> bool:
        return any(self._facts.count(kind, "address", address) for kind in (Endpoint, Distant))

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
        self.lost(await asyncio.to_thread(_parted, found, serves))
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.due):
                    await self._stirred.wait()
            self._stirred.clear()
            self.look()
            if self._lingering.end():
                await settle([])
            if self._partings.due == 0.0:
                await asyncio.to_thread(self._partings.end, serves)


def _parted(found: Iterable[Parting], serves: Serves) -> list[Parting]:
    return [parting for parting in found if not serves(parting.service, parting.backend)]
