"""The file by which the agent tells the resolver what names stand for: SQLite, in write-ahead mode.

The agent alone writes it, and the resolver reads it while the agent is dead. All of it follows from
records, so one that cannot be read, or of another version, is made anew. Known for ours by its
place.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from seaway import __version__, names
from seaway.errors import Undecodable
from seaway.model import codec
from seaway.model.addresses import Address
from seaway.model.facts import Value
from seaway.model.naming import Holder, Named

V = TypeVar("V", bound=Value)

VERSION: Final = 2  # as `_TABLES` writes it
BUILD: Final = f"{__version__}, names {VERSION}"  # of a resolver that this agent can use
_TABLES: Final = """
BEGIN IMMEDIATE;
CREATE TABLE names (
    name TEXT, network TEXT, value BLOB NOT NULL, PRIMARY KEY (name, network)
) WITHOUT ROWID;
CREATE TABLE holders (address TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 2;
COMMIT;
"""
_CACHE: Final = 256  # KiB of it that are kept in memory: the agent seldom reads what it wrote
_PATIENCE: Final = 5.0  # seconds for a lock that who reads may have for a moment


class _AnotherVersionError(sqlite3.DatabaseError):
    """It is made anew."""


class NamesFile:
    """As the agent writes it; its calls may come from any thread, one at a time."""

    def __init__(self, path: Path = names.NAMES_FILE) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def close(self) -> None:
        with self._lock:
            self._shut()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing. `OSError`: it cannot be written."""
        with self._lock, _as_os_error():
            db = self._opened()
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._shut()
                if _is_damaged(error):
                    self._remove()
                raise
            except BaseException:
                db.execute("ROLLBACK")
                raise

    def _opened(self) -> sqlite3.Connection:
        """What was taken away, or another one's by now, is opened anew."""
        if self._db and self._inode == _inode_of(self._path):
            return self._db
        self._shut()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            db = self._open()
        except sqlite3.DatabaseError as error:
            if not (isinstance(error, _AnotherVersionError) or _is_damaged(error)):
                raise
            self._remove()
            db = self._open()
        self._db, self._inode = db, _inode_of(self._path)
        return db

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            self._path.chmod(0o600)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA cache_size=-{_CACHE}")
            _prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _shut(self) -> None:
        db, self._db = self._db, None
        if db:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)


def _prepare(db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if not found:
        db.executescript(_TABLES)
    elif found != VERSION:
        raise _AnotherVersionError(f"a file of version {found}")


def _inode_of(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _is_damaged(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"{names.NAMES_FILE.name}: {error}") from error


class _Rows(Generic[V]):
    """A target (`seaway.reconcile`) whose objects are the rows of one table."""

    name: str
    kind: type[V]
    columns: tuple[str, ...]
    key: Callable[[Any], Any]  # of what stands in these columns
    place: Callable[[Any], tuple[str, ...]]  # the inverse

    def __init__(self, file: NamesFile) -> None:
        self._file = file

    def read(self) -> dict[Any, V]:
        """What cannot be read is as if it was not there: it is written anew."""
        with self._file.transaction() as db:
            rows = db.execute(f"SELECT {', '.join(self.columns)}, value FROM {self.name}")
            return dict(self._parsed(rows))

    def look(self, keys: Collection[Any]) -> dict[Any, V]:
        with self._file.transaction() as db:
            wanted = f"SELECT {', '.join(self.columns)}, value FROM {self.name} {self._where}"
            return {
                key: value
                for wanted_key in keys
                for key, value in self._parsed(db.execute(wanted, self.place(wanted_key)))
            }

    def put(self, objects: Mapping[Any, V]) -> dict[Any, OSError]:
        marks = ", ".join("?" * (len(self.columns) + 1))
        rows = ((*self.place(key), codec.encode(value)) for key, value in objects.items())
        with self._file.transaction() as db:
            db.executemany(f"INSERT OR REPLACE INTO {self.name} VALUES ({marks})", rows)
        return {}

    def delete(self, keys: set[Any]) -> dict[Any, OSError]:
        with self._file.transaction() as db:
            db.executemany(f"DELETE FROM {self.name} {self._where}", map(self.place, keys))
        return {}

    @property
    def _where(self) -> str:
        return "WHERE " + " AND ".join(f"{column} = ?" for column in self.columns)

    def _parsed(self, rows: Any) -> Iterator[tuple[Any, V]]:
        for *place, value in rows:
            with contextlib.suppress(Undecodable, ValueError):
                yield self.key(place), codec.decode(value, self.kind)


class NamesTarget(_Rows[Named]):
    name = "names"
    kind = Named
    columns = ("name", "network")
    key = staticmethod(lambda place: (place[1], place[0]))
    place = staticmethod(lambda key: (key[1], key[0]))


class HoldersTarget(_Rows[Holder]):
    name = "holders"
    kind = Holder
    columns = ("address",)
    key = staticmethod(lambda place: ip_address(place[0]))
    place = staticmethod(lambda key: (str(key),))


class KnownNames:
    """The same file as the resolver reads it, from any thread. It may be missing for a while, and
    one of another version is as if it was: the agent of that one starts a resolver that knows it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._seen = (0, 0)

    def close(self) -> None:
        with self._lock:
            self._shut()

    def changed(self) -> bool:
        """Whether what is there is another one than at the last call. Cheap."""
        with self._lock:
            inode = _inode_of(self._path)
            if inode != self._seen[0]:
                self._shut()
            rows = self._rows("PRAGMA data_version")
            seen = (inode, rows[0][0] if rows else 0)
            told, self._seen = self._seen, seen
            return seen != told

    def named(self, name: str) -> dict[str, Named]:
        """What a name in lower case stands for, by network."""
        with self._lock:
            rows = self._rows("SELECT network, value FROM names WHERE name = ?", name)
        return {network: codec.decode(value, Named) for network, value in rows}

    def holder(self, address: str) -> Holder | None:
        with self._lock:
            rows = self._rows("SELECT value FROM holders WHERE address = ?", address)
        return codec.decode(rows[0][0], Holder) if rows else None

    def listens(self) -> frozenset[Address]:
        """Where the resolver is to answer."""
        with self._lock:
            rows = self._rows("SELECT address, value FROM holders WHERE " + _OWN)
        return frozenset(_own(rows))

    def _rows(self, what: str, *given: str) -> list[tuple[Any, ...]]:
        """Nothing, where there is no file that can be read."""
        try:
            if self._db is None and _inode_of(self._path):
                self._db = self._open()
            return self._db.execute(what, given).fetchall() if self._db else []
        except sqlite3.Error:
            self._shut()
            return []

    def _open(self) -> sqlite3.Connection | None:
        db = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=_PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if db.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                return db
        except BaseException:
            db.close()
            raise
        db.close()
        return None

    def _shut(self) -> None:
        db, self._db = self._db, None
        if db:
            with contextlib.suppress(sqlite3.Error):
                db.close()


def _own(rows: list[tuple[Any, ...]]) -> Iterator[Address]:
    """What cannot be read is as if it was not there."""
    for address, value in rows:
        with contextlib.suppress(Undecodable, ValueError):
            asker = codec.decode(value, Holder).asker
            if asker and asker.resolver:
                yield ip_address(address)


_OWN: Final = """CAST(value AS TEXT) LIKE '%"resolver":true%'"""
