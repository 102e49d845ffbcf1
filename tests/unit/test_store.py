"""What every store must do, and SQLite's file above that."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clock
import contract_store
from contract_store import MakeStore
from fakes_etcd import FakeEtcd, FakeEtcdStore
from fakes_store import FakeStore
from passed import passed_on
from seaway.errors import StoreDamaged, SystemFailed
from seaway.store.remembering import Remembering
from seaway.store.sqlite import SqliteStore


def sqlite(path: Path) -> MakeStore:
    return lambda: SqliteStore(path / "store.db")


def failing(path: Path) -> MakeStore:
    return lambda: FakeStore(path / "store.db")


def fake_etcd(_: Path) -> MakeStore:
    etcd = FakeEtcd()
    return lambda: FakeEtcdStore(etcd)


def remembering(path: Path) -> MakeStore:
    etcd = FakeEtcd()
    return lambda: Remembering(FakeEtcdStore(etcd), SqliteStore(path / "cache.db"), "a")


def through_another(_: Path) -> MakeStore:
    etcd = FakeEtcd()
    return lambda: passed_on(FakeEtcdStore(etcd))


def through_two_of_which_one_has_a_file(path: Path) -> MakeStore:
    return lambda: passed_on(passed_on(SqliteStore(path / "store.db"), "one"), "two", "three")


@pytest.mark.parametrize("promise", contract_store.PROMISES, ids=lambda p: p.__name__)
@pytest.mark.parametrize(
    "kind",
    [
        sqlite,
        failing,
        fake_etcd,
        remembering,
        through_another,
        through_two_of_which_one_has_a_file,
    ],
)
def test_every_store_keeps_what_it_promises(
    tmp_path: Path,
    kind: Callable[[Path], MakeStore],
    promise: Callable[[MakeStore], Coroutine[Any, Any, None]],
) -> None:
    clock.run(promise(kind(tmp_path)))


class FakeTrouble:
    """What befalls the fake, as a contract of etcd has it."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self._etcd = etcd

    async def compact(self) -> None:
        self._etcd.compact()

    async def restart(self) -> None:
        self._etcd.break_watches()

    async def save(self) -> None:
        self._saved = self._etcd.save()

    async def restore(self) -> None:
        self._etcd.restore(self._saved)


@pytest.mark.parametrize("promise", contract_store.IN_TROUBLE, ids=lambda p: p.__name__)
def test_the_fake_of_etcd_keeps_what_etcd_promises_in_trouble(
    promise: Callable[[MakeStore, contract_store.Trouble], Coroutine[Any, Any, None]],
) -> None:
    etcd = FakeEtcd()
    clock.run(promise(lambda: FakeEtcdStore(etcd), FakeTrouble(etcd)))


changes = st.dictionaries(st.sampled_from("abc"), st.none() | st.binary(max_size=4), max_size=3)


@given(st.lists(changes, max_size=8))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
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
