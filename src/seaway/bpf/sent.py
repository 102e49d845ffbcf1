"""How much goes to which other host first: the programs count it (bpf/lib/convey.h, shortcut.h)
with the way there.

Read only. Found by its pin, of whatever layout: an upgrade has two for a while.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Final

from seaway.bpf import abi, syscall
from seaway.bpf.table import Table
from seaway.names import PIN_FOLDER

_CPUS: Final = Path("/sys/devices/system/cpu/possible")
_U32: Final = struct.Struct("=I")
_SIZE: Final = struct.calcsize(abi.Way.c_format)
# Of `abi.Way` what is needed: sent, host and via. There is one for each CPU that there may be.
_SENT: Final = struct.Struct(f"=Q4xI32xI{_SIZE - 52}x")


class Sent:
    """By the numbers of hosts. Two whose ways have one place forget each other's."""

    def __init__(self, pins: Path = PIN_FOLDER) -> None:
        self._pins = pins
        self._copies = _possible(_CPUS.read_text())
        self._ways: Counter[tuple[Path, int, int]] = (
            Counter()
        )  # by host and next hop: the last time
        self._sent: Counter[int] = Counter()

    def read(self, hosts: Collection[int]) -> dict[int, int]:
        """Bytes of which each of these was the next hop, whosever they were: those that ways had
        when it was asked first, and what came since.
        """
        found: Counter[tuple[Path, int, int]] = Counter()
        for pin in self._pins.glob("*/ways") if hosts else ():
            for sent, host, via in self._read(pin):
                found[pin, host, via] += sent
        for (pin, host, via), sent in found.items():  # less than before: some were forgotten
            self._sent[via] += max(0, sent - self._ways[pin, host, via])
        self._ways = found
        return {host: self._sent[host] for host in hosts if self._sent[host]}

    def _read(self, pin: Path) -> Iterator[tuple[int, int, int]]:
        try:
            descriptor = syscall.pinned(pin)
        except FileNotFoundError:  # the agent retired it
            return
        with syscall.closing(descriptor):
            table = Table(descriptor, self._copies)
            if table.value_size != self._copies * _SIZE:  # of a build that does not count
                return
            for place in count():
                data = table.element(_U32.pack(place))
                if data is None:
                    return
                if data.strip(b"\0"):  # most places are empty
                    yield from (way for way in _SENT.iter_unpack(data) if way[0] and way[1])


def _possible(text: str) -> int:
    """CPUs that there may be: `0-3`, `0,2-5`."""
    spans = (part.split("-") for part in text.strip().split(","))
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)
