"""The interface of every store: SQLite on one host, etcd on many. One contract test for all.

Keys are paths (`networks/web`), values the JSON of the model. A revision counts the commits
of the whole store; each key carries the revision of its last change. `codec.py` of the model
says how values look; nothing here knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from seaway.errors import Conflict


@dataclass(frozen=True, slots=True)
class Item:
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole store at one revision."""

    revision: int
    items: Mapping[str, Item]


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit changed; None: the key is gone."""

    revision: int
    changes: Mapping[str, bytes | None]


class Changed(Conflict):
    """Somebody else changed a key that this commit rested on: read again, and decide again."""


class Store(Protocol):
    """A commit is whole or not at all; `expect` names revisions it rests on (0: absent)."""

    async def load(self) -> Snapshot: ...

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit: ...

    async def close(self) -> None: ...
