"""Bandwidth in the words of users and of CNI: bits, and bits a second. The same for every door."""

from __future__ import annotations

import re
from typing import Final

from seaway.errors import Invalid

LEAST: Final = 8_000  # bits a second
MOST: Final = 32_000_000_000
BURST_MOST: Final = (1 << 32) - 1  # bits: what CNI has room for
FRAME: Final = 18  # bytes that a packet has besides: Ethernet's header, and a tag
_LONGEST: Final = 256  # seconds that a burst is worth: the kernel counts its time in 32 bits
_AT_ONCE: Final = 4  # seconds that one packet may be worth, likewise
_SIZE = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?(|bit|kbit|mbit|gbit)", re.ASCII)
_UNITS: Final = {"": 1, "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}


def parse_bits(text: str) -> int:
    """Of e.g. 50mbit, 1.5gbit or 800000; of a rate, a second."""
    found = _SIZE.fullmatch(text.lower())
    if not found:
        raise Invalid(
            f"{text[:40]!r} is no number of bits", "expected e.g. 800kbit, 50mbit, 1.5gbit"
        )
    whole, part, unit = found.groups()
    return int(whole + (part or "").ljust(3, "0")) * _UNITS[unit] // 1000


def check_bandwidth(way: str, rate: int, burst: int, mtu: int = 0) -> None:
    """Of one way, `ingress` or `egress`. A rate of 0: no limit; a burst of 0: the usual one. `mtu`
    of 0: not known yet.
    """
    if rate == 0 and burst:
        raise Invalid(
            f"a burst of {way} is given without a rate", f"give a rate: --{way}-rate 50mbit"
        )
    if rate == 0:
        return
    least = max(LEAST, -(-(mtu + FRAME) * 8 // _AT_ONCE))
    if not least <= rate <= MOST:
        raise Invalid(
            f"the {way} rate of {rate} bit/s is out of range",
            f"expected {written(least)} to {written(MOST)}; 0: no limit",
        )
    packet, most = (mtu + FRAME) * 8, min(BURST_MOST, rate * _LONGEST)
    if burst and not packet <= burst <= most:
        raise Invalid(
            f"the {way} burst of {burst} bit is out of range",
            f"expected {packet} (one packet) to {most}; 0: the usual one",
        )


def told(way: str, rate: int, burst: int) -> str:
    """Of one way; empty: it is not limited."""
    if not rate:
        return ""
    return f"{way} {written(rate)}/s" + (f" (burst {written(burst)})" if burst else "")


def written(bits: int) -> str:
    """As people read it, and as `parse_bits` reads it."""
    for unit in ("gbit", "mbit", "kbit"):
        if bits >= _UNITS[unit]:
            told = f"{bits / _UNITS[unit]:.3f}".rstrip("0").rstrip(".")
            return f"{told}{unit}"
    return f"{bits}bit"
