"""The last announcement of each host, and when it is too old."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from seaway.model.links import LinkState
from seaway.routed.messages import Known

REFRESH = 1800.0  # seconds after which a host announces again what did not change
LIFE = 3 * REFRESH  # and after which an announcement is too old


class Entry(NamedTuple):
    """One announcement, with all that is needed to pass it on."""

    sequence: int
    body: bytes
    signature: bytes
    credential: bytes
    state: LinkState
    born: float  # when it was signed, as far as is known

    @property
    def order(self) -> tuple[int, bytes]:
        """Of two of a host the higher holds, also where both have the same number."""
        return self.sequence, self.body

    def known(self) -> Known:
        return Known(self.state.host, self.sequence, blake2b(self.body, digest_size=8).digest())


class Database:
    """Of all hosts that are heard of."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._changed: set[str] = set()

    def put(self, entry: Entry) -> None:
        host = entry.state.host
        before = self.entries.get(host)
        self.entries[host] = entry
        if before is None or before.state != entry.state:
            self._changed.add(host)

    def drop(self, host: str) -> None:
        if self.entries.pop(host, None):
            self._changed.add(host)

    def changes(self) -> dict[str, LinkState | None]:
        """What is announced otherwise since this was asked last; None: nothing is any more."""
        changed, self._changed = self._changed, set()
        return {h: self.entries[h].state if h in self.entries else None for h in changed}

    def age(self, now: float) -> int:
        """Drop what is too old; how many that were. Kept is who announced lately, and to whom one
        that is kept has a link: his processes may be dead, but he is there.
        """
        kept = {host for host, entry in self.entries.items() if now - entry.born < LIFE}
        todo = list(kept)
        while todo and len(kept) < len(self.entries):
            for neighbour in self.entries[todo.pop()].state.neighbours:
                host = neighbour.host
                if neighbour.up and host in self.entries and host not in kept:
                    kept.add(host)
                    todo.append(host)
        old = self.entries.keys() - kept
        for host in old:
            self.drop(host)
        return len(old)
