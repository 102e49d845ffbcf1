"""The graph that link state comes to: hosts, hubs of segments, and the edges between them.

What an announcement changes is noted and worked out when asked for, so a burst costs once. The
result is a function of the announcements as they are now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from seaway.desired.network.links import Length, Links
from seaway.desired.network.segments import Edge, edge, edges_of
from seaway.model.links import LinkState


class Changes(NamedTuple):
    """What may be otherwise than before; what is named and did not change does no harm."""

    edges: Mapping[Edge, Length | None]  # None: there is no such edge any more
    relays: Mapping[str, bool | None]  # hosts, and whether they pass on; None: it is forgotten


class Topology:
    """All announcements as a graph."""

    def __init__(self) -> None:
        self.links = Links()
        self._members: dict[str, set[str]] = defaultdict(set)  # by segment
        self._inside: dict[str, dict[Edge, Length]] = {}  # by segment: what it gives
        self._segments: set[str] = set()  # to be worked out anew
        self._pairs: set[tuple[str, str]] = set()  # of hosts, in order, likewise
        self._hosts: set[str] = set()  # that were learnt or forgotten

    def change(self, host: str, state: LinkState | None) -> None:
        """Learn what a host announces, or (None) forget it."""
        before = self.links.states.get(host)
        if before == state:
            return
        left = self._segments_of(host)
        others = self.links.change(host, state)
        joined = self._segments_of(host)
        for segment in left - joined:
            self._members[segment].discard(host)
        for segment in joined - left:
            self._members[segment].add(host)
        if left != joined:
            self._segments |= left | joined
            others |= self.links.counted(host).keys()
        for other in others:
            self._pairs.add(edge(host, other))
            self._segments |= joined & self._segments_of(other)
        self._hosts.add(host)

    def _segments_of(self, host: str) -> set[str]:
        state = self.links.states.get(host)
        return set(state.segments) if state else set()

    def take(self) -> Changes:
        """What changed since this was asked last."""
        edges: dict[Edge, Length | None] = {}
        for pair in self._pairs:
            edges[pair] = self._direct(*pair)
        for segment in self._segments:
            self._work_out(segment, edges)
        states = self.links.states
        relays = {h: states[h].relay if h in states else None for h in self._hosts}
        self._pairs, self._segments, self._hosts = set(), set(), set()
        return Changes(edges, relays)

    def all(self) -> Changes:
        """As `take` for one who knows nothing yet; what is noted stays noted."""
        edges: dict[Edge, Length | None] = {}
        for host in self.links.states:
            for other in self.links.counted(host):
                if host < other and (length := self._direct(host, other)):
                    edges[host, other] = length
        for inside in self._inside.values():
            edges |= inside
        return Changes(edges, {h: s.relay for h, s in self.links.states.items()})

    def _direct(self, one: str, other: str) -> Length | None:
        """Between hosts that share no segment."""
        return None if self.links.shared(one, other) else self.links.counted(one).get(other)

    def _work_out(self, segment: str, edges: dict[Edge, Length | None]) -> None:
        """An edge that it gives no more may be given by another one now."""
        members = self._members[segment]
        before = self._inside.pop(segment, {})
        now = edges_of(segment, members, self.links)
        for gone in before.keys() - now.keys():
            edges.setdefault(gone, None)
        edges |= {e: n for e, n in now.items() if e in edges or before.get(e) != n}
        if now:
            self._inside[segment] = now
        if not members:
            del self._members[segment]
