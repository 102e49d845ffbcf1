"""What `routed` tells becomes facts, over its own desk; and it is started where it does not run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path as File
from typing import Any

import pytest
from tests.waiting import wait_until

from seaway.daemons import LOOK, SLOWEST, Runner
from seaway.errors import Invalid, SystemFailed, Unavailable
from seaway.facts import Facts
from seaway.model import codec
from seaway.model.facts import LinkNumber, Path, Value
from seaway.model.routing import Numbers, Question, RoutedReport, Told, Turn
from seaway.paths import Paths
from seaway.routed.desk import Desk

B, C = Path(host="b", via="b"), Path(host="c", via="b", backup="d")
FAST = Path(host="c", via="d", routing="latency")


class Answers:
    """What a desk is asked for."""

    def __init__(self) -> None:
        self.turns = [Turn(routing="hops", paths=(B, C), whole=True)]
        self.numbers = Numbers(numbers={2: 22})

    def answer(self, question: Question) -> list[Value]:
        if question.ask == "routes":
            raise Invalid("not so")
        told: dict[str, list[Value]] = {"paths": [*self.turns], "numbers": [self.numbers]}
        return told.get(question.ask, [RoutedReport(host="a", hosts=3)])


class Place:
    """Both ends, in a folder."""

    def __init__(self, folder: File) -> None:
        self.facts = Facts(())
        self.changes = 0
        self.paths = Paths(self.facts, self._changed, folder)
        self.paths.runs.set()
        self.answers = Answers()
        self.folder = folder
        self.tasks: set[asyncio.Task[None]] = set()
        self.desk = Desk(folder / "routed.sock", self.answers, self._start)

    def _changed(self) -> None:
        self.changes += 1

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        return task

    def known(self) -> dict[str, Path]:
        return {f"{p.routing} {p.host}": p for p in self.facts.all(Path)}

    async def becomes(self, expected: dict[str, Path]) -> None:
        async def same() -> bool:  # noqa: RUF029, it is asked in a loop
            return expected == self.known()

        assert await wait_until(same), self.known()


def play(folder: File, scenario: Callable[[Place], Awaitable[None]]) -> Place:
    async def whole() -> Place:
        place = Place(folder)
        async with await place.desk.listen():
            following = [
                asyncio.create_task(work())
                for work in (place.paths.follow, place.paths.follow_numbers)
            ]
            try:
                await scenario(place)
            finally:
                for task in (*following, *place.tasks):
                    task.cancel()
                await asyncio.gather(*following, *place.tasks, return_exceptions=True)
        return place

    return asyncio.run(whole())


def test_paths_are_facts_and_turn_as_they_are_told(tmp_path):
    async def scenario(place: Place) -> None:
        await place.becomes({"hops b": B, "hops c": C})
        other = Path(host="c", via="d")
        place.desk.turn(Turn(routing="hops", paths=(other,), gone=("b",)))
        await place.becomes({"hops c": other})
        place.desk.turn(Turn(routing="latency", paths=(FAST,), whole=True))
        await place.becomes({"hops c": other, "latency c": FAST})
        place.desk.turn(Turn(routing="hops", paths=(B,), whole=True))
        await place.becomes({"hops b": B, "latency c": FAST})
        assert place.changes >= 4

    place = play(tmp_path, scenario)
    assert FAST == place.facts.get(Path, "c/latency")
    assert B == place.facts.get(Path, "b")


def test_numbers_are_facts_and_those_of_before_go(tmp_path):
    async def scenario(place: Place) -> None:
        async def numbers(expected: dict[int, int]) -> None:
            async def same() -> bool:  # noqa: RUF029, it is asked in a loop
                return expected == {n.host: n.number for n in place.facts.all(LinkNumber)}

            assert await wait_until(same)

        await numbers({2: 22})
        place.desk.numbers(Numbers(numbers={3: 33}))
        await numbers({3: 33})

    play(tmp_path, scenario)


def test_what_was_told_last_stays_true_while_nobody_answers(tmp_path):
    turns = (Turn(routing="hops", paths=(B, C), whole=True),)
    told = Told(turns=turns, numbers=Numbers(numbers={2: 22}))
    (tmp_path / "paths.json").write_bytes(codec.encode(told))
    place = Place(tmp_path)
    place.paths.remember()

    assert {"hops b": B, "hops c": C} == place.known()
    assert [LinkNumber(host=2, number=22)] == place.facts.all(LinkNumber)


@pytest.mark.parametrize("text", [None, "", "{", '{"turns": 1}'])
def test_what_is_not_there_or_cannot_be_read_is_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "paths.json").write_text(text)
    place = Place(tmp_path)
    place.paths.remember()
    assert {} == place.known()


def test_a_question_is_answered_or_refused_with_its_reason(tmp_path):
    async def scenario(place: Place) -> None:
        report = await place.paths.ask(Question(ask="status"), RoutedReport)
        assert RoutedReport(host="a", hosts=3) == report
        with pytest.raises(Invalid, match="not so"):
            await place.paths.ask(Question(ask="routes"), RoutedReport)

    play(tmp_path, scenario)


@pytest.mark.parametrize("there", ["nobody", "one that hangs up"])
def test_nobody_that_answers_is_told(tmp_path, there):
    async def scenario() -> None:
        paths = Paths(Facts(()), lambda: None, tmp_path)
        with pytest.raises(Unavailable, match=r"routed (does not answer|hung up)"):
            await paths.ask(Question(ask="status"), RoutedReport)

    async def whole() -> None:
        if there == "nobody":
            return await scenario()
        server = await asyncio.start_unix_server(
            lambda _, writer: writer.close(), tmp_path / "routed.sock"
        )
        async with server:
            return await scenario()

    asyncio.run(whole())


def test_one_that_dies_while_it_is_asked_is_told_as_such(tmp_path):
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async def whole() -> None:
        async with await asyncio.start_unix_server(hear, tmp_path / "routed.sock"):
            paths = Paths(Facts(()), lambda: None, tmp_path)
            with pytest.raises(Unavailable, match="routed hung up"):
                await paths.ask(Question(ask="status"), RoutedReport)

    asyncio.run(whole())


class Process:
    """Runs when it was started, unless it fails or ends at once."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.started = 0
        self.fails: Exception | None = None
        self.ends = False
        self.builds: dict[int, str] = {}
        self.replaced: list[int] = []

    def running(self) -> int | None:
        return self.pid

    def build(self, pid: int) -> str:
        return self.builds.get(pid, "")

    def replace(self, pid: int) -> None:
        self.replaced.append(pid)
        if self.fails:
            raise self.fails
        self.pid = pid + 1
        self.builds[self.pid] = "new"

    def start(self) -> None:
        self.started += 1
        if self.fails:
            raise self.fails
        self.pid = None if self.ends else 7


