"""All records move from one store into another, and nothing else may come of it.

While they do, a key `moving` lies in the new store: no agent takes such a store for whole. The old
one is the truth until the host's membership says otherwise; so a move that died before is done anew
by the next one, and one that died after is finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from seaway.errors import Conflict, SystemFailed, Undecodable
from seaway.model import codec
from seaway.model.facts import Cluster, Value
from seaway.records import parse
from seaway.store.base import Snapshot, Store

_MARK, _CLUSTER = "moving", "cluster"
_MOST = 50  # records of one commit: etcd takes 128 operations


class _Moving(Value):
    cluster: str
    host: str  # which began it


@dataclass(frozen=True)
class Filled:
    """Which revision of the old store is which of the new one."""

    cluster: Cluster
    records: int
    old: int
    new: int


async def fill(
    source: Store, target: Store, host: str, etcd: tuple[str, ...], *, own: bool = False
) -> Filled:
    """`etcd`: where the cluster's records lie from then on; `own`: Seaway runs it. Returns once all
    of them have been read back; then `finish` it. Whatever is refused has changed nothing.
    """
    old = await source.load()
    cluster = replace(codec.decode(old.items[_CLUSTER].value, Cluster), etcd=etcd, etcd_own=own)
    wanted = {key: item.value for key, item in old.items.items()}
    wanted[_CLUSTER] = codec.encode(cluster)
    await _begin(target, _Moving(cluster=cluster.id, host=host))
    found = (await target.load()).items
    gone: dict[str, bytes | None] = {key: None for key in found if key not in {*wanted, _MARK}}
    for changes in _parts(gone | wanted):
        expect = {key: found[key].revision if key in found else 0 for key in changes}
        await target.commit(changes, expect)
    again = await target.load()
    if {key: item.value for key, item in again.items.items() if key != _MARK} != wanted:
        raise SystemFailed(
            "what was written into the new store is not what is read back",
            "does somebody else write there? repeat the command",
        )
    return Filled(cluster, len(wanted), old.revision, again.revision)


async def finish(target: Store, cluster: str) -> None:
    """From now on agents take it for whole. Where there is nothing to finish, it is one already."""
    there = await target.load()
    _same(there, cluster)
    if _MARK in there.items:
        await target.commit({_MARK: None}, {_MARK: there.items[_MARK].revision})


async def _begin(target: Store, mark: _Moving) -> None:
    """Only an empty store is taken, or one that we had begun to fill."""
    there = await target.load()
    if not there.items:
        await target.commit({_MARK: codec.encode(mark)}, {_MARK: 0, _CLUSTER: 0})
        return
    if _MARK not in there.items:
        known = _cluster_of(there)
        raise Conflict(
            f"there are the records of cluster {known} already" if known else "it is not empty",
            "to be one of its hosts: seaway join TOKEN HOST; or give another one",
        )
    found = codec.decode(there.items[_MARK].value, _Moving)
    if found != mark:
        raise Conflict(
            f"host '{found.host}' of cluster {found.cluster} is moving its records there",
            "finish that, or give another one",
        )


def _same(there: Snapshot, cluster: str) -> None:
    known = _cluster_of(there)
    if known != cluster:
        raise Conflict(
            f"the records there are not of this host's cluster {cluster}, but of {known or 'none'}",
            "is it the right one?",
        )


def _cluster_of(there: Snapshot) -> str:
    item = there.items.get(_CLUSTER)
    try:
        found = parse(_CLUSTER, item.value) if item else None
    except Undecodable:
        return "unknown"
    return found.id if isinstance(found, Cluster) else ""


def _parts(changes: Mapping[str, bytes | None]) -> Iterator[dict[str, bytes | None]]:
    keys = sorted(changes)
    for start in range(0, len(keys), _MOST):
        yield {key: changes[key] for key in keys[start : start + _MOST]}
