"""A store that was restored from a snapshot, or is another one: how a host tells, and what it does.

The only part of a store that looks into values: at whose cluster and whose block it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog

from seaway.errors import Unavailable
from seaway.store.base import Snapshot

log = structlog.get_logger(__name__)


class _Cluster(msgspec.Struct):
    id: str


class _Block(msgspec.Struct):
    host: str
    network: str


def same_cluster(seen: Mapping[str, bytes], snapshot: Snapshot) -> None:
    """An empty store, or another cluster's, in place of ours would have us forget everything."""
    if known := seen.get("cluster"):
        found = snapshot.items.get("cluster")
        ours, theirs = _cluster(known), _cluster(found.value) if found else "none"
        if ours != theirs:
            raise Unavailable(
                f"the store is not that of this host's cluster {ours}, but of {theirs}",
                "start etcd with its own data, or restore a snapshot of it",
            )


def forgotten(host: str, seen: Mapping[str, bytes], snapshot: Snapshot) -> dict[str, bytes | None]:
    """Blocks of this host, of networks that are there: only a restored store has lost them. Of one
    that somebody else has meanwhile, addresses may be in use twice.
    """
    lost: dict[str, bytes | None] = {}
    for key, value in seen.items():
        if not key.startswith("blocks/") or _block(value).host != host:
            continue
        needed = {f"networks/{_block(value).network}", f"hosts/{host}"}
        found = snapshot.items.get(key)
        if found and _block(found.value).host != host:
            log.error("another host has a block of this host's", block=key)
        elif not found and needed <= snapshot.items.keys():
            lost[key] = value
    return lost


def _block(record: bytes) -> _Block:
    return msgspec.json.decode(record, type=_Block)


def _cluster(record: bytes) -> str:
    return msgspec.json.decode(record, type=_Cluster).id
