"""What the programs count: refused packets, and connects, for each device and reason."""

from __future__ import annotations

import sys
from typing import Final

from seaway.bpf import abi
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table

OF_SOCKETS: Final = 0  # instead of a device: what hooks of sockets refused
_PREFIX: Final = "DROP_"


class Counters:
    """Of one data plane."""

    def __init__(self, plane: DataPlane) -> None:
        self._drops = Table(plane.maps["drops"])
        self._names = {
            number: name.removeprefix(_PREFIX).lower() for number, name in plane.reasons.items()
        }

    def drops(self) -> dict[tuple[int, str], int]:
        """Packets by (ifindex, reason)."""
        found = {}
        for packed, value in self._drops.elements():
            key = abi.DropKey.unpack(packed)
            name = self._names.get(key.reason, f"reason {key.reason}")
            found[key.ifindex, name] = int.from_bytes(value, sys.byteorder)
        return found

    def purge(self, ifindexes: set[int]) -> None:
        """Forget devices that are gone: the kernel may give their numbers again."""
        keys = [k for k, _ in self._drops.elements() if abi.DropKey.unpack(k).ifindex in ifindexes]
        self._drops.delete(keys)
