"""What a host tells of its own packets: how busy its devices are, and to whom most is sent.

Looked at seldom: what follows from it is announced to all hosts. And in a thread: the kernel has
who asks for devices wait while it makes others, and probes do not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
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
        """Bytes that went to each of these hosts first, by number, since a beginning of its own."""


class Senses(NamedTuple):
    loads: Loads
    sent: Sent


class Feeling:
    """Tells the core, whenever it is time."""

    def __init__(self, senses: Senses, core: Core, clock: Callable[[], float]) -> None:
        self._senses = senses
        self._core = core
        self._clock = clock
        self._counted = -COUNT

    async def feel(self) -> None:
        """As long as the process runs: one look after the other."""
        while True:
            try:
                await self._look()
            except OSError as error:
                log.warning("cannot see what is sent", error=str(error))
            await asyncio.sleep(WEIGH)

    async def _look(self) -> None:
        core, now = self._core, self._clock()
        devices = {*core.devices.values()}
        core.busy(await asyncio.to_thread(self._senses.loads.look, devices, now))
        if now - self._counted >= COUNT:
            self._counted = now
            sent = await asyncio.to_thread(self._senses.sent.read, core.unprobed())
            core.count(sent, self._clock())
