"""Programs remember the ways to other hosts for a tick (bpf/lib/way.h)."""

from __future__ import annotations

import time
from typing import Final

from waiting import wait

CLOCK_MONOTONIC_COARSE: Final = 6
WAY_TICK: Final = 23


def look_anew() -> None:
    """Return in the next tick, when all ways are looked up again."""
    now = _ticks()
    assert wait(lambda: _ticks() > now)


def _ticks() -> int:
    return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE) >> WAY_TICK
