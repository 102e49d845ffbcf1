"""The store as hosts pass it on to each other: records as they lie in it."""

from __future__ import annotations

from seaway.model.facts import Value


class StoredItem(Value):
    value: bytes
    revision: int


class Stored(Value):
    revision: int
    mark: str
    items: dict[str, StoredItem]


class Committing(Value):
    """All of it or nothing; `expect`: revisions that it rests on, 0: absent."""

    put: dict[str, bytes]
    delete: tuple[str, ...] = ()
    expect: dict[str, int] = {}


class Committed(Value):
    revision: int
    mark: str


class Change(Value):
    """What one commit changed."""

    revision: int
    mark: str
    put: dict[str, bytes]
    delete: tuple[str, ...]


class Changes(Value):
    """What was changed since; empty: nothing, for as long as it was waited for."""

    changes: tuple[Change, ...]
    chain: tuple[str, ...]  # the hosts from which it is known, who answers first
