"""Targets that are slow: who goes on meanwhile, and who waits."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.agents import Agent
from tests.unit.test_intents import run

from seaway.errors import SystemFailed
from seaway.model.requests import NewNetwork
from seaway.names import link_name


class Gate:
    """Stops who passes, in whatever thread, and says so."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()

    def __call__(self, *_: object) -> None:
        self._reached.set()
        assert self._open.wait(30)

    async def reached(self) -> None:
        await until(self._reached.is_set)

    def open(self) -> None:
        self._open.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110, threads tell no event of the loop
            await asyncio.sleep(0)


@contextmanager
def slow_table(agent: Agent) -> Iterator[Gate]:
    gate = Gate()
    agent.kernel["nft"].on_put = gate
    try:
        yield gate
    finally:
        gate.open()


def play(tmp_path: Path, scenario: Callable[[Agent], Awaitable[None]]) -> None:
    run(tmp_path, scenario)


def test_while_the_table_is_written_all_goes_on_but_new_links(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        old, links = await agent.attach("old"), agent.kernel["links"]
        with slow_table(agent) as gate:
            async with asyncio.TaskGroup() as group:
                made = group.create_task(agent.intents.create_network(NewNetwork(name="web")))
                await gate.reached()
                new = group.create_task(agent.attach("new", network="web"))
                await until(lambda: len(agent.intents.endpoints()) == 2)
                await agent.intents.detach(old.id)
                assert {} == links.read()
                assert not made.done()
                gate.open()
        assert {link_name(new.result().id)} == links.read().keys()
        assert set(made.result().subnets) < set(agent.kernel["nft"].read()["table"].inside)

    play(tmp_path, scenario)


def test_an_add_waits_for_the_first_try_of_a_table_that_cannot_be_written(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        agent.kernel["nft"].refuses = {"table": OSError(errno.ETIMEDOUT, "nft took too long")}
        await agent.intents.create_network(NewNetwork(name="web", masquerade=False))
        await agent.attach("a", network="web")

        gate, put = Gate(), agent.kernel["nft"].put
        agent.kernel["nft"].put = lambda objects: gate() or put(objects)  # type: ignore[method-assign]
        agent.intents.convergence.retry()
        await gate.reached()
        await agent.attach("b", network="web")
        gate.open()

        assert ["nft"] == [f.target for f in agent.intents.status().failures]

    play(tmp_path, scenario)


def test_no_container_joins_a_network_that_could_not_be_hidden_from_the_world(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        agent.kernel["nft"].refuses = {"table": OSError(errno.ETIMEDOUT, "nft took too long")}
        await agent.intents.create_network(NewNetwork(name="web"))
        before = agent.state()

        with pytest.raises(SystemFailed, match="nft took too long"):
            await agent.attach("a", network="web")
        assert before == agent.state()
        assert [] == agent.intents.endpoints()

        agent.kernel["nft"].refuses = {}
        agent.intents.convergence.retry()
        await until(lambda: not agent.intents.status().failures)
        await agent.attach("a", network="web")

    play(tmp_path, scenario)


@pytest.mark.parametrize("target", ["links", "nft"])
def test_what_fails_is_left_alone_until_it_is_tried_again(tmp_path: Path, target: str) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web")
        kernel, convergence = agent.kernel[target], agent.intents.convergence
        kernel.refuses = dict.fromkeys(kernel.read(), OSError(errno.EBUSY, "busy"))
        if target == "nft":
            await agent.intents.create_network(NewNetwork(name="other"))
        else:
            with suppress(SystemFailed):
                await agent.intents.detach("web")
        tried = len(kernel.calls)
        for _ in range(20):
            await asyncio.to_thread(lambda: None)
        assert tried == len(kernel.calls)

        kernel.refuses = {}
        convergence.retry()
        await until(lambda: not agent.intents.status().failures)

    play(tmp_path, scenario)


def test_reading_the_table_back_holds_up_nobody(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        table, convergence = agent.kernel["nft"], agent.intents.convergence
        gate, read, wanted = Gate(), table.read, table.read()
        table.objects["table"] = "changed"
        table.read = lambda: gate() or read()  # type: ignore[method-assign]
        convergence.audit("nft")
        await gate.reached()
        await agent.attach("web")
        assert 0 == convergence.drift_total
        gate.open()

        await until(lambda: read() == wanted)
        assert [("nft", "table", "changed")] == [
            (d.target, d.key, d.found) for d in convergence.drift
        ]

    play(tmp_path, scenario)


def test_what_is_left_at_start_is_gone_before_anybody_is_served(tmp_path: Path) -> None:
    """Of an agent that died in the middle of a DEL: the address of that link is free already."""

    async def scenario(agent: Agent) -> None:
        kept, links = await agent.attach("kept"), agent.kernel["links"]
        links.objects["swyleft"] = next(iter(links.objects.values()))
        gate = Gate()
        links.on_delete = gate
        due = agent.intents.convergence.adopt()
        settling = asyncio.create_task(agent.intents.convergence.settle(due))
        await gate.reached()
        assert not settling.done()
        gate.open()
        await settling

        assert {link_name(kept.id)} == links.read().keys()
        assert [] == list(agent.intents.convergence.drift)

    play(tmp_path, scenario)


def test_of_what_another_process_writes_first_only_what_lasts_is_drift(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web")
        target, convergence = agent.kernel["endpoints"], agent.intents.convergence
        ((key, value), *_) = target.objects.items()

        target.objects[key] = "written"
        async with asyncio.TaskGroup() as group:
            group.create_task(convergence.audit_twice("endpoints"))
            await asyncio.sleep(0)  # it has looked once
            target.objects[key] = value  # as we are told in time
        assert 0 == convergence.drift_total

        target.objects[key] = "changed"
        await convergence.audit_twice("endpoints")
        await until(lambda: target.objects[key] == value)
        assert 1 == convergence.drift_total

    play(tmp_path, scenario)
