"""Whom the ends of a trace mean: an endpoint, a service, an address, or the world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from seaway.desired.transport.tasks import tasks_of
from seaway.errors import Conflict, Invalid, NotFound
from seaway.facts import View
from seaway.intents.routing import RoutingIntents
from seaway.model.addresses import Address
from seaway.model.facts import Block, Cluster, Endpoint, HostAddresses, Network, Peer
from seaway.model.naming import TASKS, ZONES, Task, parted
from seaway.model.services import Distant, Service
from seaway.model.trace import WORLD, WORLDLY, parse_end
from seaway.names import DOMAIN, SERVICE_DOMAIN
from seaway.records import parse

_TOLD: Final = 5  # of a long list


@dataclass(frozen=True)
class End:
    """Of a trace. `host`: whose it is; empty: nobody's of the cluster. `network`: an endpoint's."""

    said: str
    addresses: tuple[Address, ...]
    host: str = ""
    network: str = ""


class Called(NamedTuple):
    """What a name says: as the resolver reads it, or NETWORK/NAME."""

    name: str
    network: str = ""  # empty: any
    services: bool = False  # endpoints have no names there


class EndIntents(RoutingIntents):
    async def source(self, said: str) -> End:
        """Who asks: no service does."""
        if end := self._plain(said):
            return end
        return await self._endpoint_called(said, "endpoint", "an endpoint's name")

    async def target(self, said: str, asker: End) -> End:
        """As the resolver does, a service is meant before an endpoint that is called like it."""
        if end := self._plain(said):
            return end
        called = _read(said)
        if service := self._service_called(called, asker.network):
            return self._of_service(service)
        if not self._is_endpoint(called) and (end := self._backend_called(called, asker.network)):
            return end
        return await self._endpoint_called(
            said, "endpoint and no service", "the name of an endpoint or a service"
        )

    def _plain(self, said: str) -> End | None:
        """What needs no records."""
        if said == WORLD:
            return End(said, WORLDLY)
        address = parse_end(said)
        if address is None:
            return None
        network = next((e.network for e in self.facts.where(Endpoint, "address", address)), "")
        return End(said, (address,), self.holder(address), network)

    def _service_called(self, called: Called, network: str) -> Service | None:
        """`network`: of who asks; what is called so there goes first."""
        exact = self.facts.where(Service, "name", called.name)
        alike = (s for s in self.facts.all(Service) if s.name.lower() == called.name.lower())
        found = [s for s in exact or alike if called.network in ("", s.network)]
        near = [s for s in found if s.network == network] or found
        if len(near) > 1:
            several = ", ".join(f"{s.network}/{s.name}" for s in near[:_TOLD])
            told = f"'{called.name}' means several services: {several}"
            raise Conflict(told, "give NETWORK/NAME")
        return near[0] if near else None

    def _is_endpoint(self, called: Called) -> bool:
        """Whether one goes by the whole of it."""
        known: list[Endpoint | Distant] = [*self.facts.all(Endpoint), *self.facts.all(Distant)]
        there = (e for e in known if called.network in ("", e.network) and not called.services)
        return any(called.name.lower() in _names(e) for e in there)

    def _backend_called(self, called: Called, network: str) -> End | None:
        """`tasks.SERVICE`, or one of them by itself."""
        task, _, name = called.name.lower().partition(".")
        service = self._service_called(called._replace(name=name), network)
        if service is None:
            return None
        tasks = tasks_of(service, View(self.facts))
        if task == TASKS:
            return self._of_tasks(service, tasks)
        one = [t for t in tasks if t.name == task]
        return self._of_tasks(service, one) if one else None

    def _of_service(self, service: Service) -> End:
        called = f"{service.network}/{service.name}"
        if service.external_name:
            told = f"service '{called}' stands for '{service.external_name}'"
            raise Invalid(told, "trace to that")
        if service.addresses:
            return End(called, service.addresses)
        return self._of_tasks(service, tasks_of(service, View(self.facts)))

    def _of_tasks(self, service: Service, tasks: Sequence[Task]) -> End:
        """Whose name stands for all of them."""
        ref = f"{service.network}/{service.name}"
        names = [f"{t.name}.{service.name}.{service.network}.{DOMAIN}" for t in tasks]
        if not names:
            raise Invalid(
                f"service '{ref}' has no backend that is ready",
                f"see: seaway service inspect {ref}",
            )
        if len(names) > 1:
            told = f"the name is that of {len(names)} backends of service '{ref}'"
            raise Invalid(told, f"trace to one of them: {', '.join(names[:_TOLD])}")
        return End(names[0], tasks[0].addresses, self.holder(tasks[0].addresses[0]))

    async def _endpoint_called(self, said: str, kind: str, expected: str) -> End:
        found = _named(self.facts.all(Endpoint), said) or _named(await self.everywhere(), said)
        if not found:
            raise NotFound(
                f"there is no {kind} '{said}'",
                f"expected {expected}, an address, or 'world'; see: seaway endpoint ls",
            )
        if len(found) > 1:
            several = sorted(f"{e.network}/{e.name} on {e.host}" for e in found)[:_TOLD]
            told_all = ", ".join(several)
            raise Conflict(f"'{said}' means several endpoints: {told_all}", "give an address")
        (one,) = found
        return End(said, tuple(i.ip for i in one.addresses), one.host, one.network)

    async def everywhere(self) -> list[Endpoint]:
        """Those of other hosts, as the records have them."""
        items = (await self.seen()).items
        records = (parse(k, i.value) for k, i in items.items() if k.startswith("endpoints/"))
        return [r for r in records if isinstance(r, Endpoint)]

    def holder(self, address: Address) -> str:
        """The host that has it, for itself or an endpoint; empty: none of the cluster."""
        own = self.facts.get(HostAddresses, "host")
        ours = {*self.here.addresses, *(own.addresses if own else ())}
        if address in ours or self.facts.where(Endpoint, "address", address):
            return self.host.name
        for peer in self.facts.all(Peer):
            if address in (*peer.addresses, *peer.underlay):
                return peer.name
        blocks = [b for b in self.facts.all(Block) if address in b.prefix]
        return max(blocks, key=lambda b: b.prefix.prefixlen).host if blocks else ""

    def is_ours(self, end: End) -> bool:
        subnets = [s for network in self.facts.all(Network) for s in network.subnets]
        cluster = self.facts.get(Cluster, "cluster")
        subnets += cluster.service_subnets if cluster else ()
        return any(address in subnet for address in end.addresses for subnet in subnets)


def _read(said: str) -> Called:
    network, slash, name = said.rpartition("/")
    if slash:
        return Called(name, network)
    whole = said.removesuffix(".")
    for zone in ZONES:
        if whole.lower().endswith(f".{zone}"):
            name, network = parted(whole, zone)
            return Called(name, network.lower(), services=zone == SERVICE_DOMAIN)
    return Called(whole)


def _named(endpoints: Iterable[Endpoint], said: str) -> list[Endpoint]:
    called = _read(said)
    there = [e for e in endpoints if called.network in ("", e.network) and not called.services]
    exact = [e for e in there if called.name in (e.name, e.id, e.container)]
    return exact or [e for e in there if called.name.lower() in _names(e)]


def _names(endpoint: Endpoint | Distant) -> set[str]:
    """By which the resolver knows it."""
    return {name.lower() for name in (endpoint.name, *endpoint.aliases)}


def of_one_family(one: End, other: End) -> tuple[Address, Address]:
    """The first of each that can speak with each other."""
    for address in one.addresses:
        for there in other.addresses:
            if address.version == there.version:
                return address, there
    raise Invalid(
        f"'{one.said}' and '{other.said}' have no family of addresses in common",
        "IPv4 and IPv6 do not reach each other",
    )


def told(end: End, address: Address) -> str:
    return end.said if end.said in (WORLD, str(address)) else f"{end.said} ({address})"
