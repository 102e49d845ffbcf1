"""All records move from one store into another, or none; one that died is finished by the next."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.agents import POOLS
from tests.fakes_store import FakeStore

from seaway.bootstrap import Plan, initialise
from seaway.cluster import moving
from seaway.errors import Conflict, SystemFailed, Unavailable
from seaway.model import codec
from seaway.model.facts import Cluster
from seaway.setup.moving import Access, reach
from seaway.store.base import Snapshot
from seaway.store.sqlite import SqliteStore

ETCD = ("https://192.0.2.1:2379",)
MANY = {f"endpoints/h/{n:016x}": b'{"n":%d}' % n for n in range(230)}


class Dying(FakeStore):
    """After so many commits nothing is answered any more; of the last one nobody knows."""

    def __init__(self, path):
        super().__init__(path)
        self.left = 10_000

    async def commit(self, changes, expect=None):
        self.left -= 1
        if self.left < 0:
            raise Unavailable("the store does not answer")
        done = await super().commit(changes, expect)
        if self.left == 0:
            raise Unavailable("the store did not answer")
        return done


def run(tmp_path, scenario):
    async def whole():
        source, target = FakeStore(tmp_path / "old.db"), Dying(tmp_path / "new.db")
        begun = await initialise(source, Plan(host="h", pools=POOLS))
        await source.commit(MANY)
        try:
            await scenario(source, target, begun.cluster)
        finally:
            await source.close()
            await target.close()

    asyncio.run(whole())


def values(snapshot):
    return {key: item.value for key, item in snapshot.items.items()}


async def moved(source, target):
    """Whether the target holds all that the source does, and is whole."""
    there, here = values(await target.load()), values(await source.load())
    cluster = codec.decode(there.pop("cluster"), Cluster)
    assert ETCD == cluster.etcd
    assert replace_etcd(cluster) == codec.decode(here.pop("cluster"), Cluster)
    return there == here


def replace_etcd(cluster):
    return codec.decode(
        codec.encode(cluster).replace(b'["https://192.0.2.1:2379"]', b"[]"), Cluster
    )


def test_all_records_move_and_the_old_store_stays_as_it_was(tmp_path):
    async def scenario(source, target, cluster):
        before = await source.load()
        filled = await moving.fill(source, target, "h", ETCD)
        assert "moving" in (await target.load()).items
        await moving.finish(target, cluster.id)

        assert await moved(source, target)
        assert before == await source.load()
        assert (before.revision, len(before.items)) == (filled.old, filled.records)
        await moving.finish(target, cluster.id)  # again: there is nothing to do

    run(tmp_path, scenario)


def test_a_move_that_died_anywhere_is_done_by_the_next(tmp_path):
    async def scenario(source, target, cluster):
        for left in range(1, 20):
            await target.commit(dict.fromkeys((await target.load()).items))
            target.left = left
            try:
                await moving.fill(source, target, "h", ETCD)
                await moving.finish(target, cluster.id)
            except Unavailable:
                died = True
            else:
                died = False
            target.left = 10_000
            # Meanwhile the host went on with its own store.
            await source.commit({f"endpoints/h/{left:016x}": None, f"endpoints/h/new{left}": b"1"})
            if "moving" in (await target.load()).items or not (await target.load()).items:
                await moving.fill(source, target, "h", ETCD)
                await moving.finish(target, cluster.id)
                assert await moved(source, target)
            if not died:
                return
        raise AssertionError("it never came to its end")

    run(tmp_path, scenario)


def test_what_the_new_store_does_not_read_back_is_no_move(tmp_path):
    class Forgetting(SqliteStore):
        async def load(self):
            found = await super().load()
            items = {k: i for k, i in found.items.items() if k != "endpoints/h/" + "0" * 16}
            return Snapshot(found.revision, items)

    async def scenario(source, _target, _cluster):
        target = Forgetting(tmp_path / "bad.db")
        with pytest.raises(SystemFailed, match="is not what is read back"):
            await moving.fill(source, target, "h", ETCD)
        await target.close()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("cluster", "there are the records of cluster [0-9a-f]{16} already"),
        ("others", "it is not empty"),
        ("damaged", "there are the records of cluster unknown already"),
        ("moving", "host 'x' of cluster ffff is moving its records there"),
        ("same", "there are the records of cluster [0-9a-f]{16} already"),
    ],
)
def test_a_store_that_is_not_empty_is_refused_and_not_changed(tmp_path, there, words):
    async def scenario(source, target, cluster):
        match there:
            case "cluster":
                await initialise(target, Plan(host="x", pools=POOLS))
            case "others":
                await target.commit({"something": b"1"})
            case "damaged":
                await target.commit({"cluster": b"{"})
            case "moving":
                await target.commit({"moving": b'{"cluster":"ffff","host":"x"}'})
            case "same":
                await moving.fill(source, target, "h", ETCD)
                await moving.finish(target, cluster.id)
        before = await target.load()
        with pytest.raises(Conflict, match=words):
            await moving.fill(source, target, "h", ETCD)
        assert before == await target.load()

    run(tmp_path, scenario)


def test_another_clusters_store_is_not_taken_for_ours(tmp_path):
    async def scenario(_source, target, cluster):
        with pytest.raises(Conflict, match="but of none"):
            await moving.finish(target, cluster.id)
        await initialise(target, Plan(host="x", pools=POOLS))
        with pytest.raises(Conflict, match="are not of this host's cluster"):
            await moving.finish(target, cluster.id)

    run(tmp_path, scenario)


def test_an_etcd_that_nobody_answers_at_is_told_before_anything_is_begun():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        there, nobody = (f"https://127.0.0.1:{s.getsockname()[1]}" for s in (server, closed))
        reach(Access(urls=(nobody, there)))
        reach(Access(urls=(), own=True))
        with pytest.raises(Unavailable, match=f"{nobody} cannot be asked: Connection refused"):
            reach(Access(urls=(nobody,)))
