"""Spans of time as people write and read them."""

from __future__ import annotations

import re
from typing import Final

from seaway.errors import Invalid

_FORM = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Seconds of e.g. 90s, 30m, 24h or 7d."""
    found = _FORM.fullmatch(text)
    if not found:
        raise Invalid(f"'{text}' is no span of time", "expected e.g. 90s, 30m, 24h or 7d")
    return float(int(found[1]) * _SECONDS[found[2]])


def in_words(seconds: float) -> str:
    """The two largest units: 3 d 4 h, 5 min 2 s."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
