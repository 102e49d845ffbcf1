"""The graph that link state comes to: hosts, hubs of segments, and the edges between them.

What an announcement changes is noted and worked out when asked for, so a burst costs once. The
result is a function of the announcements as they are now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from seaway.desired.network.links import Length, Links
from seaway.desired.network.segments import Edge, Segment, edge
from seaway.model.links import LinkState


class Changes(NamedTuple):
    """What may be otherwise than before; what is named and did not change does no harm."""

    edges: Mapping[Edge, Length | None]  # None: there is no such edge any more
    relays: Mapping[str, bool | None]  # hosts, and whether they pass on; None: it is forgotten


class Topology:
    """All announcements as a graph."""

    def __init__(self) -> None:
        self.links = Links()
        self._segments: dict[str, Segment] = {}
        self._stale: set[str] = set()  # segments, to be worked out anew
        self._pairs: set[tuple[str, str]] = set()  # of hosts, in order, likewise
        self._hosts: set[str] = set()  # that were learnt or forgotten

    def change(self, host: str, state: LinkState | None) -> None:
        """Learn what a host announces, or (None) forget it."""
        if self.links.states.get(host) == state:
            return
        left = self._segments_of(host)
        others = self.links.change(host, state)
        joined = self._segments_of(host)
        if left != joined:
            others |= self.links.counted(host).keys()
            self._move(host, left - joined, joined - left)
        for other in others:
            self._pairs.add(edge(host, other))
            for name in (left | joined) & self._segments_of(other):
                self._stale.add(name)
                self._segments[name].note(other)
        for name in joined:
            self._segments[name].note(host)
        self._hosts.add(host)

    def _move(self, host: str, left: set[str], joined: set[str]) -> None:
        for name in left:
            self._segments[name].members.discard(host)
        for name in joined:
            self._segments.setdefault(name, Segment(name, self.links)).members.add(host)
        self._stale |= left | joined

    def _segments_of(self, host: str) -> set[str]:
        state = self.links.states.get(host)
        return set(state.segments) if state else set()

    def take(self) -> Changes:
        """What changed since this was asked last."""
        edges: dict[Edge, Length | None] = {}
        for pair in self._pairs:
            edges[pair] = self._direct(*pair)
        for name in self._stale:
            self._work_out(name, edges)
        states = self.links.states
        relays = {h: states[h].relay if h in states else None for h in self._hosts}
        self._pairs, self._stale, self._hosts = set(), set(), set()
        return Changes(edges, relays)

    def all(self) -> Changes:
        """As `take` for one who knows nothing yet; what is noted stays noted."""
        edges: dict[Edge, Length | None] = {}
        for host in self.links.states:
            for other in self.links.counted(host):
                if host < other and (length := self._direct(host, other)):
                    edges[host, other] = length
        for segment in self._segments.values():
            edges |= segment.edges
        return Changes(edges, {h: s.relay for h, s in self.links.states.items()})

    def _direct(self, one: str, other: str) -> Length | None:
        """Between hosts that share no segment."""
        return None if self.links.shared(one, other) else self.links.counted(one).get(other)

    def _work_out(self, name: str, edges: dict[Edge, Length | None]) -> None:
        """An edge that it gives no more may be given by another one now."""
        segment = self._segments[name]
        before, now = segment.edges, segment.work_out()
        for gone in before.keys() - now.keys():
            edges.setdefault(gone, None)
        edges |= {e: n for e, n in now.items() if e in edges or before.get(e) != n}
        segment.edges = now
        if not segment.members:
            del self._segments[name]
