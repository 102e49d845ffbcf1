"""Hosts with whole agents and fake kernels over an etcd that fails. They ask each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import agents
import clock
from fakes_etcd import FakeEtcd, FakeEtcdStore
from seaway.errors import SeawayError, Unavailable
from seaway.facts import Facts
from seaway.model.facts import Block, Cluster, Endpoint, Host, Network
from seaway.model.membership import Membership
from seaway.records import Records, parse
from seaway.store.remembering import Remembering
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper
from seaway.upkeep import Upkeep

LONG = 120.0  # seconds: all is known by then
ASKED_FOR = 5.0  # seconds, until a host that is not there is given up
NET = "web"


@dataclass
class Crowd:
    """The hosts by name, those that are dead too."""

    path: Path
    etcd: FakeEtcd
    hosts: dict[str, CrowdHost] = field(default_factory=dict)

    @property
    def living(self) -> list[CrowdHost]:
        return [host for host in self.hosts.values() if host.agent]

    @property
    def etcd_records(self) -> Records:
        """For who changes them from outside."""
        return Records(FakeEtcdStore(self.etcd), Facts(()))

    def endpoints(self) -> list[Endpoint]:
        """Of all that are hosts of the cluster, and know it."""
        return [e for h in self.living for e in h.intents.facts.all(Endpoint)]

    def records(self, kind: type) -> list[Any]:
        found = (parse(key, item.value) for key, item in self.etcd.load().items.items())
        return [record for record in found if isinstance(record, kind)]

    async def stop(self) -> None:
        for host in self.living:
            await host.kill()


@dataclass
class CrowdHost:
    name: str
    crowd: Crowd
    cache: FakeEtcd = field(default_factory=FakeEtcd)
    agent: agents.Agent | None = None
    answers_lost: int = 0  # of the next questions of others
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = FakeEtcdStore(self.crowd.etcd)

    @property
    def removed(self) -> bool:
        return f"hosts/{self.name}" not in self.crowd.etcd.load().items

    @property
    def intents(self) -> Any:
        assert self.agent
        return self.agent.intents

    async def boot(self) -> None:
        store = Remembering(self.link, FakeEtcdStore(self.cache), self.name)
        member = Membership(cluster="c", host=self.name, etcd=("fake",))
        keeper = Keeper(Folder(self.crowd.path / self.name))
        agent = await agents.build(store, member, keeper, Asking(self), self.link)
        self.agent = agent
        upkeep = Upkeep(agent.intents)

        def learnt() -> None:
            agent.intents.convergence.ask()
            upkeep.stir()

        works = (
            agent.intents.convergence.run(),
            agent.intents.records.follow(learnt),
            store.send(),
            self._keep_up(),
        )
        self._tasks = [asyncio.ensure_future(work) for work in works]
        agent.intents.serving = True

    async def _keep_up(self) -> None:
        """As `Upkeep` does, where there are certificates."""
        while True:
            await self.intents.stirred.wait()
            await clock.passes(1)
            await self.look()

    async def look(self) -> None:
        self.intents.stirred.clear()
        try:
            await self.intents.return_loans()
            await self.intents.settle_doubts()
            if any(self.intents.left_behind()):
                await self.intents.reclaim()
        except SeawayError:
            await clock.passes(10)
            self.intents.stirred.set()

    async def kill(self) -> None:
        """Its memory is lost, not its disk."""
        tasks, self._tasks, self.agent = self._tasks, [], None
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            assert end is None or isinstance(end, asyncio.CancelledError), end

    async def attach(self, name: str, **asked: Any) -> Endpoint:
        assert self.agent
        return await self.agent.attach(f"{self.name}-{name}", network=NET, **asked)


@dataclass
class Asking:
    """One host asks others."""

    asker: CrowdHost

    async def ask(self, host: Host, _method: str, path: str, body: Any = None, _a: Any = 0) -> Any:
        await clock.passes(0.001)
        other = self.asker.crowd.hosts[host.name]
        if other.agent is None or other.link.cut or self.asker.link.cut:
            await clock.passes(ASKED_FOR)
            raise Unavailable(f"host '{host.name}' does not answer")
        answer: Awaitable[Any]
        if path == "/v1/loans":
            answer = other.intents.lend(body, self.asker.name)
        else:
            answer = other.intents.network_use(path.split("/")[3])
        told = await answer
        if other.answers_lost:
            other.answers_lost -= 1
            await clock.passes(ASKED_FOR)
            raise Unavailable(f"host '{host.name}' does not answer")
        return told


async def crowd_of(path: Path, names: str, subnet: str) -> Crowd:
    """Hosts that run, and a network."""
    etcd = FakeEtcd()
    cluster = Cluster(id="c", pools=(), service_subnets=(), host_subnets=(), next_host=9)
    hosts = [
        Host(name=name, number=n, addresses=(ip_address(f"10.222.0.{n}"),))
        for n, name in enumerate(names, 1)
    ]
    net = Network(name=NET, number=1, subnets=(ip_network(subnet),))
    await Records(FakeEtcdStore(etcd), Facts(())).commit([cluster, net, *hosts])
    crowd = Crowd(path, etcd)
    for name in names:
        crowd.hosts[name] = CrowdHost(name, crowd)
        await crowd.hosts[name].boot()
    return crowd


def whole(blocks: list[Block]) -> list[Block]:
    return [block for block in blocks if block.prefix.num_addresses > 1]
