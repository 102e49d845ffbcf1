"""Limits of connections, in the words of users: checked for form, the same for every door."""

from __future__ import annotations

import re
from typing import Final

from seaway.errors import Invalid

MOST: Final = 1_000_000
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)
_RATE = re.compile(r"([0-9]{1,12})(?:/s)?", re.ASCII)


def parse_rate(text: str) -> int:
    """Of N or N/s: new connections in a second; 0: as many as one likes."""
    found = _RATE.fullmatch(text)
    if not found:
        raise Invalid(
            f"{text[:40]!r} is no rate of connections", "expected how many a second, e.g. 100/s"
        )
    return int(found[1])


def parse_connections(text: str) -> int:
    """How many at once; 0: as many as one likes."""
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"{text[:40]!r} is no number of connections", "expected e.g. 100")
    return int(text)


def check_limits(connections: int, rate: int) -> None:
    """Of a service or an endpoint; 0: there is none."""
    for what, given in (("at once", connections), ("in a second", rate)):
        if not 0 <= given <= MOST:
            raise Invalid(
                f"a limit of {given} connections {what} is out of range",
                f"expected 1 to {MOST}; 0: no limit",
            )


def written(connections: int, rate: int) -> str:
    """As listings tell it."""
    told = (
        f"{connections} connections" if connections else "",
        f"{rate} new ones/s" if rate else "",
    )
    return ", ".join(filter(None, told)) or "none"
