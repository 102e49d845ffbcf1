"""Several agents in one process that ask each other over real TLS on loopback; fake kernels.

The first holds the records; others reach the store through those that they are told of. A host that
says it is reached at 192.0.2.N is at 127.0.77.N.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests import agents
from tests.agents import POOLS
from tests.fakes_store import FakeStore
from tests.waiting import until

from seaway import __version__
from seaway.api.hosts import HostServer, Patience
from seaway.api.routes import Doors
from seaway.bootstrap import Plan, initialise
from seaway.cluster.calls import AgentAddress, Calls, Others
from seaway.cluster.passing import Passing
from seaway.intents import Intents
from seaway.model.addresses import parse_address
from seaway.model.facts import Host
from seaway.model.membership import Ground, Joined, Joining, Membership
from seaway.model.requests import NewToken
from seaway.records import parse
from seaway.store.base import Item
from seaway.store.peers import PeerStore
from seaway.store.remembering import Remembering
from seaway.store.sqlite import SqliteStore
from seaway.trust import certificates, contexts, tokens
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper


def loopback(address: object) -> str:
    return str(address).replace("192.0.2.", "127.0.77.")


class OthersNearby(Others):
    """Nobody is asked at an address inside the cluster: that would leave this machine. Instead each
    host has an address at which it is dead, and then twice the one at which it answers.
    """

    async def ask(self, host: Host, *given: Any, **named: Any) -> Any:
        live = tuple(parse_address(loopback(address)) for address in host.underlay)
        dead = tuple(
            parse_address(str(address).replace("127.0.77.", "127.0.78.")) for address in live
        )
        return await super().ask(
            replace(host, underlay=dead + live, addresses=live), *given, **named
        )

    async def ask_at(self, at: str, *given: Any, **named: Any) -> Any:
        return await super().ask_at(loopback(at), *given, **named)


WITHIN = 60.0  # seconds for a whole scenario


@dataclass
class Node:
    """One host of the cluster, as a test sees it."""

    name: str
    address: str
    agent: agents.Agent
    keeper: Keeper
    others: Others
    passing: Passing
    stack: AsyncExitStack

    @property
    def intents(self) -> Intents:
        return self.agent.intents

    async def stop(self) -> None:
        """It is dead to the others."""
        await self.stack.aclose()

    async def until(self, what: Callable[[], object]) -> None:
        """What it does not know yet, it learns."""
        await until(what)


class Cluster:
    """Made by `running`; its nodes end with it."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.path = path
        self.port = _free_port()
        self.nodes: dict[str, Node] = {}
        self._elsewhere: list[str] = []  # that are here by name alone
        self.patience = Patience()
        self._stack = stack

    def _address(self) -> str:
        return f"192.0.2.{len(self.nodes) + 1}"

    def _address_elsewhere(self, name: str) -> str:
        if name not in self._elsewhere:
            self._elsewhere.append(name)
        return f"192.0.2.{9 + self._elsewhere.index(name)}"

    def place(self, of: str) -> AgentAddress:
        return AgentAddress(loopback(self.nodes[of].address), port=self.port)

    async def first(self, name: str = "one") -> Node:
        address, path = self._address(), self.path / name
        store = FakeStore(path / "store.db")
        plan = Plan(host=name, pools=POOLS, underlay=(parse_address(address),))
        begun = await initialise(store, plan)
        member = Membership(cluster=begun.cluster.id, host=name)
        return await self._start(member, address, store)

    async def token(self, **wish: Any) -> str:
        made = await self.nodes["one"].intents.create_token(NewToken(**wish))
        return made.token

    async def join(self, name: str, token: str = "", at: str = "one", **said: Any) -> Node:
        """As a host that has nothing yet; `said`: what it says otherwise."""
        address = self._address()
        joined = await self.ask_to_join(name, token or await self.token(), at, address, **said)
        member = Membership(cluster=joined.cluster.id, host=name, through=(self.nodes[at].address,))
        return await self._start(member, address)

    async def ask_to_join(
        self, name: str, token: str, at: str = "one", address: str = "", **said: Any
    ) -> Joined:
        """The part of it that speaks with a host of the cluster; by itself for who is at no place
        here, and says where he is reached or is given an address.
        """
        address = address or self._address_elsewhere(name)
        folder = Folder(self.path / name / "trust")
        place, parsed = self.place(at), tokens.parse(token)
        async with Calls(contexts.blind()) as calls:
            ground = await calls.call(place, "GET", "/v1/join", None, Ground)
        if not folder.joining.exists():
            folder.put(folder.joining, certificates.new_key())
        key = folder.joining.read_bytes()
        request = {
            "token": parsed.id,
            "secret": parsed.secret,
            "name": name,
            "request": certificates.request(key, name[:64]),
            "underlay": (parse_address(address),),
            "foreign": (),
            "clock": ground.clock,
            "version": __version__,
        }
        async with Calls(contexts.joining(ground.authority)) as calls:
            body = Joining(**request | said)
            joined: Joined = await calls.call(place, "POST", "/v1/join", body, Joined)
        folder.put(folder.authority, ground.authority.encode())
        if joined.authority_key:
            folder.put(folder.authority_key, joined.authority_key.encode())
        folder.put_host(key, joined.certificate)
        return joined

    async def _start(
        self, member: Membership, address: str, store: SqliteStore | None = None
    ) -> Node:
        path = self.path / member.host
        keeper = Keeper(Folder(path / "trust"))
        others = OthersNearby(keeper, self.port)
        shared = store or PeerStore(member.host, member.through, others.ask_at)
        own = store or Remembering(shared, SqliteStore(path / "cache.db"), member.host)
        agent = await agents.build(own, member, keeper, others, shared)
        passing = Passing(member.host, shared, parse, keeps=store is not None)
        doors = Doors(agent.intents, _no_cni, passing)
        server = HostServer(doors, keeper, loopback(address), self.port, self.patience)
        works = [agent.intents.convergence.run, server.serve, passing.run]
        works.append(lambda: agent.intents.records.follow(agent.intents.convergence.ask))
        if isinstance(own, Remembering):
            works.append(own.send)
        stack = await self._stack.enter_async_context(AsyncExitStack())
        stack.push_async_callback(others.close)
        stack.push_async_callback(own.close)
        await stack.enter_async_context(_tasks(works))
        agent.intents.serving = True
        if keeper.whole:
            await until(keeper.open.is_set)
        node = Node(member.host, address, agent, keeper, others, passing, stack)
        self.nodes[member.host] = node
        return node


async def _no_cni(call: object) -> Any:  # noqa: RUF029, the shape of a door
    raise AssertionError(f"nobody calls CNI here: {call}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.77.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def _tasks(works: list[Callable[[], Any]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        defects = [d for d in done if isinstance(d, Exception)]
        assert [] == defects


async def records(cluster: Cluster) -> Mapping[str, Item]:
    """As they lie in the store, by their keys."""
    return (await cluster.nodes["one"].agent.store.load()).items


async def left_of(host: str, cluster: Cluster) -> set[str]:
    """Keys of what the records say of a host."""
    items = (await records(cluster)).items()
    return {k for k, i in items if host in k.split("/")[1:] or f'"host":"{host}"' in str(i.value)}


async def ask(cluster: Cluster, folder: Folder) -> None:
    """The first host, by the certificate in this folder."""
    async with Calls(contexts.asking(folder, any_host=True)) as calls:
        await calls.call(cluster.place("one"), "GET", "/v1/store")


def run(path: Path, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(WITHIN):
                await scenario(Cluster(path, stack))

    asyncio.run(whole())
