"""What a host tells of its own packets: how busy its devices are, and to whom most is sent.

Looked at seldom: what follows from it is announced to all hosts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, Protocol

import structlog

from seaway.routed.core import Core

WEIGH: Final = 2.0  # seconds between two looks at devices
COUNT: Final = 10.0  # and at what was sent to whom

log = structlog.get_logger(__name__)


class Loads(Protocol):
    def look(self, devices: Collection[int], now: float) -> Mapping[int, float]:
        """Per cent of what each can carry, since the look before; of those that say how much."""


class Sent(Protocol):
    def read(self, hosts: Collection[int]) -> Mapping[int, int]:
        """Bytes to each of these hosts by number, since a beginning of its own."""


class Senses(NamedTuple):
    loads: Loads
    sent: Sent


class Feeling:
    """Tells the core, whenever it is time."""

    def __init__(self, senses: Senses) -> None:
        self._senses = senses
        self._weighed = self._counted = 0.0

    def look(self, core: Core, now: float) -> None:
        try:
            if now - self._weighed >= WEIGH:
                self._weighed = now
                core.busy(self._senses.loads.look({*core.devices.values()}, now))
            if now - self._counted >= COUNT:
                self._counted = now
                core.count(self._senses.sent.read(core.unprobed()), now)
        except OSError as error:
            log.warning("cannot see what is sent", error=str(error))
