"""Hosts of one segment are one node of the graph, its hub: nobody probes all the others.

A segment's name is only what its hosts say. Which of them are together is told by the links
inside that count: each set of hosts that these join is one part, with a hub of its own. So a
host that nobody there vouches for is in no part, and a segment that breaks in two has two hubs.

Between two hosts of a part that do not probe each other a link is taken for granted, half of it
as long as the typical link of the one, half as that of the other. What is known otherwise is an
exception: of two whose link failed, one leaves the hub, and is linked to each of the others.
In a small part all probe each other: there nothing is taken for granted, and there is no hub.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from statistics import median_high
from typing import NamedTuple

from seaway.desired.network.links import Length, Links

SMALL = 17  # hosts: each probes 16 others
LEAVING = 16  # hosts of a part that get a link to each other host; more, only those they probe


class Hub(NamedTuple):
    """The node that stands for the hosts of a part."""

    segment: str
    first: str  # by name, of its hosts


Node = str | Hub
Edge = tuple[str, Node]  # two hosts in the order of their names, or a host and its hub


def edge(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def edges_of(segment: str, members: Iterable[str], links: Links) -> dict[Edge, Length]:
    """All that this segment gives the graph. Two that share more than one have their own edge in
    the first of them alone.
    """
    edges: dict[Edge, Length] = {}
    for part in _parts(members, links):
        if len(part) <= SMALL:
            edges |= {edge(a, b): n for a in part for b, n in _measured(a, part, links) if a < b}
        else:
            edges |= _of_large(segment, part, links)
    return {
        pair: length
        for pair, length in edges.items()
        if isinstance(pair[1], Hub) or links.shared(pair[0], pair[1])[0] == segment
    }


def _parts(members: Iterable[str], links: Links) -> Iterator[set[str]]:
    """The sets of hosts that links inside the segment join."""
    unseen = set(members)
    while unseen:
        part, todo = set[str](), [unseen.pop()]
        while todo:
            host = todo.pop()
            part.add(host)
            found = links.counted(host).keys() & unseen
            unseen -= found
            todo += found
        yield part


def _measured(host: str, part: set[str], links: Links) -> list[tuple[str, Length]]:
    return [(other, n) for other, n in links.counted(host).items() if other in part]


def _of_large(segment: str, part: set[str], links: Links) -> dict[Edge, Length]:
    hub, typical = Hub(segment, min(part)), {h: _typical(h, part, links) for h in part}
    failed = {host: bad for host in part if (bad := part & links.failed(host))}
    leaving = _cover(failed)
    edges: dict[Edge, Length] = {(host, hub): typical[host] for host in part.difference(leaving)}
    for host in leaving[:LEAVING]:
        ours = typical[host]
        for other in part - failed[host] - {host}:
            theirs = typical[other]
            edges[edge(host, other)] = Length(2, ours.rtt + theirs.rtt, ours.cost + theirs.cost)
    for host in leaving:
        edges |= {edge(host, other): length for other, length in _measured(host, part, links)}
    return edges


def _typical(host: str, part: set[str], links: Links) -> Length:
    """Half of it. Each link of a host counts at the worse figure, so does what is typical."""
    measured = [length for _, length in _measured(host, part, links)]
    rtt, cost = (median_high(of) for of in zip(*(m[1:] for m in measured), strict=True))
    return Length(1, rtt // 2, cost // 2)


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
