"""A whole agent over a fake kernel and a store that can fail, for tests of what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from tests.fakes_kernel import FakeSurroundings, FakeTarget
from tests.fakes_store import FakeStore

from seaway.bootstrap import Plan, initialise
from seaway.converge import Convergence
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.facts import Facts
from seaway.intents import Intents
from seaway.ipam import Allocator, load_blocks
from seaway.model.addresses import Address, ForeignPrefix
from seaway.model.facts import Attached, Endpoint, Host, HostAddresses, Uplinks
from seaway.model.requests import NewEndpoint
from seaway.records import Records


def routes(*prefixes: str) -> tuple[ForeignPrefix, ...]:
    """Of a host, by a router."""
    return tuple(ForeignPrefix(ip_network(prefix)) for prefix in prefixes)


@dataclass
class Agent:
    """What a test may look at, and have fail."""

    intents: Intents
    kernel: dict[str, FakeTarget]
    host: FakeSurroundings
    store: FakeStore

    def state(self) -> dict[str, Any]:
        return {name: target.read() for name, target in self.kernel.items()}

    async def attach(self, netns: str, **request: Any) -> Endpoint:
        self.host.namespaces.setdefault(f"/run/netns/{netns}", 1000 + len(self.host.namespaces))
        request = {"network": "default", "container": netns} | request
        return await self.intents.attach(NewEndpoint(netns=netns, **request))


def holder_of(facts: Facts) -> Callable[[Address], str]:
    return lambda a: "".join(e.name for e in facts.where(Endpoint, "address", a))


OWN = ("192.0.2.1", "2001:db8::1", "127.0.0.1", "::1", "169.254.7.7", "fe80::5")
ADDRESSES = tuple(map(ip_address, OWN))
POOLS = (ip_network("10.208.0.0/12"), ip_network("fd00:5ea::/48"))


async def start(path: Path) -> Agent:
    store = FakeStore(path / "store.db")
    await initialise(store, Plan(host="h", pools=POOLS))
    facts = Facts(DERIVATIONS, INDEXES)
    records = Records(store, facts)
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
    allocator = Allocator("h", holder_of(facts))
    load_blocks(allocator, facts)
    host = FakeSurroundings()
    intents = Intents(
        host=facts.all(Host)[0],
        facts=facts,
        records=records,
        convergence=convergence,
        surroundings=host,
        allocator=allocator,
    )
    return Agent(intents, kernel, host, store)


def run(path: Path, scenario: Callable[[Agent], Awaitable[None]]) -> None:
    async def whole() -> None:
        agent = await start(path)
        writer = asyncio.create_task(agent.intents.convergence.run())
        try:
            await agent.intents.convergence.settle()
            await asyncio.wait_for(scenario(agent), 10)
        finally:
            writer.cancel()
            await agent.store.close()

    asyncio.run(whole())
