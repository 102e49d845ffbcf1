"""Hosts as far as their records go: over an etcd that fails, each with a memory of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from typing import Any

from fakes_etcd import FakeEtcd, FakeEtcdStore
from seaway.facts import Facts
from seaway.model.facts import Block, Cluster, Endpoint, Host, Network, Peer, Value
from seaway.model.services import Distant, Health
from seaway.records import Records, fact_key
from seaway.store.base import Store
from seaway.store.remembering import Remembering

KINDS = (Cluster, Host, Peer, Network, Block, Endpoint, Distant)
HOSTS = ("a", "b")
LONG = 60.0  # seconds: all is known by then


def cluster(name: str = "c") -> Cluster:
    return Cluster(id=name, pools=(), service_subnets=(), host_subnets=())


def network(name: str, mtu: int = 1500) -> Network:
    return Network(name=name, number=1, subnets=(ip_network("10.208.0.0/16"),), mtu=mtu)


def block(number: int, host: str, of: str = "web") -> Block:
    return Block(prefix=ip_network(f"10.208.{number}.0/26"), network=of, host=host)


def health(host: str, number: int) -> Health:
    return Health(
        host=host, endpoint=f"{number:016x}", network="web", failing={"web": "status 500"}
    )


def endpoint(host: str, number: int, mtu: int = 1500) -> Endpoint:
    return Endpoint(
        id=f"{number:016x}",
        name=f"e{number}",
        container=f"c{number}",
        interface="eth0",
        host=host,
        network="web",
        netns=f"/run/netns/{number}",
        netns_inode=number,
        addresses=(ip_interface(f"10.208.0.{number}/32"),),
        mac="02:00:00:00:00:01",
        mtu=mtu,
    )


def known(facts: Facts) -> dict[tuple[type, str], Value]:
    return {(kind, fact_key(fact)): fact for kind in KINDS for fact in facts.all(kind)}


@dataclass
class Keeper:
    """A host, as far as its records go. It may be killed, and boots with the cache that it had."""

    name: str
    etcd: FakeEtcd
    cache: FakeEtcd = field(default_factory=FakeEtcd)
    told: int = 0
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = FakeEtcdStore(self.etcd)

    async def boot(self) -> None:
        self.store = Remembering(self.link, FakeEtcdStore(self.cache), self.name)
        self.facts = Facts(())
        self.records = Records(self.store, self.facts, self.name)
        await self.records.load()
        self.start(self.records.follow(self._changed))
        self.start(self.store.send())

    def _changed(self) -> None:
        self.told += 1

    def start(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.ensure_future(work))
        return self.tasks[-1]

    async def kill(self) -> None:
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            assert end is None or isinstance(end, asyncio.CancelledError), end


async def from_nothing(etcd: FakeEtcd | Store, name: str) -> dict[tuple[type, str], Value]:
    facts = Facts(())
    store = FakeEtcdStore(etcd) if isinstance(etcd, FakeEtcd) else etcd
    await Records(store, facts, name).load()
    return known(facts)


async def begun() -> FakeEtcd:
    """Two hosts and a network."""
    etcd = FakeEtcd()
    records = Records(FakeEtcdStore(etcd), Facts(()))
    hosts = [Host(name=name, addresses=()) for name in HOSTS]
    await records.commit([cluster(), *hosts, network("web")])
    return etcd
