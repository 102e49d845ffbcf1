"""What every store must do; SQLite is the first."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes_store import FakeStore
from seaway.errors import StoreDamaged, SystemFailed
from seaway.store.base import Changed, Item, Store
from seaway.store.sqlite import SqliteStore

MakeStore = Callable[[], Store]


@pytest.fixture(params=[SqliteStore, FakeStore])
def make_store(tmp_path: Path, request: pytest.FixtureRequest) -> MakeStore:
    """Opens the same store again at each call."""
    return lambda: request.param(tmp_path / "store.db")


def test_what_is_committed_is_there_after_opening_again(make_store: MakeStore) -> None:
    async def scenario() -> None:
        store = make_store()
        commit = await store.commit({"networks/a": b"1", "networks/b": b"2"})
        await store.close()

        again = make_store()
        snapshot = await again.load()
        await again.close()

        assert commit.revision == snapshot.revision
        assert {
            "networks/a": Item(b"1", commit.revision),
            "networks/b": Item(b"2", commit.revision),
        } == snapshot.items

    asyncio.run(scenario())


def test_a_commit_that_rests_on_an_old_revision_changes_nothing(make_store: MakeStore) -> None:
    async def scenario() -> None:
        store = make_store()
        first = await store.commit({"a": b"1"}, {"a": 0})
        await store.commit({"a": b"2"}, {"a": first.revision})
        before = await store.load()
        for wrong in ({"a": first.revision}, {"a": 0}, {"b": 7}):
            with pytest.raises(Changed):
                await store.commit({"a": b"3", "b": b"4"}, wrong)
        assert before == await store.load()
        await store.close()

    asyncio.run(scenario())


def test_deleting_what_is_gone_is_no_error(make_store: MakeStore) -> None:
    async def scenario() -> None:
        store = make_store()
        await store.commit({"a": None})
        assert {} == (await store.load()).items
        await store.close()

    asyncio.run(scenario())


changes = st.dictionaries(st.sampled_from("abc"), st.none() | st.binary(max_size=4), max_size=3)


@given(st.lists(changes, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_store_holds_what_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, bytes | None]]
) -> None:
    async def scenario() -> None:
        store = SqliteStore(tmp_path_factory.mktemp("store") / "store.db")
        expected: dict[str, bytes] = {}
        for change in history:
            await store.commit(change)
            for key, value in change.items():
                expected.pop(key, None)
                if value is not None:
                    expected[key] = value
        items = (await store.load()).items
        await store.close()
        assert expected == {key: item.value for key, item in items.items()}

    asyncio.run(scenario())


def test_a_damaged_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="left as it is"):
        SqliteStore(path)
    assert before == path.read_bytes()


def test_a_file_damaged_in_the_middle_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    asyncio.run(store.commit({f"k{i}": b"x" * 500 for i in range(100)}))
    asyncio.run(store.close())
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(StoreDamaged, match="damaged"):
        SqliteStore(path)
    assert bytes(data) == path.read_bytes()


@pytest.mark.parametrize(
    ("pragma", "words"),
    [("user_version = 99", "newer Seaway"), ("application_id = 5", "not a Seaway store")],
)
def test_a_file_of_somebody_else_or_of_the_future_is_refused_and_kept(
    tmp_path: Path, pragma: str, words: str
) -> None:
    path = tmp_path / "store.db"
    asyncio.run(SqliteStore(path).close())
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA {pragma}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match=words):
        SqliteStore(path)
    assert before == path.read_bytes()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.mkdir()
    with pytest.raises(SystemFailed, match="cannot use the store"):
        SqliteStore(path)


def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def scenario() -> None:
        store = SqliteStore(path)
        await store.commit({"a": b"1"})
        store._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
        before = await store.load()
        with pytest.raises(SystemFailed, match="disk full"):
            await store.commit({"a": b"2", "b": b"x" * 100_000})
        assert before == await store.load()
        await store.close()

    asyncio.run(scenario())


def test_what_the_fake_refuses_is_told_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = FakeStore(tmp_path / "store.db")
        store.refuses = {"a": SystemFailed("the disk is full")}
        with pytest.raises(SystemFailed, match="full"):
            await store.commit({"a": b"1", "b": b"1"})
        assert {} == (await store.load()).items
        await store.commit({"b": b"1"})
        assert {"b"} == (await store.load()).items.keys()
        await store.close()

    asyncio.run(scenario())
