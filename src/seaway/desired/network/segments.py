"""Hosts of one segment are one node of the graph, its hub: nobody probes all the others.

A segment's name is a prefix of the underlay. In it are those who say so, and whose records say that
they are reached there (`by_record`). Which of them are together is told by the links inside that
count: each set of hosts that these join is one part, with a hub of its own. So a host that nobody
there vouches for is in no part, and a segment that breaks in two has two hubs.

Between two hosts of a part that do not probe each other a link is taken for granted, half of it
as long as the typical link of the one, half as that of the other. What is known otherwise is an
exception: of two whose link failed, or is a black hole, one leaves the hub, and is linked to each
of the others.
Where all of a small part probe each other nothing is taken for granted, and there is no hub.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_network
from statistics import median_high
from typing import NamedTuple

from msgspec.structs import replace

from seaway.desired.network.links import Length, Links
from seaway.model.addresses import Address, Prefix
from seaway.model.links import LinkState

SMALL = 17  # hosts of a part that may all probe each other: each probes 16 others
LEAVING = 16  # hosts of a part that get a link to each other host; more, only those they probe


class Hub(NamedTuple):
    """The node that stands for the hosts of a part."""

    segment: str
    first: str  # by name, of its hosts


Node = str | Hub
Edge = tuple[str, Node]  # two hosts in the order of their names, or a host and its hub


def edge(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def by_record(state: LinkState, underlay: Sequence[Address]) -> LinkState:
    """What a host announces, without the segments in which no address of its record is: else one
    true link into a segment would have all its other links there taken for granted.
    """
    prefixes = ((name, _prefix(name)) for name in state.segments)
    true = tuple(n for n, prefix in prefixes if prefix and any(a in prefix for a in underlay))
    return state if true == state.segments else replace(state, segments=true)


@lru_cache(maxsize=1024)
def _prefix(name: str) -> Prefix | None:
    try:
        return ip_network(name)
    except ValueError:
        return None


class Segment:
    """What one of them gives the graph. Which host is in it is noted by the topology, as is of
    whom a link to another of them, or to one that came or went, is otherwise than before.
    """

    def __init__(self, name: str, links: Links) -> None:
        self.name = name
        self.members: set[str] = set()
        self.edges: dict[Edge, Length] = {}  # as worked out last
        self._links = links
        self._typical: dict[str, Length] = {}

    def note(self, host: str) -> None:
        """Another link is typical of it, perhaps."""
        self._typical.pop(host, None)

    def work_out(self) -> dict[Edge, Length]:
        """Its edges. Two hosts that share more than one segment have their own in the first."""
        edges: dict[Edge, Length] = {}
        for part in self._parts():
            edges |= self._of_known(part) if self._is_known(part) else self._of_large(part)
        return edges

    def _is_known(self, part: set[str]) -> bool:
        """Whether of each two of them one tells of their link, for good or ill."""
        counted, failed = self._links.counted, self._links.failed
        return len(part) <= SMALL and all(
            len(part & (counted(host).keys() | failed(host))) == len(part) - 1 for host in part
        )

    def _parts(self) -> Iterator[set[str]]:
        """The sets of hosts that links inside the segment join."""
        unseen = set(self.members)
        while unseen:
            start = unseen.pop()
            part, todo = {start}, [start]
            while todo and unseen:
                found = self._links.counted(todo.pop()).keys() & unseen
                unseen -= found
                part |= found
                todo += found
            yield part

    def _measured(self, host: str, part: set[str]) -> Iterator[tuple[Edge, Length]]:
        """Its own edges to others of the part: of links that were measured."""
        for other, length in self._links.counted(host).items():
            if other in part and self._is_ours(host, other):
                yield edge(host, other), length

    def _is_ours(self, one: str, other: str) -> bool:
        return self._links.shared(one, other)[0] == self.name

    def _of_known(self, part: set[str]) -> dict[Edge, Length]:
        return dict(found for host in part for found in self._measured(host, part))

    def _of_large(self, part: set[str]) -> dict[Edge, Length]:
        hub, failed = Hub(self.name, min(part)), self._links.failed
        bad = {host: found for host in part if (found := part & failed(host))}
        leaving = _cover(bad)
        edges: dict[Edge, Length] = {
            (host, hub): self._typical_of(host) for host in part.difference(leaving)
        }
        for host in leaving[:LEAVING]:
            ours = self._typical_of(host)
            for other in part - bad[host] - {host}:
                if self._is_ours(host, other):
                    edges[edge(host, other)] = ours.and_(self._typical_of(other))
        for host in leaving:
            edges |= self._measured(host, part)
        return edges

    def _typical_of(self, host: str) -> Length:
        """Half of a typical link. Each link counts at the worse figure, so does what is typical; a
        black hole is whole, and typical of a host if most of its links are one.
        """
        found = self._typical.get(host)
        if found is None:
            links = self._links.counted(host)
            inside = [links[other] for other in links.keys() & self.members]
            figures = zip(*(length[1:] for length in inside), strict=True)
            rtt, cost, holes = map(median_high, figures)
            found = self._typical[host] = Length(1, rtt // 2, cost // 2, holes)
        return found


def _cover(failed: dict[str, set[str]]) -> list[str]:
    """Hosts without which no link that failed is left; first those with the fewest of them.

    Who has the most is taken first: a host to which many links failed leaves, not they.
    """
    left = {host: set(others) for host, others in failed.items()}
    heap = [(-len(others), host) for host, others in left.items()]
    heapq.heapify(heap)
    taken: list[str] = []
    while heap:
        most, host = heapq.heappop(heap)
        if len(left[host]) != -most:  # it was counted anew meanwhile
            continue
        if left[host]:
            taken.append(host)
        for other in left.pop(host):
            left[other].discard(host)
            heapq.heappush(heap, (-len(left[other]), other))
        left[host] = set()
    return sorted(taken, key=lambda host: (len(failed[host]), host))
