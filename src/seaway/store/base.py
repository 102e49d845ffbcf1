"""The interface of every store: SQLite on one host, etcd on many. One contract test for all.

Keys are paths (`networks/web`), values the JSON of the model. A revision counts the commits
of the whole store; each key carries the revision of its last change. `codec.py` of the model
says how values look; nothing here knows them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from seaway.errors import Conflict


class Moment(NamedTuple):
    """A point in a store's history. One that was restored has the same revisions once more, in
    another history, which the mark tells apart. (Empty: before the first commit.)
    """

    revision: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole store at one revision."""

    revision: int
    items: Mapping[str, Item]
    mark: str = ""

    @property
    def moment(self) -> Moment:
        return Moment(self.revision, self.mark)


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit changed; None: the key is gone. Revision 0: it is not in the store yet."""

    revision: int
    changes: Mapping[str, bytes | None]
    mark: str = ""

    @property
    def moment(self) -> Moment:
        return Moment(self.revision, self.mark)


class Changed(Conflict):
    """Somebody else changed a key that this commit rested on: read again, and decide again."""


class Missed(Conflict):
    """What was changed since that moment is not known any more: load again."""


class Store(Protocol):
    """A commit is whole or not at all; `expect` names revisions it rests on (0: absent).

    One that cannot be reached says so within seconds (`Unavailable`). Of a commit it is then not
    known whether it was done: it may even show later.
    """

    async def load(self) -> Snapshot: ...

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit: ...

    def watch(self, since: Moment) -> AsyncGenerator[Commit, None]:
        """Every commit after that moment, anybody's, each once and in order; or `Missed`.

        Whenever it stands (again), an empty commit says so: at this revision, nothing is missing.
        """

    async def close(self) -> None: ...
