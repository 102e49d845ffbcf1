"""Which links count: those that both ends report, at the worse figure of the two.

So a host that lies about a link makes it worse at most. A function of the announcements as they
are now: in which order they came, and what was before, plays no part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from typing import NamedTuple

from seaway.model.links import LinkState, Neighbour

_NOBODY: Mapping[str, Neighbour] = {}


class Length(NamedTuple):
    """Of an edge, in halves: two hosts of a segment are half a hop each from its hub."""

    hops: int
    rtt: int  # microseconds
    cost: int  # microseconds
    holes: int = 0  # whole links on it that are black holes: they swallow large packets

    @classmethod
    def of(cls, one: Neighbour, other: Neighbour) -> Length:
        """Of a link, from the words of both of its ends."""
        rtt, cost = max(one.rtt, other.rtt), max(one.cost, other.cost)
        return cls(2, 2 * rtt, 2 * cost, int(not (one.sound and other.sound)))

    def and_(self, other: Length) -> Length:
        """Of both, one after the other."""
        hops, rtt, cost, holes = other
        return Length(self.hops + hops, self.rtt + rtt, self.cost + cost, self.holes + holes)


class Links:
    """All announcements, and what they come to. Of each host: its links that count, by their
    other ends, and the hosts to which one of both says that there is no link, or a black hole.
    """

    def __init__(self) -> None:
        self.states: dict[str, LinkState] = {}
        self._told: dict[str, Mapping[str, Neighbour]] = {}
        self._lengths: dict[Length, Length] = {}  # there are few, and of each link one
        self._counted: dict[str, dict[str, Length]] = defaultdict(dict)
        self._failed: dict[str, set[str]] = defaultdict(set)

    def counted(self, host: str) -> Mapping[str, Length]:
        return self._counted.get(host, {})

    def failed(self, host: str) -> Set[str]:
        return self._failed.get(host, set())

    def words(self, host: str) -> Mapping[str, Neighbour]:
        """What it announces, by the other end."""
        return self._told.get(host, _NOBODY)

    def shared(self, one: str, other: str) -> list[str]:
        """The segments that both say they are in."""
        ours, theirs = self.states.get(one), self.states.get(other)
        if not ours or not theirs:
            return []
        return sorted(s for s in ours.segments if s in theirs.segments)

    def change(self, host: str, state: LinkState | None) -> set[str]:
        """Learn what a host announces, or (None) forget it: to whom it has another link now."""
        before = self._told.pop(host, _NOBODY)
        self.states.pop(host, None)
        if state:
            self.states[host] = state
            self._told[host] = {n.host: n for n in state.neighbours if n.host != host}
        now = self.words(host)
        others = [o for o in before.keys() | now.keys() if before.get(o) != now.get(o)]
        return {other for other in others if self._judge(host, other)}

    def _judge(self, host: str, other: str) -> bool:
        """Whether that makes a difference."""
        ours = self.words(host).get(other)
        theirs = self.words(other).get(host)
        length = Length.of(ours, theirs) if ours and theirs and ours.up and theirs.up else None
        failed = any(end and not end.sound for end in (ours, theirs))
        if length is not None:
            length = self._lengths.setdefault(length, length)
        if length == self.counted(host).get(other) and failed == (other in self.failed(host)):
            return False
        for one, two in ((host, other), (other, host)):
            self._note(one, two, length, failed=failed)
        return True

    def _note(self, one: str, other: str, length: Length | None, *, failed: bool) -> None:
        if length is None:
            self._counted[one].pop(other, None)
        else:
            self._counted[one][other] = length
        (self._failed[one].add if failed else self._failed[one].discard)(other)
        for found in (self._counted, self._failed):
            if not found[one]:
                del found[one]
