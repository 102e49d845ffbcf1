"""How much goes to which other host: the programs count it (bpf/lib/convey.h) with the way there.

Read only. Found by its pin, of whatever layout: an upgrade has two for a while.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from seaway.bpf import abi, syscall
from seaway.bpf.table import Table
from seaway.names import PIN_FOLDER

_CPUS: Final = Path("/sys/devices/system/cpu/possible")
_U32: Final = struct.Struct("=I")
_SIZE: Final = struct.calcsize(abi.Way.c_format)
_HOPS, _LATENCY = 0, 2 * abi.WAY_HOSTS  # where ways by each routing begin


class Sent:
    """By the numbers of hosts. Two whose ways have one place forget each other's."""

    def __init__(self, pins: Path = PIN_FOLDER) -> None:
        self._pins = pins
        self._copies = _possible(_CPUS.read_text())

    def read(self, hosts: Collection[int]) -> dict[int, int]:
        """Bytes, since the way there is remembered."""
        places = {host % abi.WAY_HOSTS + first for host in hosts for first in (_HOPS, _LATENCY)}
        found: Counter[int] = Counter()
        for pin in sorted(self._pins.glob("*/ways")) if places else ():
            for way in self._ways(pin, places):
                found[way.host & ~abi.PATH_LATENCY] += way.sent
        return {host: found[host] for host in hosts if found[host]}

    def _ways(self, pin: Path, places: Collection[int]) -> Iterator[abi.Way]:
        try:
            descriptor = syscall.pinned(pin)
        except FileNotFoundError:  # the agent retired it
            return
        with syscall.closing(descriptor):
            table = Table(descriptor, self._copies)
            if table.value_size != self._copies * _SIZE:  # of a build that does not count
                return
            for place in places:
                data = table.element(_U32.pack(place)) or b""
                for at in range(0, len(data), _SIZE):
                    yield abi.Way.unpack(data[at : at + _SIZE])


def _possible(text: str) -> int:
    """CPUs that there may be: `0-3`, `0,2-5`."""
    spans = (part.split("-") for part in text.strip().split(","))
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)
