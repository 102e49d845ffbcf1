"""What every store keeps: SQLite, etcd, a host's memory of etcd, and the fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import pytest

from seaway.store.base import Changed, Commit, Item, Missed, Moment, Store

MakeStore = Callable[[], Store]  # opens the same store again at each call


async def what_is_committed_is_there_after_opening_again(make_store: MakeStore) -> None:
    store = make_store()
    commit = await store.commit({"networks/a": b"1", "networks/b": b"2"})
    await store.close()

    again = make_store()
    snapshot = await again.load()
    await again.close()

    assert commit.moment == snapshot.moment
    assert {
        "networks/a": Item(b"1", commit.revision),
        "networks/b": Item(b"2", commit.revision),
    } == snapshot.items


async def a_commit_that_rests_on_an_old_revision_changes_nothing(make_store: MakeStore) -> None:
    store = make_store()
    first = await store.commit({"a": b"1"}, {"a": 0})
    await store.commit({"a": b"2"}, {"a": first.revision})
    before = await store.load()
    for wrong in ({"a": first.revision}, {"a": 0}, {"b": 7}):
        with pytest.raises(Changed, match=f"'{next(iter(wrong))}' was changed"):
            await store.commit({"a": b"3", "b": b"4"}, wrong)
    assert before == await store.load()
    await store.close()


async def deleting_what_is_gone_is_no_error(make_store: MakeStore) -> None:
    store = make_store()
    await store.commit({"a": None})
    assert {} == (await store.load()).items
    await store.close()


async def a_watch_tells_every_commit_whole_and_in_order(make_store: MakeStore) -> None:
    store = make_store()
    start = await store.commit({"a": b"0"})
    changes = [{"a": b"1", "b": b"1"}, {"a": None}, {"a": b"2", "b": None}]
    async with (
        aclosing(store.watch(start.moment)) as one,
        aclosing(store.watch(start.moment)) as two,
    ):
        for watch in (one, two):
            assert Commit(start.revision, {}, start.mark) == await anext(watch)
        commits = [await store.commit(change) for change in changes]
        for watch in (one, two):
            assert commits == [await anext(watch) for _ in commits]
    assert changes == [commit.changes for commit in commits]
    assert commits[-1].moment == (await store.load()).moment
    assert sorted({c.revision for c in commits}) == [c.revision for c in commits]
    await store.close()


async def a_watch_from_the_past_tells_what_was_since_or_that_it_is_not_known(
    make_store: MakeStore,
) -> None:
    store = make_store()
    start = await store.commit({"a": b"0"})
    commits = [await store.commit({"a": bytes([n])}) for n in range(3)]
    try:
        async with aclosing(store.watch(start.moment)) as watch:
            told = [await anext(watch) for _ in range(4)]
    except Missed:
        pass
    else:
        assert [Commit(start.revision, {}, start.mark), *commits] == told
    await store.close()


async def no_watch_begins_before_the_first_commit_or_in_the_future(make_store: MakeStore) -> None:
    store = make_store()
    last = await store.commit({"a": b"0"})
    for moment in (Moment(0), Moment(last.revision + 7, last.mark)):
        async with aclosing(store.watch(moment)) as watch:
            with pytest.raises(Missed):
                await anext(watch)
    await store.close()


PROMISES: list[Callable[[MakeStore], Awaitable[None]]] = [
    what_is_committed_is_there_after_opening_again,
    a_commit_that_rests_on_an_old_revision_changes_nothing,
    deleting_what_is_gone_is_no_error,
    a_watch_tells_every_commit_whole_and_in_order,
    a_watch_from_the_past_tells_what_was_since_or_that_it_is_not_known,
    no_watch_begins_before_the_first_commit_or_in_the_future,
]


class Trouble(Protocol):
    """What befalls an etcd."""

    async def compact(self) -> None: ...

    async def restart(self) -> None:
        """Every connection breaks."""

    async def save(self) -> None: ...

    async def restore(self) -> None:
        """What was committed since `save` is lost."""


async def a_past_that_was_compacted_is_missed(make_store: MakeStore, trouble: Trouble) -> None:
    store = make_store()
    commits = [await store.commit({"a": bytes([n])}) for n in range(3)]
    await trouble.compact()
    async with aclosing(store.watch(commits[0].moment)) as watch:
        with pytest.raises(Missed):
            await anext(watch)
    async with aclosing(store.watch(commits[2].moment)) as watch:
        assert {} == (await anext(watch)).changes
    await store.close()


async def a_watch_goes_on_where_it_broke(make_store: MakeStore, trouble: Trouble) -> None:
    store = make_store()
    start = await store.commit({"a": b"0"})
    async with aclosing(store.watch(start.moment)) as watch:
        await anext(watch)
        first = await store.commit({"a": b"1"})
        assert first == await anext(watch)
        await trouble.restart()
        second = await store.commit({"a": b"2"})
        assert Commit(first.revision, {}, first.mark) == await anext(watch)
        assert second == await anext(watch)
    await store.close()


async def a_restored_store_is_missed_however_far_it_has_come_since(
    make_store: MakeStore, trouble: Trouble
) -> None:
    store = make_store()
    await store.commit({"a": b"0"})
    await trouble.save()
    last = [await store.commit({"a": bytes([n])}) for n in range(3)][-1]
    async with aclosing(store.watch(last.moment)) as watch:
        await anext(watch)
        await trouble.restore()
        with pytest.raises(Missed):
            await anext(watch)
    for _ in range(5):
        await store.commit({"b": b"1"})
        async with aclosing(store.watch(last.moment)) as watch:
            with pytest.raises(Missed):
                await anext(watch)
    await store.close()


async def a_store_that_lost_nothing_by_being_restored_is_the_same(
    make_store: MakeStore, trouble: Trouble
) -> None:
    store = make_store()
    last = await store.commit({"a": b"0"})
    await trouble.save()
    await trouble.restore()
    async with aclosing(store.watch(last.moment)) as watch:
        assert {} == (await anext(watch)).changes
        assert await store.commit({"a": b"1"}) == await anext(watch)
    await store.close()


async def a_commit_that_was_lost_before_it_was_told_is_missed(
    make_store: MakeStore, trouble: Trouble
) -> None:
    store = make_store()
    start = await store.commit({"a": b"0"})
    await trouble.save()
    async with aclosing(store.watch(start.moment)) as watch:
        await anext(watch)
        await store.commit({"a": b"1"})
        await trouble.restore()
        with pytest.raises(Missed):
            _ = [commit async for commit in watch]
    await store.close()


IN_TROUBLE: list[Callable[[MakeStore, Trouble], Awaitable[None]]] = [
    a_past_that_was_compacted_is_missed,
    a_watch_goes_on_where_it_broke,
    a_restored_store_is_missed_however_far_it_has_come_since,
    a_store_that_lost_nothing_by_being_restored_is_the_same,
    a_commit_that_was_lost_before_it_was_told_is_missed,
]
