"""The store of one host: SQLite in write-ahead mode, inside the agent, nothing to install.

One process writes (the agent holds a lock on its run folder). `synchronous=NORMAL` may lose
the last commits when the power fails, never when a process dies, and never the file's
consistency: after a power loss the containers of those commits are gone too.
A damaged file or one of a newer version is refused and left as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seaway.errors import StoreDamaged, SystemFailed
from seaway.store.base import Changed, Commit, Item, Snapshot

VERSION = 1  # PRAGMA user_version
APPLICATION = 0x53454157  # PRAGMA application_id: "SEAW"

_SCHEMA = f"""
CREATE TABLE items (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE store (revision INTEGER NOT NULL);
INSERT INTO store VALUES (0);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""


class SqliteStore:
    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._told():
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise
        path.chmod(0o600)

    def _open(self) -> None:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and not self._pragma("user_version"):
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        self._check()
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")

    def _check(self) -> None:
        application, version = self._pragma("application_id"), self._pragma("user_version")
        if application != APPLICATION:
            raise StoreDamaged(
                f"{self._path} is a database, but not a Seaway store",
                "move it away; it was left as it is",
            )
        if version > VERSION:
            raise StoreDamaged(
                f"{self._path} was written by a newer Seaway (store version {version}, "
                f"this one reads up to {VERSION})",
                "install that version again; the file was left as it is",
            )
        (answer,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(str(answer))

    def _pragma(self, name: str) -> int:
        (value,) = self._db.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say SQLite's errors in our words."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise SystemFailed(
                f"cannot use the store {self._path}: {error}",
                "is the disk full, or the folder read-only? nothing was changed",
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(
                f"the store {self._path} is damaged: {error}",
                "the file was left as it is; restore a backup, or move it away to start anew",
            ) from error

    async def load(self) -> Snapshot:
        with self._told():
            (revision,) = self._db.execute("SELECT revision FROM store").fetchone()
            rows = self._db.execute("SELECT key, value, revision FROM items").fetchall()
        return Snapshot(revision, {key: Item(value, at) for key, value, at in rows})

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit:
        with self._told(), self._transaction():
            for key, revision in (expect or {}).items():
                row = self._db.execute("SELECT revision FROM items WHERE key=?", (key,)).fetchone()
                if (row[0] if row else 0) != revision:
                    raise Changed(f"'{key}' was changed by somebody else", "try again")
            (revision,) = self._db.execute(
                "UPDATE store SET revision = revision + 1 RETURNING revision"
            ).fetchone()
            self._db.executemany(
                "INSERT INTO items VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
                "SET value = excluded.value, revision = excluded.revision",
                [(k, v, revision) for k, v in changes.items() if v is not None],
            )
            self._db.executemany(
                "DELETE FROM items WHERE key=?", [(k,) for k, v in changes.items() if v is None]
            )
        return Commit(revision, dict(changes))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    async def close(self) -> None:
        self._db.close()
