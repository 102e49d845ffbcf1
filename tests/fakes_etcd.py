"""An etcd that can be told to fail in every way, and its clients. Passes the contract tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum, auto

from seaway.errors import Unavailable
from seaway.store.base import Changed, Commit, Item, Missed, Moment, Snapshot

ANSWERS_WITHIN = 3.0  # seconds


@dataclass
class State:
    """What a snapshot of it holds, and its history with it."""

    items: dict[str, Item] = field(default_factory=dict)
    history: list[Commit] = field(default_factory=lambda: [Commit(1, {})])

    @property
    def revision(self) -> int:
        return self.history[-1].revision

    @property
    def mark(self) -> str:
        return self.history[-1].mark


class Fate(Enum):
    """What becomes of a client's next commit."""

    DONE = auto()
    LOST = auto()  # on the way to etcd
    UNANSWERED = auto()  # done, but nobody says so
    LATE = auto()  # done only when `FakeEtcd.do_late` is called


class FakeEtcd:
    def __init__(self) -> None:
        self.up = True
        self.late: list[Callable[[], object]] = []
        self.watchers: set[asyncio.Event] = set()
        self.breaks = 0  # how often all watches broke
        self._state = State()
        self._compacted = 0
        self._marks = itertools.count(1)

    def load(self) -> Snapshot:
        return Snapshot(self._state.revision, dict(self._state.items), self._state.mark)

    def commit(self, changes: Mapping[str, bytes | None], expect: Mapping[str, int]) -> Commit:
        items = self._state.items
        for key, at in expect.items():
            if at != (items[key].revision if key in items else 0):
                raise Changed(f"'{key}' was changed by somebody else", "try again")
        revision = self._state.revision + 1
        for key, value in changes.items():
            items.pop(key, None)
            if value is not None:
                items[key] = Item(value, revision)
        self._state.history.append(Commit(revision, dict(changes), f"m{next(self._marks)}"))
        self.poke()
        return self._state.history[-1]

    def since(self, moment: Moment) -> list[Commit]:
        """The commits after that."""
        history = self._state.history
        at = [n for n, c in enumerate(history) if c.moment == moment and n >= self._compacted]
        if not at:
            raise Missed(f"there is no {moment} any more", "load again")
        return history[at[0] + 1 :]

    def poke(self) -> None:
        for watcher in self.watchers:
            watcher.set()

    # Trouble

    def compact(self) -> None:
        self._compacted = len(self._state.history) - 1

    def break_watches(self) -> None:
        self.breaks += 1
        self.poke()

    def save(self) -> State:
        return deepcopy(self._state)

    def restore(self, state: State) -> None:
        self._state, self._compacted = deepcopy(state), 0
        self.break_watches()

    def do_late(self) -> None:
        late, self.late = self.late, []
        for request in late:
            try:
                request()
            except Changed:
                continue


class Broken(Unavailable):
    """The connection, not etcd."""


class FakeEtcdStore:
    """A client. `cut`: it reaches nobody; `fate`: of its next commit; `patience`: seconds until it
    gives up.
    """

    def __init__(self, etcd: FakeEtcd) -> None:
        self.etcd = etcd
        self.cut = False
        self.last = Moment(0)
        self.fate = Fate.DONE
        self.patience = ANSWERS_WITHIN

    async def _travel(self) -> None:
        """Of a question or its answer: whatever breaks meanwhile, breaks this."""
        breaks = self.etcd.breaks
        await asyncio.sleep(0)
        if breaks != self.etcd.breaks:
            raise Broken("etcd does not answer (fake: the connection broke)", "mend it")
        if self.cut or not self.etcd.up:
            await self._wait_in_vain()

    async def _wait_in_vain(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.create_future()
        loop.call_later(self.patience, lambda: end.cancelled() or end.set_result(None))
        await end
        raise Unavailable("etcd does not answer (fake: no answer in time)", "mend it")

    async def load(self) -> Snapshot:
        await self._travel()
        snapshot = self.etcd.load()
        await self._travel()
        return snapshot

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit:
        await self._travel()
        fate, self.fate = self.fate, Fate.DONE
        if fate is Fate.LATE:
            self.etcd.late.append(lambda: self.etcd.commit(changes, expect or {}))
        if fate in {Fate.LATE, Fate.LOST}:
            await self._wait_in_vain()
        commit = self.etcd.commit(changes, expect or {})
        if fate is Fate.UNANSWERED:
            await self._wait_in_vain()
        await self._travel()
        self.last = commit.moment
        return commit

    async def watch(self, since: Moment) -> AsyncGenerator[Commit, None]:
        news = asyncio.Event()
        self.etcd.watchers.add(news)
        try:
            while True:
                try:
                    async with aclosing(self._stream(since, news)) as stream:
                        async for commit in stream:
                            since = commit.moment
                            yield commit
                except Broken:
                    continue
        finally:
            self.etcd.watchers.discard(news)

    async def _stream(self, since: Moment, news: asyncio.Event) -> AsyncGenerator[Commit, None]:
        breaks = self.etcd.breaks
        await self._travel()
        self.etcd.since(since)
        if self.last.revision > since.revision:
            last, self.last = self.last, Moment(0)
            self.etcd.since(last)
        yield Commit(since.revision, {}, since.mark)
        while breaks == self.etcd.breaks:
            news.clear()
            for commit in self.etcd.since(since):
                await self._travel()
                since = commit.moment
                yield commit
            await news.wait()

    async def close(self) -> None:
        await asyncio.sleep(0)
