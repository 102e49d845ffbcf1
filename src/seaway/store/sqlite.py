"""The store of one host: SQLite in write-ahead mode, inside the agent, nothing to install.

One process writes (the agent holds a lock on its run folder). `synchronous=NORMAL` may lose
the last commits when the power fails, never when a process dies, and never the file's
consistency: after a power loss the containers of those commits are gone too.
A damaged file or one of a newer version is refused and left as it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seaway.store import file
from seaway.store.base import Changed, Commit, Item, Missed, Moment, Snapshot

_FROM_1 = "ALTER TABLE store ADD COLUMN digest BLOB NOT NULL DEFAULT x''"


class SqliteStore:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._watchers: list[asyncio.Queue[Commit]] = []
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file.told(path):
            file.create(path)
            file.look_at(path)
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise
        path.chmod(0o600)

    def _open(self) -> None:
        self._db.execute("PRAGMA synchronous=NORMAL")
        if file.pragma(self._db, "user_version") < file.VERSION:
            with self._transaction():
                self._db.execute(_FROM_1)
                self._sign(file.digest_of(self._db))
                self._db.execute(f"PRAGMA user_version = {file.VERSION}")

    async def load(self) -> Snapshot:
        with file.told(self._path), self._transaction("BEGIN"):
            last = self._last()
            rows = self._db.execute("SELECT key, value, revision FROM items").fetchall()
        return Snapshot(last.revision, {key: Item(value, at) for key, value, at in rows}, last.mark)

    def _last(self) -> Moment:
        """What is in it is its mark: restored, it has another one, unless it is the same."""
        revision, digest = self._db.execute("SELECT revision, digest FROM store").fetchone()
        return Moment(revision, digest.hex())

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit:
        with file.told(self._path), self._transaction():
            for key, at in (expect or {}).items():
                row = self._db.execute("SELECT revision FROM items WHERE key=?", (key,)).fetchone()
                if (row[0] if row else 0) != at:
                    raise Changed(f"'{key}' was changed by somebody else", "try again")
            last, data = self._db.execute("SELECT revision, digest FROM store").fetchone()
            digest, revision = file.Digest(data), last + 1
            digest.remove([*self._rows(changes), (last,)])
            self._write(changes, revision)
            digest.add([*self._rows(changes), (revision,)])
            self._db.execute("UPDATE store SET revision = ?", (revision,))
            self._sign(digest)
        commit = Commit(revision, dict(changes), digest.data.hex())
        for watcher in self._watchers:
            watcher.put_nowait(commit)
        return commit

    def _rows(self, keys: Mapping[str, bytes | None]) -> Iterator[tuple[object, ...]]:
        """What is there under these keys."""
        for key in keys:
            yield from self._db.execute(
                "SELECT key, value, revision FROM items WHERE key=?", (key,)
            )

    def _write(self, changes: Mapping[str, bytes | None], revision: int) -> None:
        self._db.executemany(
            "INSERT INTO items VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
            "SET value = excluded.value, revision = excluded.revision",
            [(k, v, revision) for k, v in changes.items() if v is not None],
        )
        self._db.executemany(
            "DELETE FROM items WHERE key=?", [(k,) for k, v in changes.items() if v is None]
        )

    def _sign(self, digest: file.Digest) -> None:
        self._db.execute("UPDATE store SET digest = ?", (digest.data,))

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        self._db.execute(begin)
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    async def watch(self, since: Moment) -> AsyncGenerator[Commit, None]:
        """Only of what this process commits from now on: nobody else does."""
        with file.told(self._path):
            last = self._last()
        if since != last:
            raise Missed(f"the store is at {last.revision}, not at {since.revision}", "load again")
        commits: asyncio.Queue[Commit] = asyncio.Queue()
        self._watchers.append(commits)
        try:
            yield Commit(last.revision, {}, last.mark)
            while True:
                yield await commits.get()
        finally:
            self._watchers.remove(commits)

    async def close(self) -> None:
        self._db.close()