@pytest.fixture
def process():
    return Process()


def looks(keeper: Runner, times: int) -> list[float]:
    async def whole() -> list[float]:
        return [await keeper.look() for _ in range(times)]

    return asyncio.run(whole())


def test_it_is_started_once_there_are_orders_and_one_that_runs_is_adopted(tmp_path, process):
    keeper = Runner(tmp_path / "orders", process)
    looks(keeper, 2)
    assert 0 == process.started
    (tmp_path / "orders").touch()
    looks(keeper, 3)
    assert 1 == process.started
    looks(Runner(tmp_path / "orders", process), 2)  # of the next agent
    assert 1 == process.started
    process.pid = None  # it was killed
    looks(keeper, 2)
    assert 2 == process.started


@pytest.mark.parametrize("told", ["old", ""])
def test_one_of_another_build_is_replaced_once_it_is_certain(tmp_path, process, told):
    (tmp_path / "orders").touch()
    process.pid, process.builds = 7, {7: told}
    looks(Runner(tmp_path / "orders", process), 3)  # of those that may not be ended
    keeper = Runner(tmp_path / "orders", process, build="new")
    looks(keeper, 1)  # it may have begun just now
    assert [] == process.replaced
    looks(keeper, 3)
    assert ([7], 0) == (process.replaced, process.started)
    looks(Runner(tmp_path / "orders", process, build="new"), 3)  # of the next agent
    assert [7] == process.replaced


def test_one_that_cannot_be_replaced_is_tried_more_and_more_seldom(tmp_path, process):
    (tmp_path / "orders").touch()
    process.pid, process.fails = 7, SystemFailed("it does not end")
    pauses = looks(Runner(tmp_path / "orders", process, build="new"), 4)
    assert [LOOK, 2 * LOOK, 4 * LOOK, 8 * LOOK] == pauses
    process.builds = {7: "new"}
    assert [LOOK] == looks(Runner(tmp_path / "orders", process, build="new"), 1)


@pytest.mark.parametrize("fails", [None, SystemFailed("no"), FileNotFoundError("setsid")])
def test_one_that_ends_at_once_is_started_more_and_more_seldom(tmp_path, process, fails):
    (tmp_path / "orders").touch()
    process.fails, process.ends = fails, True
    pauses = [min(LOOK * 2**n, SLOWEST) for n in range(1, 7)]
    assert pauses == looks(Runner(tmp_path / "orders", process), 6)
    process.pid = 7
    assert [LOOK] == looks(Runner(tmp_path / "orders", process), 1)


LOOKS_TWICE = """
import asyncio, sys
from pathlib import Path
from seaway.daemons import Daemon, Runner

folder = Path(sys.argv[1])
daemon = Daemon("routed", "none.service", folder / "pid", folder / "log")
runner = Runner(folder / "orders", daemon)
print("pauses:", asyncio.run(runner.look()), asyncio.run(runner.look()))
"""


def test_one_that_the_machine_cannot_start_is_tried_again(tmp_path):
    (tmp_path / "orders").touch()
    setsid = tmp_path / "setsid"
    setsid.write_text("#!/bin/sh\nexit 1\n")  # as where no process can be made
    setsid.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", LOOKS_TWICE, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},  # where there is no systemctl, either
    )
    assert 2 == done.stdout.count("'seaway routed' cannot be started"), done
    assert f"pauses: {2 * LOOK} {4 * LOOK}" in done.stdout
