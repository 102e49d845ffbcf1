"""Whom the ends of a trace mean: an endpoint, a service, an address, or the world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from seaway.desired.transport.tasks import tasks_of
from seaway.errors import Conflict, Invalid, NotFound
from seaway.facts import View
from seaway.intents.routing import RoutingIntents
from seaway.model.addresses import Address
from seaway.model.facts import Block, Cluster, Endpoint, HostAddresses, Network, Peer
from seaway.model.services import Service
from seaway.model.trace import WORLD, WORLDLY, parse_end
from seaway.names import DOMAIN, SERVICE_DOMAIN
from seaway.records import parse

_ZONES: Final = (SERVICE_DOMAIN, "svc", DOMAIN)  # behind <name>.<network>
_TOLD: Final = 5  # of a long list


@dataclass(frozen=True)
class End:
    """Of a trace. `host`: whose it is; empty: nobody's of the cluster. `network`: an endpoint's."""

    said: str
    addresses: tuple[Address, ...]
    host: str = ""
    network: str = ""


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
        if service := self._service_called(said, asker.network):
            return _of_service(service, View(self.facts))
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

    def _service_called(self, said: str, network: str) -> Service | None:
        """`network`: of who asks; what is called so there goes first."""
        for of, name in _readings(said):
            found = self.facts.where(Service, "name", name)
            found = [s for s in found if s.network == of or not of]
            near = [s for s in found if s.network == network] or found
            if len(near) > 1:
                several = ", ".join(f"{s.network}/{s.name}" for s in near[:_TOLD])
                raise Conflict(f"'{said}' means several services: {several}", "give NETWORK/NAME")
            if near:
                return near[0]
        return None

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


def _readings(said: str) -> Iterator[tuple[str, str]]:
    """The network and the name that it may mean, the likeliest first; no network: any one."""
    network, slash, name = said.rpartition("/")
    if slash:
        yield network, name
        return
    whole = said.removesuffix(".")
    for zone in _ZONES:
        if whole.lower().endswith(f".{zone}"):
            name, _, network = whole[: -len(zone) - 1].rpartition(".")
            yield network, name
            return
    yield "", whole


def _of_service(service: Service, view: View) -> End:
    called = f"service '{service.network}/{service.name}'"
    if service.external_name:
        raise Invalid(f"{called} stands for '{service.external_name}'", "trace to that")
    if not service.addresses:
        tasks = [task.name for task in tasks_of(service, view)][:_TOLD]
        backends = ", ".join(tasks) or "it has none now"
        raise Invalid(
            f"{called} is headless: its name is that of its backends",
            f"trace to one of them: {backends}",
        )
    return End(f"{service.network}/{service.name}", service.addresses)


def _named(endpoints: Iterable[Endpoint], said: str) -> list[Endpoint]:
    """What is said as it is first: a name may have dots in it."""
    known = list(endpoints)
    for network, name in _readings(said):
        named = [e for e in known if name in (e.name, e.id, e.container)]
        if found := [e for e in named if network in ("", e.network)]:
            return found
    return []


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
