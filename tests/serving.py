"""A real API server on a unix socket, in a thread of its own, for blocking clients.

Behind it are the real intents, over a real store and a fake kernel.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from structlog.testing import capture_logs
from tests.agents import ADDRESSES, Agent, start

from seaway.api.routes import CniDoor, Doors
from seaway.api.server import Server
from seaway.cluster.passing import Passing
from seaway.desired.network.networks import TABLE
from seaway.model.wire import CniAnswer, CniCall
from seaway.records import parse

T = TypeVar("T")
_WITHIN = 10.0  # seconds


@dataclass
class Served:
    """An agent that answers, as its only client's test sees it."""

    agent: Agent
    socket: Path
    loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[[], T]) -> T:
        """Do something in the agent's own thread."""

        async def inside() -> T:  # noqa: RUF029, only a coroutine can be handed over
            return function()

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(_WITHIN)

    def state(self) -> object:
        """All that a request may change: what is in the store, and in the kernel."""
        return asyncio.run_coroutine_threadsafe(self._state(), self.loop).result(_WITHIN)

    async def _state(self) -> object:
        return await self.agent.store.load(), self.agent.state()


@contextmanager
def served(folder: Path, cni: CniDoor | None = None) -> Iterator[Served]:
    """From when the agent answers on `agent.sock` in this folder until it is stopped."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="agent")
    thread.start()

    def wait(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(_WITHIN)

    try:
        with capture_logs():  # its log is no output of a command that runs in this process
            agent, passing, works = wait(_begin(folder))
            doors = Doors(agent.intents, cni or _echo, passing)
            server = wait(_serve(doors, folder / "agent.sock"))
            try:
                yield Served(agent, folder / "agent.sock", loop)
            finally:
                wait(_end(agent, works, server))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_WITHIN)
        loop.close()


async def _echo(call: CniCall) -> CniAnswer:  # noqa: RUF029, the shape of a door
    return CniAnswer(stdout=call.env["CNI_COMMAND"], exit=0)


async def _begin(folder: Path) -> tuple[Agent, Passing, list[asyncio.Task[None]]]:
    agent = await start(folder)
    passing = Passing("h", agent.store, parse)
    works = [asyncio.create_task(w()) for w in (agent.intents.convergence.run, passing.run)]
    beside = [TABLE, *(("holders", address) for address in ADDRESSES)]  # written in threads
    await agent.intents.convergence.settle(beside)
    agent.intents.serving = True
    return agent, passing, works


async def _serve(doors: Doors, path: Path) -> Server:
    server = Server(doors, path)
    await server.start()
    return server


async def _end(agent: Agent, works: list[asyncio.Task[None]], server: Server) -> None:
    await server.stop()
    for work in works:
        work.cancel()
    await asyncio.wait(works)
    await agent.store.close()
