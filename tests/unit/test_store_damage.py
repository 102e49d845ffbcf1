"""A store that is killed, cut, changed or replaced in the middle: the old state or the new one.

Or it is refused, and every byte of it is kept.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.killing import at_every_step

from seaway.errors import StoreDamaged
from seaway.store import file
from seaway.store.sqlite import SqliteStore

State = dict[str, bytes]

OLD: State = {f"networks/n{n}": b'{"mtu":1500}' * n for n in range(1, 9)}
CHANGE: dict[str, bytes | None] = {
    "networks/n1": b"changed",
    "networks/n2": None,
    "networks/n9": b"x" * 9000,  # several pages
}
NEW: State = {k: v for k, v in (OLD | CHANGE).items() if v is not None}


def state(path: Path) -> State:
    """What a store holds that is opened now."""
    store = SqliteStore(path)
    snapshot = asyncio.run(store.load())
    asyncio.run(store.close())
    return {key: item.value for key, item in snapshot.items.items()}


def make(path: Path, *commits: dict[str, bytes | None]) -> None:
    """A store with these commits, closed."""
    store = SqliteStore(path)
    for changes in commits:
        asyncio.run(store.commit(changes))
    asyncio.run(store.close())


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def contents(path: Path) -> dict[str, bytes]:
    """The file and its log, as far as they say anything."""
    files = {suffix: path.with_name(path.name + suffix) for suffix in ("", "-wal")}
    return {s: data for s, f in files.items() if f.exists() and (data := f.read_bytes())}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "store.db"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a dead agent leaves it: the old state in the file, then three commits in the log."""
    path = tmp_path_factory.mktemp("killed") / "store.db"
    make(path, OLD)
    store = SqliteStore(path)
    for changes in COMMITS:
        asyncio.run(store.commit(changes))
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    asyncio.run(store.close())
    return copy


COMMITS: list[dict[str, bytes | None]] = [{"a": b"1"}, {"a": b"2", "b": b"1"}, CHANGE]
STATES: list[State] = [
    OLD,
    OLD | {"a": b"1"},
    OLD | {"a": b"2", "b": b"1"},
    NEW | {"a": b"2", "b": b"1"},
]


@pytest.fixture
def copied(killed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of(killed, tmp_path_factory)


def copy_of(killed: Path, folders: pytest.TempPathFactory) -> Path:
    path = folders.mktemp("copy") / "store.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{killed}{suffix}", f"{path}{suffix}")
    return path


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def test_killed_at_any_step_of_a_commit_it_holds_the_old_state_or_the_new_one(path: Path) -> None:
    def prepare() -> None:
        clear(path.parent)
        make(path, OLD)

    found = []
    for _ in at_every_step(prepare, lambda: make(path, CHANGE)):
        found.append(state(path))
        assert found[-1] in (OLD, NEW)

    assert (OLD, NEW) == (found[0], found[-1])
    assert len(found) > 10


def test_killed_while_it_is_made_it_is_empty_or_whole_afterwards(path: Path) -> None:
    for _ in at_every_step(lambda: clear(path.parent), lambda: make(path, OLD)):
        assert state(path) in ({}, OLD)
    assert OLD == state(path)


def damage(path: Path) -> None:
    """The last page of the file is another one."""
    data = bytearray(path.read_bytes())
    data[-4096:] = b"\xa5" * 4096
    path.write_bytes(data)


@pytest.mark.parametrize("old", ["whole", "with a log", "damaged", "none"])
def test_killed_while_it_is_replaced_it_is_the_old_store_or_the_new_one(
    path: Path, killed: Path, old: str
) -> None:
    def prepare() -> None:
        clear(path.parent)
        if old == "with a log":
            for suffix in ("", "-wal"):
                shutil.copy(f"{killed}{suffix}", f"{path}{suffix}")
        elif old != "none":
            make(path, OLD)
        if old == "damaged":
            damage(path)

    prepare()
    was = contents(path)
    before = STATES[-1] if old == "with a log" else {} if old == "none" else OLD
    outcomes = []
    for _ in at_every_step(prepare, lambda: file.replace(path, {"a": b"new"})):
        try:
            found = state(path)
        except StoreDamaged:
            assert (old, was) == ("damaged", contents(path))
            outcomes.append("old")
            continue
        assert found in (before, {"a": b"new"})
        outcomes.append("old" if found == before else "new")
        if outcomes[-1] == "new" and was:
            (kept,) = path.parent.glob("store-*.db")
            assert was == contents(kept)

    assert ["old", "new"] == list(dict.fromkeys(outcomes))


