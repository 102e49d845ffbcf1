"""What the host itself has of its records, while no agent uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from seaway import names
from seaway.cluster import membership
from seaway.desired.indexes import INDEXES
from seaway.facts import Facts
from seaway.records import Records
from seaway.store import file
from seaway.store.sqlite import SqliteStore


def read_own_store() -> Facts:
    """All hosts of it; nothing, where there is none. A damaged one is told."""
    return _read(names.STORE_FILE, "")


def read_seen() -> Facts:
    """What this host itself has of them; where the records lie elsewhere, as it saw them last."""
    member = membership.load()
    path = names.CACHE_FILE if member and member.elsewhere else names.STORE_FILE
    return _read(path, member.host if member else "")


def _read(path: Path, host: str) -> Facts:
    return asyncio.run(_load(path, host)) if file.exists(path) else Facts((), INDEXES)


async def _load(path: Path, host: str) -> Facts:
    facts = Facts((), INDEXES)
    store = SqliteStore(path)
    try:
        await Records(store, facts, host).load()
    finally:
        await store.close()
    return facts
