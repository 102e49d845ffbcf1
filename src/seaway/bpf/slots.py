"""In which order a service's slots are written, so that a program that looks in between finds
whoever is a backend before and after: at his old slot, or at his new one.

Both lists are in the order of their places. So who moves to a higher slot moves over others that do
so too, or go: the highest one is written first. Who moves to a lower slot likewise: the lowest one
first. No two wait for each other. Where nobody moves, the sums of weights decide alike: they never
fall from one slot to the next. (Whether one has a weight its slot says itself.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seaway.bpf.abi import Backend

Backends = Sequence[Backend]
Place = tuple[bytes, bytes]


def unseen(count: int, there: Backends, new: Backends) -> list[int]:
    """Those that no program looks at yet, as the count is so low: they are written first, and the
    count raised.
    """
    known = len(there)
    return [n for n in range(min(count, known), len(new)) if n >= known or there[n] != new[n]]


def seen(count: int, there: Backends, new: Backends) -> list[int]:
    """Those that programs look at, once the others are there, and counted."""
    old = there[:count]
    changed = [n for n, (was, will) in enumerate(zip(old, new, strict=False)) if was != will]
    if not changed:
        return changed
    came, goes = _slots(old), _slots(new)
    high = [n for n in changed if _rises(n, old[n], new[n], came, goes)]
    return high[::-1] + sorted(set(changed).difference(high))


def _rises(
    slot: int, was: Backend, will: Backend, came: Mapping[Place, int], goes: Mapping[Place, int]
) -> bool:
    """Whether this slot is written before those below it."""
    source = came.get(_place(will), slot)
    if source != slot:
        return source < slot
    target = goes.get(_place(was), slot)
    return target > slot if target != slot else will.upto > was.upto


def _slots(backends: Backends) -> dict[Place, int]:
    return {_place(backend): slot for slot, backend in enumerate(backends)}


def _place(backend: Backend) -> Place:
    return backend.addr, backend.port
