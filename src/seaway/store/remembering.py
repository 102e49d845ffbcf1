"""A host's way to the store of its cluster, and its life without it.

What the host saw last lies in a SQLite store of its own, the cache. Without the cluster's store the
host boots from there; it goes on with what nobody but itself writes (`endpoints/<host>/…`,
`health/<host>/…`, `before/<host>`), and refuses what others have a say in.

What the host alone writes is decided here: it is in the cache before it is sent, and the store is
made to have the same, whatever became of it meanwhile (the agent was killed between the two, the
store was restored, an old request showed late). So ours win, until the record of the host
is gone: then it was removed from the cluster, and nothing is sent any more. Who removes a host
therefore removes that record first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

import structlog

from seaway.errors import Conflict, StoreDamaged, SystemFailed, Unavailable
from seaway.store import file, restored
from seaway.store.base import Changed, Commit, Item, Moment, Snapshot, Store
from seaway.store.sqlite import SqliteStore

RETRY = 1.0  # seconds
PATIENCE = 4.0  # in which who changes what this host alone writes waits for the store
_RECORDS, _BYTES = 100, 1 << 20  # sent at once, at most; etcd takes 128, and 1.5 MiB
_GOES_ON = (
    "traffic, attach and detach on this host go on; "
    "changes of networks, hosts and blocks wait until it is back"
)
_JOIN = "seaway uninstall, then join again"

log = structlog.get_logger(__name__)


def open_cache(path: Path) -> SqliteStore:
    """A damaged one is set aside: the store has all of it but what was changed without it."""
    try:
        return SqliteStore(path)
    except StoreDamaged as error:
        kept = file.replace(path, {})
        log.warning("what was remembered is set aside", error=error.message, kept=str(kept))
        return SqliteStore(path)


class Remembering:
    """`store` as `host` sees it. Revision 0: of the cache, or not in the store yet.

    `watch` goes on for ever; beside it runs `send`.
    """

    def __init__(self, store: Store, cache: Store, host: str) -> None:
        self.lost: Unavailable | None = None  # why the store cannot be had now
        self.removed = False  # from the cluster
        self._store = store
        self._cache = cache
        self._name, self._host = host, f"hosts/{host}"
        self._folders, self._before = (f"endpoints/{host}/", f"health/{host}/"), f"before/{host}"
        # What this host alone writes, as it is here; None: nothing was read yet.
        self._own: dict[str, bytes] | None = None
        # At which revisions the store has that, and the host's record.
        self._there: dict[str, int] = {}
        self._unsent: set[str] = set()
        self._uncached: dict[str, bytes | None] = {}
        self._turn = asyncio.Lock()  # one asks the store at a time
        self._due = asyncio.Event()

    @property
    def unsent(self) -> int:
        """Records of this host's that the store does not have as they are here."""
        return len(self._unsent)

    def _is_own(self, key: str) -> bool:
        return key.startswith(self._folders) or key == self._before

    # Reading

    async def recall(self) -> Snapshot:
        """As this host saw all records last; nobody is asked."""
        seen = {k: item.value for k, item in (await self._cache.load()).items.items()}
        return self._recalled(seen)

    def _recalled(self, seen: Mapping[str, bytes]) -> Snapshot:
        others = {k: v for k, v in seen.items() if not self._is_own(k)}
        own = {k: v for k, v in seen.items() if self._is_own(k)} if self._own is None else self._own
        return Snapshot(0, {k: Item(v, 0) for k, v in (others | own).items()})

    async def load(self) -> Snapshot:
        async with self._turn:
            seen = {k: item.value for k, item in (await self._cache.load()).items.items()}
            if seen and self._own is None:
                self._own = {k: v for k, v in seen.items() if self._is_own(k)}
            try:
                snapshot = await self._read(seen)
            except Unavailable as error:
                if not seen:
                    raise
                self._lose(error)
                return self._recalled(seen)
            return await self._adopt(snapshot, seen)

    async def _read(self, seen: Mapping[str, bytes]) -> Snapshot:
        """Blocks that the store has forgotten are claimed again, before anybody else does."""
        while True:
            snapshot = await self._store.load()
            restored.same_cluster(seen, snapshot)
            if not (forgotten := restored.forgotten(self._name, seen, snapshot)):
                return snapshot
            log.warning("the store has forgotten blocks of this host", blocks=sorted(forgotten))
            expect = dict.fromkeys(forgotten, 0)
            expect[self._host] = snapshot.items[self._host].revision
            with suppress(Changed):
                await self._store.commit(forgotten, expect)

    async def _adopt(self, snapshot: Snapshot, seen: Mapping[str, bytes]) -> Snapshot:
        """What the store has is so, but for what this host alone writes. (At first, when nothing
        was seen yet, that too.)
        """
        own = {k: item for k, item in snapshot.items.items() if self._is_own(k)}
        others = {k: item for k, item in snapshot.items.items() if not self._is_own(k)}
        if self._own is None:
            self._own = {k: item.value for k, item in own.items()}
            await self._remember(self._own)
        gone = {k for k in seen if not self._is_own(k)} - others.keys() - {self._host}
        changed = {k: item.value for k, item in others.items() if seen.get(k) != item.value}
        await self._remember(dict.fromkeys(gone) | changed)
        self._there = {k: item.revision for k, item in own.items()}
        if self._host in others:
            self._there[self._host] = others[self._host].revision
        self._note_host(gone=self._host in seen and self._host not in others)
        self._unsent = {
            k for k in self._own | own if k not in own or own[k].value != self._own.get(k)
        }
        self._find()
        return Snapshot(
            snapshot.revision, others | {k: Item(v, 0) for k, v in self._own.items()}, snapshot.mark
        )

    async def watch(self, since: Moment) -> AsyncGenerator[Commit, None]:
        """Never ends by `Unavailable`: goes on as soon as the store is back."""
        while True:
            if self.lost:
                await asyncio.sleep(RETRY)
            try:
                async with aclosing(self._store.watch(since)) as commits:
                    async for commit in commits:
                        since = commit.moment
                        yield await self._follow(commit)
            except Unavailable as error:
                self._lose(error)

    async def _follow(self, commit: Commit) -> Commit:
        """What others did. What this host alone writes it knows better: that is put right."""
        self._note(commit)
        others = {k: v for k, v in commit.changes.items() if not self._is_own(k)}
        kept = {self._host} if self.removed else set()
        await self._remember({k: v for k, v in others.items() if k not in kept})
        if self._host not in self._there:
            self._find()  # nothing of ours is to be sent, which would show it
        elif self.lost or self._unsent:
            self._due.set()
        return Commit(commit.revision, others, commit.mark)

    def _note(self, commit: Commit) -> None:
        """What the store has now, of what this host alone writes and of its record."""
        for key, value in commit.changes.items():
            if not self._is_own(key) and key != self._host:
                continue
            self._there[key] = commit.revision
            if value is None:
                del self._there[key]
            if key == self._host:
                self._note_host(gone=value is None)
            elif value == (self._own or {}).get(key):
                self._unsent.discard(key)
            else:
                self._unsent.add(key)

    def _note_host(self, *, gone: bool) -> None:
        if gone and not self.removed:
            log.error("this host was removed from the cluster", record=self._host)
        self.removed = gone

    async def _remember(self, changes: Mapping[str, bytes | None]) -> None:
        """For a boot without the store. What the disk does not take goes with what comes next."""
        self._uncached.update(changes)
        if self._uncached:
            try:
                await self._cache.commit(self._uncached)
            except SystemFailed as error:
                log.warning("cannot remember what the store has", error=str(error))
            else:
                self._uncached = {}

    # Writing

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit:
        """What only this host writes is accepted, and sent as soon as it can be. What it rests on
        is not asked: nobody else changes it. All else is the store's to decide, or `Unavailable`.
        """
        if self.removed and any(value is not None for value in changes.values()):
            raise Conflict("this host was removed from the cluster", _JOIN)
        if changes and all(map(self._is_own, changes)):
            return await self._keep(changes)
        if self.lost:
            raise _refusal(self.lost)
        async with self._turn:
            given = {k: at for k, at in (expect or {}).items() if not self._is_own(k)}
            try:
                commit = await self._store.commit(changes, self._rests_on(changes) | given)
            except Unavailable as error:
                self._lose(error)
                raise _refusal(error) from error
            self._decide(changes)
            self._note(commit)
            await self._remember(changes)
        return commit

    async def _keep(self, changes: Mapping[str, bytes | None]) -> Commit:
        await self._cache.commit({**self._uncached, **changes})
        self._uncached = {}
        self._decide(changes)
        self._unsent |= changes.keys()
        self._due.set()
        if not self.lost:
            try:
                async with asyncio.timeout(PATIENCE):
                    with suppress(Changed):  # `send` tries again
                        await self._send()
            except Unavailable as error:
                self._lose(error)
            except TimeoutError:
                self._lose(Unavailable("the store does not answer in time"))
        return Commit(0, dict(changes))

    def _decide(self, changes: Mapping[str, bytes | None]) -> None:
        if self._own is None:
            self._own = {}
        for key, value in changes.items():
            if value is None:
                self._own.pop(key, None)
            elif self._is_own(key):
                self._own[key] = value

    async def send(self) -> None:
        """Has the store be as this host is, whenever it can be had. Goes on for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._send()
                continue
            except Unavailable as error:
                self._lose(error)
            except Changed as error:  # what did, is about to be told by the watch
                log.info("not sent yet", error=str(error))
            await asyncio.sleep(RETRY)
            self._due.set()

    async def _send(self) -> None:
        """Deletions first, so that nobody sees an address twice. Where there is nothing to send,
        it asks whether the store would take it.
        """
        async with self._turn:
            while (self.lost or self._unsent) and self._host in self._there:
                changes = self._batch()
                self._note(await self._store.commit(changes, self._rests_on(changes)))
                self._find()

    def _batch(self) -> dict[str, bytes | None]:
        batch: dict[str, bytes | None] = {}
        own, size = self._own or {}, 0
        for key in sorted(self._unsent, key=lambda k: (k in own, k)):
            size += len(own.get(key, b""))
            if batch and (size > _BYTES or len(batch) == _RECORDS):
                break
            batch[key] = own.get(key)
        return batch

    def _rests_on(self, changes: Mapping[str, bytes | None]) -> dict[str, int]:
        """So neither a request of ours that is done late undoes what came after it, nor does one
        reach a store that is not ours.
        """
        expect = {k: self._there.get(k, 0) for k in changes if self._is_own(k)}
        if self._host in self._there:
            expect[self._host] = self._there[self._host]
        return expect

    def _lose(self, error: Unavailable) -> None:
        if not self.lost:
            log.warning("the store is lost", error=str(error))
        self.lost = error
        self._due.set()

    def _find(self) -> None:
        if self.lost:
            log.info("the store is back", unsent=self.unsent)
        self.lost = None
        if self._unsent:
            self._due.set()

    async def close(self) -> None:
        await self._store.close()
        await self._cache.close()


def _refusal(error: Unavailable) -> Unavailable:
    return Unavailable(f"the store is lost: {error.message}", _GOES_ON)
