"""Backends that left, and until when connections that they have may go on: the map `leaving`.

Nobody needs what is over, but a program does not take it away: so it goes when there is much of it,
or no place for more. What has no place is lost at once, and that is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import inf
from struct import Struct
from typing import Final

import structlog

from seaway.bpf.table import Table

log = structlog.get_logger(__name__)

MOST: Final = 262144  # elements
_MUCH: Final = MOST // 4
UNTIL: Final = Struct("=Q")  # nanoseconds of the monotonic clock


class Leaving:
    def __init__(self, table: Table, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._table = table
        self._clock = clock
        self._noted = MOST  # since it was tidied; the agent before may have left any number
        self._over = 0.0  # when the first of those that are there may be over

    def note(self, backends: Mapping[bytes, float]) -> None:
        """By packed keys: in how many seconds their connections end."""
        if not backends:
            return
        now = self._clock()
        items = [(k, UNTIL.pack(now + round(s * 1e9) if s else 0)) for k, s in backends.items()]
        self._noted += len(items)
        if self._noted > _MUCH:
            self._tidy(now)
        self._over = min(self._over, *(UNTIL.unpack(until)[0] for _, until in items))
        failed = self._table.update(items)
        if failed and now >= self._over:
            self._tidy(now)
            failed = self._table.update([item for item in items if item[0] in failed])
        if failed:
            log.error("no place for backends that leave: their connections end", number=len(failed))

    def _tidy(self, now: int) -> None:
        found = [(key, UNTIL.unpack(until)[0]) for key, until in self._table.elements()]
        self._table.delete([key for key, until in found if until <= now])
        self._over = min((until for _, until in found if until > now), default=inf)
        self._noted = 0
