"""Maglev's tables: to which backend a flow's hash leads, on all hosts that choose the same alike.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section
3.4: every backend has an order of its own of all entries, made from its name alone, and in turn
each takes the next one of it that is free. So all get their share, and where one comes or goes the
others keep nearly all of theirs.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count, cycle, islice
from typing import Final

from seaway.bpf.abi import MAGLEV_PART, MAGLEV_PARTS, MAGLEV_SIZE, Backend

_NOBODY: Final = 0xFFFF  # what is no entry, and fills the last part
_REMEMBERED: Final = 128  # tables of 8 KiB: families, protocols and ports of a service share one


def table(backends: Sequence[Backend]) -> bytes:
    """The slot of each entry, as the map has them: parts of `MAGLEV_PART`, each a u16. Somebody has
    a weight; nobody's table is empty.
    """
    if not backends:
        return b""
    return _table(tuple((b.addr, b.port, b.upto) for b in backends[:_NOBODY]))


@lru_cache(_REMEMBERED)
def _table(places: tuple[tuple[bytes, bytes, int], ...]) -> bytes:
    entries = array("H", [_NOBODY]) * (MAGLEV_PART * MAGLEV_PARTS)
    orders = [_order(addr + port) for addr, port, _ in places]
    at = [first for first, _ in orders]
    steps = [step for _, step in orders]
    for slot in islice(_turns([upto for _, _, upto in places]), MAGLEV_SIZE):
        entry, step = at[slot], steps[slot]
        while entries[entry] != _NOBODY:
            entry += step
            if entry >= MAGLEV_SIZE:
                entry -= MAGLEV_SIZE
        entries[entry] = slot
        at[slot] = entry
    return entries.tobytes()


def _order(name: bytes) -> tuple[int, int]:
    """Where a backend's order begins, and by how much it goes on: as the size is prime, it comes by
    every entry.
    """
    digest = blake2b(name, digest_size=8).digest()
    first, step = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
    return first % MAGLEV_SIZE, step % (MAGLEV_SIZE - 1) + 1


def _turns(upto: Sequence[int]) -> Iterator[int]:
    """Whose turn it is, without end."""
    weights = [last - before for last, before in zip(upto, (0, *upto), strict=False)]
    if len(set(weights)) == 1:
        return cycle(range(len(weights)))
    return _weighted([(slot, weight) for slot, weight in enumerate(weights) if weight])


def _weighted(weights: Sequence[tuple[int, int]]) -> Iterator[int]:
    """As often as weights say: at every moment each has had its share of the turns so far, but for
    less than one. Each turn is a job, due before the one after it may begin; who is due first is
    first (Baruah et al., "Proportionate Progress", 1996).
    """
    total = sum(weight for _, weight in weights)
    waiting = [(0, slot, weight, 0) for slot, weight in weights]  # from when; how many it had
    ready: list[tuple[int, int, int, int]] = []  # until when
    for turn in count():
        while waiting and waiting[0][0] <= turn:
            _, slot, weight, had = heappop(waiting)
            heappush(ready, (-(-(had + 1) * total // weight), slot, weight, had + 1))
        _, slot, weight, had = heappop(ready)
        heappush(waiting, (had * total // weight, slot, weight, had))
        yield slot
