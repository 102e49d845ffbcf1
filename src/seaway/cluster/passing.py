"""The store, for hosts that reach it through this one: read, changed, and followed.

From when the first of them asks, this host remembers the latest commits, and each is told those
that it does not know yet. What is told names the hosts that it is known from (`store/peers.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress

import structlog

from seaway.errors import Conflict, Unavailable
from seaway.model.store import Change, Changes, Committed, Committing, Stored, StoredItem
from seaway.store.base import Commit, Missed, Moment, Store
from seaway.store.peers import CIRCLE, VIA, WAIT, PeerStore

log = structlog.get_logger(__name__)

_REMEMBERED = 2000  # commits
_RETRY = 1.0  # seconds, while the store is lost here too
_MOST_HOPS = 16


class Passing:
    """Of one agent: `store` is where its own records lie; `check` refuses what is none. Who `keeps`
    the records of all hosts stays one of them.
    """

    def __init__(
        self,
        host: str,
        store: Store,
        check: Callable[[str, bytes], object],
        *,
        keeps: bool = False,
    ) -> None:
        self._host = host
        self._store = store
        self._check = check
        self._keeps = keeps
        self._wanted = asyncio.Event()
        self._stirred = asyncio.Event()
        self._stands = False
        self._closed = False
        self._base = Moment(0)
        self._commits: deque[Commit] = deque()

    async def load(self, via: str) -> Stored:
        self._wanted.set()  # whoever loads will want to follow
        with self._through(via):
            found = await self._store.load()
        items = {
            key: StoredItem(value=item.value, revision=item.revision)
            for key, item in found.items.items()
        }
        return Stored(revision=found.revision, mark=found.mark, items=items)

    async def commit(self, request: Committing, via: str) -> Committed:
        for key, value in request.put.items():
            self._check(key, value)
        if self._keeps and f"hosts/{self._host}" in request.delete:
            raise Conflict(
                f"the records of the whole cluster are on host '{self._host}'",
                "first move them, there: seaway init --etcd own, or --etcd URL",
            )
        changes: dict[str, bytes | None] = {**request.put, **dict.fromkeys(request.delete)}
        with self._through(via):
            done = await self._store.commit(changes, request.expect)
        return Committed(revision=done.revision, mark=done.mark)

    async def changes(self, since: Moment, *, now: bool) -> Changes:
        """What was changed since; where that is nothing, it waits, unless asked `now`."""
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT):
                while not self._closed and (not self._stands or not (now or self._known(since))):
                    await self._stirred.wait()
        if self._stands and since.revision > self._latest.revision:
            await self._catch_up()
        if self._closed or not self._stands:
            raise Unavailable("this host does not reach the store", "see: seaway status")
        return Changes(changes=tuple(self._since(since)), chain=(self._host, *self._chain()))

    async def _catch_up(self) -> None:
        """Of an etcd others' commits count too: it may have come further than any of ours."""
        moment = (await self._store.load()).moment
        if moment.mark == self._latest.mark:
            self._begin(moment)

    @property
    def _latest(self) -> Moment:
        return self._commits[-1].moment if self._commits else self._base

    def _chain(self) -> tuple[str, ...]:
        return self._store.chain if isinstance(self._store, PeerStore) else ()

    def _known(self, since: Moment) -> bool:
        return any(commit.revision > since.revision for commit in self._commits)

    def _since(self, since: Moment) -> Iterator[Change]:
        before = self._base
        for commit in self._commits:
            if commit.revision > since.revision:
                yield self._told(commit)
            else:
                before = commit.moment
        known = self._base.revision <= since.revision <= self._latest.revision
        if not known or since.mark != before.mark:
            raise Missed(f"what came after revision {since.revision} is not known", "load again")

    def _told(self, commit: Commit) -> Change:
        return Change(
            revision=commit.revision,
            mark=commit.mark,
            put={key: value for key, value in commit.changes.items() if value is not None},
            delete=tuple(key for key, value in commit.changes.items() if value is None),
        )

    async def run(self) -> None:
        """Follow the store, once somebody asked for changes. Goes on for ever."""
        await self._wanted.wait()
        known = False
        while True:
            try:
                if not known:
                    self._begin((await self._store.load()).moment)
                    known = True
                async with aclosing(self._store.watch(self._latest)) as commits:
                    async for commit in commits:
                        self._note(commit)
            except Missed:
                known = False
            except Unavailable as error:
                self._lose(error)
                await asyncio.sleep(_RETRY)

    def _begin(self, moment: Moment) -> None:
        self._base = moment
        self._commits.clear()

    def _note(self, commit: Commit) -> None:
        """One that is known already says that the watch stands."""
        self._stands = True
        if commit.revision > self._latest.revision:
            self._commits.append(commit)
        while len(self._commits) > _REMEMBERED:
            self._base = self._commits.popleft().moment
        self._stir()

    def _lose(self, error: Unavailable) -> None:
        if self._stands:
            log.warning("the store is lost, also for those who reach it here", error=str(error))
        self._stands = False
        self._stir()

    def close(self) -> None:
        """Who waits for a change is sent away at once."""
        self._closed = True
        self._stir()

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = asyncio.Event()

    @contextmanager
    def _through(self, via: str) -> Iterator[None]:
        hosts = tuple(via.split(",")) if via else ()
        if self._host in hosts or len(hosts) > _MOST_HOPS:
            raise Unavailable(CIRCLE, "see: seaway host ls")
        token = VIA.set(hosts)
        try:
            yield
        finally:
            VIA.reset(token)
