"""How busy devices are: what they carried, against how fast they are. Nothing here is changed.

Few devices say how fast they are and mean it: a virtual machine's (virtio) says nothing, those that
have no wire of their own say anything. Of these nobody tells a load.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection
from typing import Final, NamedTuple

from seaway.kernel import ethtool
from seaway.kernel.messages.link import get_counts, parse_counts, parse_link
from seaway.kernel.rtnl import Rtnl

MADE_UP: Final = frozenset(("bridge", "dummy", "tun", "veth"))  # speeds of these kinds
_GSET: Final = 1  # ETHTOOL_GSET
_COMMAND: Final = struct.Struct("=I8xH14xH14x")  # struct ethtool_cmd: its speed in two parts
_SILENT: Final = (0, 0xFFFFFFFF)  # Mbit/s: the driver does not know
ANEW: Final = 60.0  # seconds until a device is asked again how fast it is: drivers take their time


class _Carried(NamedTuple):
    """By one device, until then."""

    now: float
    bytes: tuple[int, int]  # received, sent
    speed: int  # bit/s; 0: it is not known
    asked: float


class Loads:
    """Between two looks."""

    def __init__(self) -> None:
        self._rtnl = Rtnl()
        self._carried: dict[int, _Carried] = {}

    def close(self) -> None:
        self._rtnl.close()

    def look(self, devices: Collection[int], now: float) -> dict[int, float]:
        """By ifindex: per cent, in the direction that is busier."""
        before, self._carried = self._carried, {}
        found = {}
        for device in devices:
            last = before.get(device)
            carried = self._look(device, last, now)
            if carried is None:
                continue
            self._carried[device] = carried
            if last and carried.speed and now > last.now:
                most = max(b - a for a, b in zip(last.bytes, carried.bytes, strict=True))
                load = 100 * 8 * most / (carried.speed * (now - last.now))
                found[device] = min(100.0, max(0.0, load))
        return found

    def _look(self, device: int, last: _Carried | None, now: float) -> _Carried | None:
        """None: there is no such device any more."""
        try:
            body = self._rtnl.get(*get_counts(device))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None
        if last and now - last.asked < ANEW:
            return _Carried(now, parse_counts(body), last.speed, last.asked)
        link = parse_link(body)
        speed = 0 if link.kind in MADE_UP else self._speed(link.name)
        return _Carried(now, parse_counts(body), speed, now)

    def _speed(self, name: str) -> int:
        """Bit/s; 0: it does not tell."""
        try:
            answer = ethtool.ask(self._rtnl.socket, name, _COMMAND.pack(_GSET, 0, 0))
        except OSError:  # it has no driver that could, or is gone
            return 0
        _, low, high = _COMMAND.unpack(answer)
        megabits = high << 16 | low
        return 0 if megabits in _SILENT else megabits * 1_000_000
