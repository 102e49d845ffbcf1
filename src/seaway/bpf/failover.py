"""The maps by which packets go another way at once, as `routed` writes them: it needs no agent.

`dead` is its own: one entry, and every path that begins with that link goes on by its backup. So
it is `routed` that looks after that map, and names what somebody else has changed in it.
`paths` the agent writes too, from what `routed` tells it, the same a moment later. Both are found
by their pins, of whatever layout: an upgrade has two for a while.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Set
from contextlib import suppress
from pathlib import Path as File
from typing import Final

import structlog

from seaway.bpf import abi, syscall
from seaway.bpf.table import Table
from seaway.model.facts import Path
from seaway.model.routing import Turn
from seaway.names import PIN_FOLDER, STATE_PINS

_U32: Final = struct.Struct("=I")
_DEAD: Final = _U32.pack(1)
_PATH: Final = len(abi.Path(0).pack())
LATENCY: Final = abi.PATH_LATENCY
Failed = Mapping[bytes, OSError]  # by key

log = structlog.get_logger(__name__)


class Failover:
    """An outlet of `routed`. Hosts are told by name; `know` says which numbers they have. Raises
    what a map refuses (`OSError`), once all were tried: it is to be said again.
    """

    def __init__(self, pins: File = PIN_FOLDER) -> None:
        self._pins = pins
        self._numbers: Mapping[str, int] = {}
        self._buried: dict[File, set[bytes]] = {}  # by map: what is there, as was written last
        self._refused: dict[File, set[bytes]] = {}  # by map: keys of which that was told

    def know(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers

    def turn(self, turn: Turn) -> None:
        """What is not told stays, unless the turn is whole. Hosts of which `routed` does not know
        are new: their paths are the agent's, who knew of it first. So he does of those that are
        gone: what he has taken away is not written again.
        """
        bit = LATENCY if turn.routing == "latency" else 0
        paths = dict(filter(None, (self._path(path, bit) for path in turn.paths)))
        gone = {_U32.pack(self._numbers[h] | bit) for h in turn.gone if h in self._numbers}
        known = {_U32.pack(number | bit) for number in self._numbers.values() if turn.whole}

        def write(pin: File, table: Table) -> Failed:
            if table.value_size != _PATH:
                return {}  # of a build to which a path was something else
            there = dict(table.elements())
            untold = {key: _untold(key, there) for key in there.keys() & (gone | known)}
            wanted = untold | {key: path for key, path in paths.items() if key in there}
            failed = table.update(list(wanted.items()))
            self._tell_refused(pin, wanted.keys(), failed)
            return failed

        self._write("*/paths", write)

    def _path(self, path: Path, bit: int) -> tuple[bytes, bytes] | None:
        """None: of a host that is none any more."""
        host = self._numbers.get(path.host)
        nexts = [self._numbers[name] for name in path.nexts if name in self._numbers]
        if not host or not nexts:
            return None
        value = abi.Path(nexts[0], self._numbers.get(path.backup, 0), *nexts[1:])
        return _U32.pack(host | bit), value.pack()

    def dead(self, hosts: Collection[str]) -> None:
        """The links to these are dead, and to no other ones. To be said again now and then."""
        wanted = {_U32.pack(self._numbers[host]) for host in hosts if host in self._numbers}

        def write(pin: File, table: Table) -> Failed:
            there = {key for key, _ in table.elements()}
            if drift := there ^ self._buried.get(pin, there):
                log.warning("drift", target="dead", keys=sorted(map(self._called, drift)))
            missing = table.update([(key, _DEAD) for key in wanted - there])
            left = table.delete(list(there - wanted))
            self._buried[pin] = (wanted - missing.keys()) | left.keys()
            self._tell_refused(pin, wanted ^ there, missing | left)
            return missing | left

        self._write(f"{STATE_PINS}/dead-*", write)

    def _called(self, key: bytes) -> str:
        number = _U32.unpack(key)[0] & ~LATENCY
        return next((name for name, n in self._numbers.items() if n == number), str(number))

    def _write(self, pattern: str, write: Callable[[File, Table], Failed]) -> None:
        """Into every map that is pinned so. Raises the first `OSError` at the end."""
        troubles: list[OSError] = []
        for pin in sorted(self._pins.glob(pattern)):
            try:
                with suppress(FileNotFoundError):  # the agent retired it
                    troubles += _into(pin, write).values()
            except OSError as error:
                troubles.append(error)
        for known in (self._buried, self._refused):
            for pin in [pin for pin in known if not pin.exists()]:
                del known[pin]
        if troubles:
            raise troubles[0]

    def _tell_refused(self, pin: File, tried: Set[bytes], failed: Failed) -> None:
        """Once, of each key, until it is written."""
        told = self._refused.get(pin, set())
        for key in failed.keys() - told:
            error = str(failed[key])
            log.warning("a map refuses", map=pin.name, key=self._called(key), error=error)
        self._refused[pin] = (told - tried) | failed.keys()


def _into(pin: File, write: Callable[[File, Table], Failed]) -> Failed:
    with syscall.closing(syscall.pinned(pin)) as descriptor:
        return write(pin, Table(descriptor))


def _untold(key: bytes, there: Mapping[bytes, bytes]) -> bytes:
    """Where no path is told, as the agent has it (desired/network/overlay.py)."""
    hops = _U32.pack(_U32.unpack(key)[0] & ~LATENCY)
    return there[hops] if key != hops and hops in there else abi.Path(*_U32.unpack(hops)).pack()
