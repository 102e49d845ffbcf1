"""Limits of connections, and what is used of them: the map `limits`, which the agent fills, and
`uses`, which the programs count in (bpf/lib/use.h). Who asks by packets is counted by connections
(`counted`): of those that ended without a word the program `sweep` lets go.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final

import structlog

from seaway.bpf import abi, syscall
from seaway.bpf.maps import COOKIE, LIMIT, MapTarget
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table
from seaway.model.kernel import SWEEP
from seaway.model.reports import Use

log = structlog.get_logger(__name__)

_ALL: Final = 0  # of a limit's clients: all together
_MOST: Final = 262144  # elements of the map
_MANY: Final = _MOST // 4
_AT_ONCE: Final = 20_000  # of those
_LATELY: Final = 2  # seconds of which what was opened counts


class LimitTarget(MapTarget[int, abi.Limit]):
    """A target. What was used of a limit is forgotten with it."""

    name = "limits"

    def __init__(self, plane: DataPlane) -> None:
        super().__init__(self.name, plane.maps[self.name], COOKIE, LIMIT)
        self._uses = Uses(plane)

    def delete(self, keys: set[int]) -> dict[int, OSError]:
        failed = super().delete(keys)
        self._uses.sweep()  # a limit that comes again is not to be given back what it never gave
        self._uses.forget(keys - failed.keys())
        return failed


class Uses:
    """`many`: elements from which on clients that have nothing open make room."""

    def __init__(self, plane: DataPlane, many: int = _MANY) -> None:
        self._table = Table(plane.maps["uses"])
        self._guests = Table(plane.maps["guests"])
        self._clients = Table(plane.maps["clients"])
        self._sweep = plane.programs[SWEEP].fd
        self._many = many
        self._full = False

    def of(self, number: int) -> Use:
        """By all clients of this host together."""
        found, given = (self._use(abi.UseKey(number, whose)) for whose in (_ALL, abi.USE_GIVEN))
        return Use(open=max(0, found.open - given.open), full=found.full, fast=found.fast)

    def _use(self, key: abi.UseKey) -> abi.Use:
        value = self._table.element(key.pack())
        return abi.Use.unpack(value) if value else abi.Use()

    def refused(self) -> int:
        """Connections that were, by all limits that there are."""
        found = ((abi.UseKey.unpack(k), abi.Use.unpack(v)) for k, v in self._table.elements())
        return sum(use.full + use.fast for key, use in found if key.client == _ALL)

    def forget(self, numbers: Collection[int]) -> None:
        """These limits are no more."""
        for table in (self._table, self._guests) if numbers else ():
            keys = [key for key, _ in table.elements()]
            table.delete([k for k in keys if abi.UseKey.unpack(k).limit in numbers])

    def tidy(self, host: int) -> None:
        """Take away what network namespaces have that are no clients any more, though they may
        have sockets still: these lead nowhere. Where there are many, those that have nothing open.
        Before that, what `sweep` does. `host`: the cookie of the host's own.
        """
        self.sweep()
        present = {COOKIE.unpack(key) for key, _ in self._clients.elements()}
        present |= {_ALL, abi.USE_GIVEN, host}
        found = {abi.UseKey.unpack(k): abi.Use.unpack(v) for k, v in self._table.elements()}
        gone = [key for key in found if key.client not in present]
        given: Counter[int] = Counter()
        for key in gone:
            given[key.limit] += self._use(key).open
            self._table.delete([key.pack()])
            del found[key]
        self._give_back(given)
        if len(found) > self._many:
            self._make_room(found)
        self._tell(full=len(found) >= _MOST)

    def sweep(self) -> None:
        """Connections led packet by packet whose ends vanished, or whose limit is gone."""
        syscall.run(self._sweep)

    def _give_back(self, given: Mapping[int, int]) -> None:
        """What a client had that is gone. The sum is the programs': so this lies beside it, and
        what of such a client is closed later is given back by nobody.
        """
        for number, connections in given.items():
            if connections:
                key = abi.UseKey(number, abi.USE_GIVEN)
                use = abi.Use(open=self._use(key).open + connections)
                self._table.update([(key.pack(), use.pack())])

    def _make_room(self, found: Mapping[abi.UseKey, abi.Use]) -> None:
        """With clients that have nothing open, and opened nothing lately, nothing is lost."""
        long_ago = time.monotonic_ns() // 10**9 - _LATELY
        idle = (
            key
            for key, use in found.items()
            if key.client not in {_ALL, abi.USE_GIVEN} and not use.open and use.second <= long_ago
        )
        for key in islice(idle, _AT_ONCE):
            if not self._use(key).open:
                self._table.delete([key.pack()])

    def _tell(self, *, full: bool) -> None:
        if full and not self._full:
            log.error("uses of limits are full: who asks anew is refused", most=_MOST)
        self._full = full
