"""A host's records become a cluster's: all, or none that anybody would believe."""

from __future__ import annotations

import pytest

import clock
from fakes_etcd import FakeEtcd, FakeEtcdStore, Fate
from seaway.errors import Conflict, Unavailable
from seaway.store.moving import move
from seaway.store.sqlite import SqliteStore

RECORDS: dict[str, bytes | None] = {f"endpoints/a/{n:03}": bytes([n]) for n in range(250)}
RECORDS |= {"cluster": b"c", "networks/web": b"w"}


def test_all_records_are_moved_and_the_cluster_last(tmp_path):
    async def scenario() -> None:
        source, etcd = SqliteStore(tmp_path / "store.db"), FakeEtcd()
        await source.commit(RECORDS)
        target, start = FakeEtcdStore(etcd), etcd.load().moment
        target.fate = Fate.UNANSWERED
        with pytest.raises(Unavailable):
            await move(source, target)
        assert "cluster" not in etcd.load().items

        await move(source, target)
        assert {key: item.value for key, item in etcd.load().items.items()} == RECORDS
        sizes = [len(commit.changes) for commit in etcd.since(start)]
        assert [100, 100, 100, 52] == sizes
        assert "cluster" in etcd.since(start)[-1].changes
        assert RECORDS.keys() == (await source.load()).items.keys()

        before = etcd.load()
        with pytest.raises(Conflict, match="holds a cluster already"):
            await move(source, target)
        assert before == etcd.load()
        await source.close()

    clock.run(scenario())
