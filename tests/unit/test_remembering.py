"""A host without the store of its cluster, and what becomes of it when that is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import clock
from fakes_etcd import FakeEtcd, FakeEtcdStore, Fate
from fakes_store import FakeStore
from keepers import (
    LONG,
    Keeper,
    begun,
    block,
    cluster,
    endpoint,
    from_nothing,
    health,
    known,
    network,
)
from seaway.errors import Conflict, SystemFailed, Unavailable
from seaway.facts import Facts
from seaway.model import codec
from seaway.model.facts import Block, Endpoint, Network, Peer
from seaway.model.services import Health
from seaway.records import Records, store_key
from seaway.store.base import Commit
from seaway.store.remembering import Remembering, open_cache
from seaway.store.sqlite import SqliteStore

Scenario = Callable[[FakeEtcd, Keeper, Keeper], Awaitable[None]]


def played(scenario: Scenario) -> None:
    """By two hosts that run."""

    async def whole() -> None:
        etcd = await begun()
        one, two = Keeper("a", etcd), Keeper("b", etcd)
        for keeper in (one, two):
            await keeper.boot()
        try:
            await scenario(etcd, one, two)
        finally:
            for keeper in (one, two):
                await keeper.kill()

    clock.run(whole())


async def settled(*keepers: Keeper) -> None:
    """All that is due is done; each knows what a new one would."""
    await clock.passes(LONG)
    for keeper in keepers:
        assert (None, 0) == (keeper.store.lost, keeper.store.unsent)
        assert await from_nothing(keeper.etcd, keeper.name) == known(keeper.facts)


def stored(etcd: FakeEtcd) -> set[str]:
    return set(etcd.load().items)


def test_a_host_boots_without_the_store_and_goes_on_with_what_it_alone_writes() -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        await one.records.commit([endpoint("a", 1), endpoint("a", 2), block(0, "a")])
        await two.records.commit([network("x"), block(1, "b")])
        await settled(one, two)
        before = known(one.facts)
        etcd.up = False
        await one.kill()
        await one.boot()
        assert before == known(one.facts)
        assert stored(etcd) == set((await one.store.recall()).items)

        await one.records.commit([endpoint("a", 3), health("a", 3), health("a", 2)])
        await one.records.commit([], [endpoint("a", 1), health("a", 2)])
        with pytest.raises(
            Unavailable, match=r"the store is lost: etcd does not answer.*attach"
        ) as told:
            await one.records.commit([network("y")])
        assert "wait until it is back" in told.value.hint
        with pytest.raises(Unavailable, match="the store is lost"):
            await one.records.commit([endpoint("a", 4), block(2, "a")])
        assert {"2", "3"} == {e.id[-1] for e in one.facts.all(Endpoint)}
        assert 2 <= one.store.unsent

        etcd.up = True
        await settled(one, two)
        assert {"endpoints/a/" + "2".zfill(16), "endpoints/a/" + "3".zfill(16)} < stored(etcd)
        assert {"networks/web", "networks/x", "blocks/10.208.1.0-26"} < stored(etcd)
        assert {"health/a/" + "3".zfill(16)} == {k for k in stored(etcd) if k.startswith("health")}
        assert [health("a", 3)] == two.facts.all(Health)
        assert "networks/y" not in stored(etcd)

    played(scenario)


def test_what_others_changed_meanwhile_is_learnt_without_a_restart() -> None:
    async def scenario(_etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        await two.records.commit([network("x")])
        await settled(one, two)
        one.link.cut = True
        await two.records.commit([network("y"), network("web", 1400)], [network("x")])
        await one.records.commit([endpoint("a", 1)])
        assert one.facts.get(Network, "x")
        told = one.told

        one.link.cut = False
        await settled(one, two)
        assert told < one.told
        assert {"web": 1400, "y": 1500} == {n.name: n.mtu for n in one.facts.all(Network)}

    played(scenario)


async def waits(keeper: Keeper) -> list[float]:
    """Of three callers, one after the other."""
    loop = asyncio.get_running_loop()
    times = []
    for number in (1, 2, 3):
        start = loop.time()
        await keeper.records.commit([endpoint("a", number)])
        times.append(loop.time() - start)
    return times


def test_the_first_caller_waits_for_the_store_and_the_next_ones_do_not() -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, _two: Keeper) -> None:
        etcd.up = False
        assert [3.0, 0.0, 0.0] == await waits(one)

    played(scenario)


def test_nobody_waits_for_long_where_the_store_keeps_silent() -> None:
    """As other hosts may by which it is reached."""

    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        one.link.cut, one.link.patience = True, 30.0
        assert [4.0, 0.0, 0.0] == await waits(one)
        assert "in time" in str(one.store.lost)
        one.link.cut = False
        await settled(one, two)
        assert {store_key(endpoint("a", number)) for number in (1, 2, 3)} <= stored(etcd)

    played(scenario)


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED, Fate.LATE])
def test_a_host_killed_before_its_record_is_known_to_be_stored_sends_it_when_it_boots(
    fate: Fate,
) -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        one.link.fate = fate
        one.start(one.records.commit([endpoint("a", 1)]))
        await clock.passes(1.0)
        await one.kill()
        await one.boot()
        assert [endpoint("a", 1)] == one.facts.all(Endpoint)
        etcd.do_late()
        await settled(one, two)
        assert "endpoints/a/" + "1".zfill(16) in stored(etcd)

    played(scenario)


@pytest.mark.parametrize("fate", [Fate.UNANSWERED, Fate.LATE])
def test_an_endpoint_whose_caller_was_told_that_it_failed_is_taken_back(fate: Fate) -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        one.link.fate = fate
        with pytest.raises(Unavailable):
            await one.records.commit([endpoint("a", 1), block(0, "a")])
        await settled(one, two)
        etcd.do_late()
        await settled(one, two)
        assert [] == one.facts.all(Endpoint)
        assert [block(0, "a")] == one.facts.all(Block)
        assert "endpoints/a/" + "1".zfill(16) not in stored(etcd)

    played(scenario)


def test_a_restored_store_gets_back_what_a_host_alone_knows() -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        await one.records.commit([endpoint("a", 1)])
        saved = etcd.save()
        await one.records.commit([block(0, "a"), block(1, "a"), endpoint("a", 2), network("x")])
        await one.records.commit([], [endpoint("a", 1)])
        await settled(one, two)

        etcd.restore(saved)
        etcd.commit({store_key(block(1, "b")): codec.encode(block(1, "b"))}, {})
        await settled(one, two)
        assert [endpoint("a", 2)] == one.facts.all(Endpoint)
        assert [block(0, "a"), block(1, "b")] == two.facts.all(Block) == one.facts.all(Block)
        assert ["web"] == [n.name for n in two.facts.all(Network)]

    played(scenario)


def test_so_does_one_that_was_restored_while_the_host_was_dead() -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        saved = etcd.save()
        await one.records.commit([block(0, "a"), endpoint("a", 2)])
        await one.kill()
        etcd.restore(saved)
        await one.boot()
        assert [block(0, "a")] == one.facts.all(Block)
        await settled(one, two)
        assert [block(0, "a")] == two.facts.all(Block)

    played(scenario)


@pytest.mark.parametrize("other", [[], [cluster("d"), network("web")]])
def test_another_store_in_place_of_ours_is_refused_and_left_as_it_is(other: list[Any]) -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        await one.records.commit([network("x"), endpoint("a", 1)])
        await settled(one, two)
        before, saved = known(one.facts), etcd.save()
        etcd.restore(FakeEtcd().save())
        await Records(FakeEtcdStore(etcd), Facts(())).commit(other)
        found = etcd.load()

        await one.records.commit([endpoint("a", 2)])
        await clock.passes(LONG)
        assert one.store.lost
        assert "the store is not that of this host's cluster c" in one.store.lost.message
        assert before.items() < known(one.facts).items()
        assert found == etcd.load()
        with pytest.raises(Unavailable, match="not that of this host's cluster"):
            await one.records.commit([block(0, "a")])

        etcd.restore(saved)
        await settled(one, two)

    played(scenario)


def test_a_host_that_was_removed_sends_nothing_and_keeps_what_runs() -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        await one.records.commit([endpoint("a", 1), endpoint("a", 2), block(0, "a")])
        await settled(one, two)
        one.link.cut = True
        await one.records.commit([endpoint("a", 3)])
        peer = two.facts.get(Peer, "a")
        assert peer
        await two.records.commit([], [peer])
        etcd.commit({f"endpoints/a/{'1'.zfill(16)}": None, "blocks/10.208.0.0-26": None}, {})
        one.link.cut = False
        await clock.passes(LONG)

        for _ in range(2):
            assert one.store.removed
            assert not one.store.lost
            assert "123" == "".join(e.id[-1] for e in one.facts.all(Endpoint))
            with pytest.raises(Conflict, match="removed from the cluster"):
                await one.records.commit([endpoint("a", 4)])
            assert {f"endpoints/a/{'2'.zfill(16)}"} == {k for k in stored(etcd) if "/a/" in k}
            await one.kill()
            await one.boot()
        await one.records.commit([], [endpoint("a", 1)])

    played(scenario)


def test_a_host_that_knows_nothing_yet_takes_what_the_store_has_and_needs_it() -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, _two: Keeper) -> None:
        await one.records.commit([endpoint("a", 1)])
        again = Keeper("a", etcd)
        again.link.cut = True
        with pytest.raises(Unavailable):
            await again.boot()
        again.link.cut = False
        await again.boot()
        assert [endpoint("a", 1)] == again.facts.all(Endpoint)
        await again.kill()

    played(scenario)


def test_what_is_too_much_for_one_commit_is_sent_in_parts_deletions_first() -> None:
    async def scenario(etcd: FakeEtcd, one: Keeper, two: Keeper) -> None:
        for number in range(30):
            await one.records.commit([endpoint("a", number)])
        await settled(one, two)
        start = etcd.load().moment
        one.link.cut = True
        for number in range(30, 240):
            await one.records.commit([endpoint("a", number)])
        for number in range(30):
            await one.records.commit([], [endpoint("a", number)])
        one.link.cut = False
        await settled(one, two)
        sizes = [len(commit.changes) for commit in etcd.since(start)]
        assert [100, 100, 40] == sizes
        first = etcd.since(start)[0].changes
        assert 30 == sum(value is None for value in first.values())

    played(scenario)


def test_a_full_disk_stops_no_news_and_is_made_up_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        etcd, cache = await begun(), FakeStore(tmp_path / "cache.db")
        store = Remembering(FakeEtcdStore(etcd), cache, "a")
        start = (await store.load()).moment
        watch = store.watch(start)
        await anext(watch)
        cache.refuses = {"networks/x": SystemFailed("the disk is full")}
        etcd.commit({"networks/x": b"1"}, {})
        assert {"networks/x": b"1"} == (await anext(watch)).changes
        assert "networks/x" not in (await cache.load()).items
        cache.refuses["endpoints/a/1"] = SystemFailed("the disk is full")
        with pytest.raises(SystemFailed):
            await store.commit({"endpoints/a/1": b"1"})
        cache.refuses = {}
        etcd.commit({"networks/y": b"2"}, {})
        await anext(watch)
        assert {"networks/x", "networks/y"} < (await cache.load()).items.keys()
        assert "endpoints/a/1" not in etcd.load().items
        await watch.aclose()
        await store.close()

    clock.run(scenario())


def test_a_single_host_may_remember_as_well(tmp_path: Path) -> None:
    """One store for the wiring: over SQLite it is the same."""

    async def scenario() -> None:
        store = Remembering(SqliteStore(tmp_path / "s.db"), SqliteStore(tmp_path / "c.db"), "a")
        await store.commit({"hosts/a": b"{}", "cluster": b'{"id": "c"}'})
        assert Commit(0, {"endpoints/a/1": b"1"}) == await store.commit({"endpoints/a/1": b"1"})
        snapshot = await store.load()
        assert 2 == snapshot.revision
        assert {"hosts/a", "cluster", "endpoints/a/1"} == snapshot.items.keys()
        await store.close()

    clock.run(scenario())


def test_a_damaged_memory_is_set_aside_and_filled_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    async def scenario() -> None:
        etcd = await begun()
        etcd.commit({"endpoints/a/1": b"1"}, {})
        store = Remembering(FakeEtcdStore(etcd), open_cache(path), "a")
        before = (await store.load()).items
        await store.close()

        link = FakeEtcdStore(etcd)
        link.cut = True
        store = Remembering(link, open_cache(path), "a")
        found = (await store.load()).items
        await store.close()
        assert {k: i.value for k, i in before.items()} == {k: i.value for k, i in found.items()}
        assert "endpoints/a/1" in found

    clock.run(scenario())
    assert 2 == len([*tmp_path.glob("cache*.db")])
