"""The file of the SQLite store: made whole, looked at before it is opened, replaced in one step.

A file appears under its name only when all of it is on the disk, so that one that is empty or
half there is a damaged one, and never taken for new. Beside it may lie `.new`, which is being
made and means nothing, and `.next`, which is whole and takes the file's place: whoever opens
the store completes that first. What was there before is kept under another name.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path

from seaway.errors import StoreDamaged, SystemFailed

VERSION = 2  # PRAGMA user_version; 1 had no digest
APPLICATION = 0x53454157  # PRAGMA application_id: "SEAW"
KEPT = "the file was left as it is; a backup takes its place by: seaway restore FILE --replace"

_SCHEMA = f"""
CREATE TABLE items (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE store (revision INTEGER NOT NULL, digest BLOB NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""
_MAGIC, _PAGE = b"SQLite format 3\0", 512  # how a database begins; the smallest of its pages
_DIGEST_BYTES = 16
_OF_THE_SYSTEM = {  # primary result codes that say nothing of the file itself
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
_ASIDE = ("-wal", "-shm", "")  # what belongs to a store; the file itself last


class Digest:
    """A sum over all rows, in any order: a commit changes it by its own rows alone.

    SQLite finds a broken page, but not a changed byte within a value.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._sum = int.from_bytes(data, "big")

    def add(self, rows: Iterable[tuple[object, ...]]) -> None:
        for row in rows:
            self._sum += _number(row)

    def remove(self, rows: Iterable[tuple[object, ...]]) -> None:
        for row in rows:
            self._sum -= _number(row)

    @property
    def data(self) -> bytes:
        return (self._sum % (1 << 8 * _DIGEST_BYTES)).to_bytes(_DIGEST_BYTES, "big")


def _number(row: tuple[object, ...]) -> int:
    """Of a row as SQLite gave it: in a damaged file a field may be of any type."""
    return int.from_bytes(blake2b(repr(row).encode(), digest_size=_DIGEST_BYTES).digest(), "big")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say the errors of SQLite and of the disk in our words."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # Without a code it was Python that could not read what it was given.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF in _OF_THE_SYSTEM and code != sqlite3.SQLITE_IOERR_SHORT_READ:
            raise _refused(path, error) from error
        raise StoreDamaged(f"the store {path} is damaged: {error}", KEPT) from error
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: Exception) -> SystemFailed:
    return SystemFailed(
        f"cannot use the store {path}: {error}",
        "is the disk full, or the folder read-only? nothing was changed",
    )


def exists(path: Path) -> bool:
    """Whether there is a store, damaged or not."""
    finish(path)
    return path.exists()


def create(path: Path) -> None:
    """An empty store, unless there is one."""
    finish(path)
    with _changing(path.parent):
        if path.exists():
            return
        log = _beside(path, "-wal")
        if log.exists() and log.stat().st_size:
            raise StoreDamaged(f"there is {log}, but no {path.name}", KEPT)
        _make(path, {}).rename(path)


def replace(path: Path, items: Mapping[str, bytes]) -> Path | None:
    """A store of these items in place of what is there; under which name that is kept.

    Nobody may have it open. Killed at any moment, it leaves the old store or the new one.
    """
    with told(path):
        with _changing(path.parent):
            _make(path, items).rename(_beside(path, ".next"))
            _sync(path.parent)
        return finish(path)


def finish(path: Path) -> Path | None:
    """Complete a replacement, also one that was killed; under which name the old is kept."""
    coming, kept = _beside(path, ".next"), None
    if not coming.exists():
        return None
    with _changing(path.parent):
        if not coming.exists():
            return None  # somebody was faster
        # The same name again after a kill: what belongs together stays together.
        aside = path.with_name(f"{path.stem}-{coming.stat().st_mtime_ns}{path.suffix}")
        for suffix in _ASIDE:
            if (old := _beside(path, suffix)).exists():
                kept = old.rename(_beside(aside, suffix))
        coming.rename(path)
        _sync(path.parent)
    return kept


def set_aside(path: Path) -> Path | None:
    """Keep a store under another name, as what is there now is elsewhere; which name. None: there
    is none. Nobody may have it open: what was committed is all in the file itself.
    """
    with told(path), _changing(path.parent):
        if not path.exists():
            return None
        aside = path.with_name(f"{path.stem}-{path.stat().st_mtime_ns}{path.suffix}")
        path.rename(aside)
        _sync(path.parent)
        return aside


def look_at(path: Path) -> None:
    """Raise what is wrong with a file. It is not written to, not even from its own log."""
    _look_at_begin(path)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        application, version = pragma(db, "application_id"), pragma(db, "user_version")
        if application != APPLICATION:
            raise StoreDamaged(f"{path} is a database, but not a Seaway store", KEPT)
        if version > VERSION:
            raise StoreDamaged(
                f"{path} was written by a newer Seaway (store version {version}, "
                f"this one reads up to {VERSION})",
                "install that version again; the file was left as it is",
            )
        (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(str(answer))
        _compare(db, version)


def _look_at_begin(path: Path) -> None:
    """A file that is cut within its first page SQLite takes for a new one: its log would go."""
    with path.open("rb") as file:
        begin = file.read(_PAGE)
    if not begin:
        raise StoreDamaged(f"the store {path} is damaged: it is empty", KEPT)
    if len(begin) < _PAGE or not begin.startswith(_MAGIC):
        raise StoreDamaged(f"the store {path} is damaged: it is no database", KEPT)


def _compare(db: sqlite3.Connection, version: int) -> None:
    """That the rows are those that were written."""
    if version < 1:
        raise sqlite3.DatabaseError(f"there is no store version {version}")
    if version == 1:
        return
    stores = db.execute("SELECT revision, digest FROM store").fetchall()
    if len(stores) != 1 or stores[0][1] != digest_of(db).data:
        raise sqlite3.DatabaseError("its records are not those that were written")


def digest_of(db: sqlite3.Connection) -> Digest:
    digest = Digest()
    digest.add(db.execute("SELECT key, value, revision FROM items"))
    digest.add(db.execute("SELECT revision FROM store"))
    return digest


def pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _make(path: Path, items: Mapping[str, bytes]) -> Path:
    """A whole store beside the path, on the disk."""
    new = _beside(path, ".new")
    _forget(new)  # somebody was killed while he made it
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    revision = 1 if items else 0
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")  # for ever: a later change could be cut short
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}")
            rows = [(key, value, revision) for key, value in items.items()]
            db.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
            db.execute("INSERT INTO store VALUES (?, ?)", (revision, b""))
            db.execute("UPDATE store SET digest = ?", (digest_of(db).data,))
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # closing would not say that it failed
    except BaseException:
        _forget(new)
        raise
    return new


def _forget(path: Path) -> None:
    for suffix in _ASIDE:
        _beside(path, suffix).unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """One at a time gives and takes names here."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    """Have the names on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
