"""Whom a host probes: few enough to cost nothing, chosen so that all links together hold.

Hosts stand in a circle in the order of their names: those of each segment in one, all in another.
A host probes those that are 1, 3, 9, ... places away in both directions: the same few steps
for everybody, so both ends choose each other, and from anybody to anybody it is only some steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

PROBED: Final = 16  # hosts, by the circles
TALK: Final = 16  # those to which most is sent now
RETURNED: Final = 64  # those that probe this host
STEPS: Final = tuple(first * 3**power for first in (1, 2) for power in range(12))


def chosen(host: str, hosts: Collection[str], segments: Mapping[str, Collection[str]]) -> set[str]:
    """By the circles. `hosts` are all of the cluster, `segments` those that this host is in: whom
    else is in each, as far as is known. Half of the places are for hosts of no segment of ours.
    """
    others = sorted({*hosts} - {host})
    if len(others) <= PROBED:
        return set(others)
    inside = {name for members in segments.values() for name in members} & {*others}
    outside = len(others) > len(inside)
    found: dict[str, None] = {}
    for members in segments.values():
        room = (PROBED // 2 if outside else PROBED) // len(segments)
        found |= dict.fromkeys(islice(around(host, inside & {*members}), room))
    found |= dict.fromkeys(around(host, others))
    return set(islice(found, PROBED))


def around(host: str, others: Iterable[str]) -> Iterator[str]:
    """Those of the others that are some steps away, first those next to it."""
    circle = sorted({*others, host})
    here = circle.index(host)
    for step in STEPS:
        if 2 * step > len(circle) or len(circle) == 1:
            continue
        ahead, behind = circle[(here + step) % len(circle)], circle[here - step]
        yield ahead
        if behind != ahead:
            yield behind


def with_others(
    ring: set[str], talk: Sequence[str], probed_by: Sequence[str], hosts: Collection[str]
) -> set[str]:
    """With those that most is sent to, the first first, and those that probe this host."""
    known = {*hosts}
    more = [*talk[:TALK], *[name for name in probed_by if name not in ring][:RETURNED]]
    return ring | {name for name in more if name in known}