@given(st.data())
@settings(deadline=None, max_examples=80)
def test_a_log_that_was_cut_or_changed_anywhere_gives_a_whole_state(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = copy_of(killed, tmp_path_factory)
    log = bytearray(log_of(path).read_bytes())
    at = data.draw(st.integers(0, len(log) - 1))
    if data.draw(st.booleans()):
        del log[at:]
    else:
        log[at] ^= data.draw(st.integers(1, 255))
    log_of(path).write_bytes(log)

    assert state(path) in STATES


def last_commit(killed: Path) -> int:
    """Where its frames begin in the log: behind the end of the commit before."""
    log = log_of(killed).read_bytes()
    frame = 24 + 4096  # https://sqlite.org/fileformat2.html#walformat
    ends = [at for at in range(32, len(log), frame) if log[at + 4 : at + 8] != bytes(4)]
    return ends[-2] + frame


def test_a_last_commit_that_was_cut_anywhere_is_as_if_it_never_came(
    killed: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    begin, end = last_commit(killed), log_of(killed).stat().st_size
    for size in {*range(begin, end, 997), begin, end - 1}:
        path = copy_of(killed, tmp_path_factory)
        with log_of(path).open("rb+") as log:
            log.truncate(size)
        assert STATES[-2] == state(path)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_a_file_that_was_cut_or_changed_anywhere_is_right_or_refused_and_kept(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = copy_of(killed, tmp_path_factory)
    if data.draw(st.booleans(), "without a log"):
        assert STATES[-1] == state(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert_right_or_refused_and_kept(path)


def assert_right_or_refused_and_kept(path: Path) -> None:
    was = contents(path)
    try:
        found = state(path)
    except StoreDamaged:
        assert was == contents(path)
    else:
        assert STATES[-1] == found


def test_a_file_that_is_cut_within_its_first_page_keeps_its_log(
    killed: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for size in (0, 1, 16, 99, 100, 511, 512, 600, 4095):
        path = copy_of(killed, tmp_path_factory)
        path.write_bytes(path.read_bytes()[:size])
        assert_right_or_refused_and_kept(path)


def test_a_changed_value_is_found_though_the_database_is_well_formed(path: Path) -> None:
    make(path, OLD)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE items SET value = 'other' WHERE key = 'networks/n1'")

    with pytest.raises(StoreDamaged, match="not those that were written"):
        SqliteStore(path)


def test_an_empty_file_is_no_new_store(path: Path) -> None:
    path.touch()

    with pytest.raises(StoreDamaged, match="it is empty"):
        SqliteStore(path)
    assert b"" == path.read_bytes()


def test_a_log_without_its_file_is_refused_and_kept(copied: Path) -> None:
    copied.unlink()
    was = contents(copied)

    with pytest.raises(StoreDamaged, match=r"there is .*store.db-wal, but no store.db"):
        SqliteStore(copied)
    assert was == contents(copied)


SCHEMA_1 = """
CREATE TABLE items (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE store (revision INTEGER NOT NULL);
INSERT INTO store VALUES (7);
INSERT INTO items VALUES ('a', x'31', 7);
PRAGMA application_id = 0x53454157;
PRAGMA user_version = 1;
"""


def test_a_store_of_the_version_before_is_brought_up_to_this_one(path: Path) -> None:
    def prepare() -> None:
        clear(path.parent)
        with closing(sqlite3.connect(path)) as db:
            db.executescript(f"PRAGMA journal_mode=WAL; {SCHEMA_1}")

    for _ in at_every_step(prepare, lambda: SqliteStore(path)):
        assert {"a": b"1"} == state(path)
    make(path, {"b": b"2"})
    assert {"a": b"1", "b": b"2"} == state(path)
