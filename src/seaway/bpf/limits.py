"""Limits of connections, and what is used of them: the map `limits`, which the agent fills, and
`uses`, which the programs count in (bpf/lib/use.h).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from seaway.bpf import abi
from seaway.bpf.maps import COOKIE, LIMIT, MapTarget
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table
from seaway.model.reports import Use

_ALL: Final = 0  # of a limit's clients: all together


class LimitTarget(MapTarget[int, abi.Limit]):
    """A target. What was used of a limit is forgotten with it."""

    name = "limits"

    def __init__(self, plane: DataPlane) -> None:
        super().__init__(self.name, plane.maps[self.name], COOKIE, LIMIT)
        self._uses = Uses(plane)

    def delete(self, keys: set[int]) -> dict[int, OSError]:
        failed = super().delete(keys)
        self._uses.forget(keys - failed.keys())
        return failed


class Uses:
    def __init__(self, plane: DataPlane) -> None:
        self._table = Table(plane.maps["uses"])
        self._clients = Table(plane.maps["clients"])

    def of(self, number: int) -> Use:
        """By all clients of this host together."""
        value = self._table.element(abi.UseKey(number, _ALL).pack())
        found = abi.Use.unpack(value) if value else abi.Use()
        return Use(open=found.open, full=found.full, fast=found.fast)

    def refused(self) -> int:
        """Connections that were, by all limits that there are."""
        found = ((abi.UseKey.unpack(k), abi.Use.unpack(v)) for k, v in self._table.elements())
        return sum(use.full + use.fast for key, use in found if key.client == _ALL)

    def forget(self, numbers: Collection[int]) -> None:
        """These limits are no more."""
        if numbers:
            keys = [key for key, _ in self._table.elements()]
            self._table.delete([k for k in keys if abi.UseKey.unpack(k).limit in numbers])

    def tidy(self, host: int) -> None:
        """Network namespaces that are no clients any more, and have nothing open. `host`: the
        cookie of the host's own.
        """
        present = {COOKIE.unpack(key) for key, _ in self._clients.elements()} | {_ALL, host}
        gone = [
            key
            for key, value in self._table.elements()
            if abi.UseKey.unpack(key).client not in present and not abi.Use.unpack(value).open
        ]
        self._table.delete(gone)
