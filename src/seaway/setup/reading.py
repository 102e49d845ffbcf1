"""What the host itself has of its records, while no agent uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from seaway import membership, names
from seaway.facts import Facts
from seaway.records import Records
from seaway.store import file
from seaway.store.sqlite import SqliteStore


def read_own_store() -> Facts:
    """Nothing, where there is none; a damaged one is told."""
    return _read(names.STORE_FILE)


def read_seen() -> Facts:
    """The same; where the records lie elsewhere, as they were seen last."""
    member = membership.load()
    return _read(names.CACHE_FILE) if member and member.elsewhere else read_own_store()


def _read(path: Path) -> Facts:
    return asyncio.run(_load(path)) if file.exists(path) else Facts(())


async def _load(path: Path) -> Facts:
    facts = Facts(())
    store = SqliteStore(path)
    try:
        await Records(store, facts).load()
    finally:
        await store.close()
    return facts
