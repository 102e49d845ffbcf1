"""A whole agent over a fake kernel and a store that can fail, for tests of what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from tests.fakes_kernel import FakeLookups, FakeSurroundings, FakeTarget
from tests.fakes_store import FakeStore

from seaway.bootstrap import Plan, initialise
from seaway.converge import Convergence
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.errors import Unavailable
from seaway.facts import Facts
from seaway.intents import Intents
from seaway.intents.desk import Others
from seaway.ipam import Allocator, holder, load_blocks, owner
from seaway.model.addresses import ForeignPrefix
from seaway.model.facts import Attached, Endpoint, Host, HostAddresses, Uplinks
from seaway.model.membership import Membership
from seaway.model.requests import NewEndpoint
from seaway.records import Records
from seaway.store.base import Store
from seaway.store.remembering import Remembering
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper


def routes(*prefixes: str) -> tuple[ForeignPrefix, ...]:
    """Of a host, by a router."""
    return tuple(ForeignPrefix(ip_network(prefix)) for prefix in prefixes)


@dataclass
class Agent:
    """What a test may look at, and have fail."""

    intents: Intents
    kernel: dict[str, FakeTarget]
    host: FakeSurroundings
    store: Any

    def state(self) -> dict[str, Any]:
        return {name: target.read() for name, target in self.kernel.items()}

    async def attach(self, netns: str, **request: Any) -> Endpoint:
        self.host.namespaces.setdefault(f"/run/netns/{netns}", 1000 + len(self.host.namespaces))
        request = {"network": "default", "container": netns} | request
        return await self.intents.attach(NewEndpoint(netns=netns, **request))


class FakeOthers:
    """Other hosts, each a function that answers for it; the rest does not."""

    def __init__(self) -> None:
        self.answering: dict[str, Callable[..., Any]] = {}

    async def ask(self, host: Host, method: str, path: str, *given: Any) -> Any:
        if host.name not in self.answering:
            raise Unavailable(f"host '{host.name}' does not answer")
        return await self.answering[host.name](method, path, *given)


OWN = ("192.0.2.1", "2001:db8::1", "127.0.0.1", "::1", "169.254.7.7", "fe80::5")
ADDRESSES = tuple(map(ip_address, OWN))
POOLS = (ip_network("10.208.0.0/12"), ip_network("fd00:5ea::/48"))


async def start(path: Path) -> Agent:
    """Of a host that is alone."""
    store = FakeStore(path / "store.db")
    begun = await initialise(store, Plan(host="h", pools=POOLS))
    member = Membership(cluster=begun.cluster.id, host="h")
    return await build(store, member, Keeper(Folder(path / "trust")))


async def build(
    store: Store,
    member: Membership,
    keeper: Keeper,
    others: Others | None = None,
    shared: Store | None = None,
) -> Agent:
    """`shared`: where all records lie, if the store is this host's view of it."""
    facts = Facts(DERIVATIONS, INDEXES)
    records = Records(store, facts, member.host)
    await records.load()
    facts.change(HostAddresses, "host", HostAddresses(addresses=frozenset(ADDRESSES)))
    facts.change(Uplinks, "host", Uplinks(ipv6=True, addresses=frozenset(ADDRESSES[:2])))
    kernel = {d.name: FakeTarget(d.name) for d in DERIVATIONS}
    numbers = iter(range(10, 10_000))

    def created(name: str, _: object) -> None:
        for endpoint in facts.where(Endpoint, "link", name):
            attached = Attached(endpoint=endpoint.id, ifindex=next(numbers))
            facts.change(Attached, endpoint.id, attached)

    kernel["links"].on_put = created
    convergence = Convergence(facts, list(kernel.values()))
    allocator = Allocator(member.host, holder(facts, member.host), owner(facts, member.host))
    load_blocks(allocator, facts)
    host = FakeSurroundings()
    host.lookups = FakeLookups(kernel)
    intents = Intents(
        host=next(h for h in facts.all(Host) if h.name == member.host),
        facts=facts,
        records=records,
        convergence=convergence,
        surroundings=host,
        allocator=allocator,
        member=member,
        trust=keeper,
        others=others or FakeOthers(),
        store=shared or store,
        remembering=store if isinstance(store, Remembering) else None,
    )
    return Agent(intents, kernel, host, store)


def run(path: Path, scenario: Callable[[Agent], Awaitable[None]]) -> None:
    async def whole() -> None:
        agent = await start(path)
        writer = asyncio.create_task(agent.intents.convergence.run())
        try:
            begun = [("holders", address) for address in ADDRESSES]
            await agent.intents.convergence.settle(begun)
            await asyncio.wait_for(scenario(agent), 60)
        finally:
            writer.cancel()
            await agent.store.close()

    asyncio.run(whole())
