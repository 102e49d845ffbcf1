"""A store that can be told to fail. Passes the same contract tests as the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seaway.errors import SeawayError
from seaway.store.base import Commit
from seaway.store.sqlite import SqliteStore


class FakeStore(SqliteStore):
    """SQLite's; `refuses` are keys that it will not change, and how it says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refuses: dict[str, SeawayError] = {}

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit:
        for key in changes.keys() & self.refuses.keys():
            raise self.refuses[key]
        return await super().commit(changes, expect)
