"""Waiting for a condition, with a deadline: the only place of the tests where time just passes.

A deadline ends what would never come true. It judges nothing: on a slow machine all takes long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

DEADLINE: Final = 60.0  # seconds


def wait(condition: Callable[[], object], within: float = DEADLINE) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


async def until(condition: Callable[[], object], within: float = DEADLINE) -> None:
    """The same for a test that lives in a loop; TimeoutError where it does not."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110, it tells nobody when it comes true
            await asyncio.sleep(0.01)


async def wait_until(succeeds: Callable[[], Awaitable[object]], within: float = DEADLINE) -> bool:
    """The same in a loop, of what has to be asked."""
    end = time.monotonic() + within
    while not await succeeds():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


def span(seconds: float) -> None:
    """For promises about a span of time, and nothing else: scripts/check-words lists them."""
    time.sleep(seconds)
