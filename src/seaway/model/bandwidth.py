"""Bandwidth in the words of users and of CNI: bits, and bits a second. The same for every door."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol

from seaway.errors import Invalid
from seaway.model.facts import Value

LEAST: Final = 8_000  # bits a second
MOST: Final = 32_000_000_000
BURST_MOST: Final = (1 << 32) - 1  # bits: what CNI has room for
FRAME: Final = 18  # bytes that a packet has besides: Ethernet's header, and a tag
_LONGEST: Final = 256  # seconds that a burst is worth: the kernel counts its time in 32 bits
_AT_ONCE: Final = 4  # seconds that one packet may be worth, likewise
_SIZE = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?(|bit|kbit|mbit|gbit)", re.ASCII)
_UNITS: Final = {"": 1, "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}


class Bandwidth(Value):
    """Of one way. A rate of 0: no limit; a burst of 0: the usual one."""

    rate: int = 0
    burst: int = 0
    service: str = ""  # NETWORK/NAME of the one whose backends have no more; empty: it is its own


class Limited(Protocol):
    """An endpoint or a service, or who asks for one."""

    @property
    def ingress_rate(self) -> int: ...
    @property
    def ingress_burst(self) -> int: ...
    @property
    def egress_rate(self) -> int: ...
    @property
    def egress_burst(self) -> int: ...


Ways = tuple[Bandwidth, Bandwidth]  # into the container, and out of it


def ways_of(of: Limited, service: str = "") -> Ways:
    """What was said of it."""
    return (
        Bandwidth(rate=of.ingress_rate, burst=of.ingress_burst, service=service),
        Bandwidth(rate=of.egress_rate, burst=of.egress_burst, service=service),
    )


def changed(given: Mapping[str, object]) -> dict[str, object]:
    """Where a rate is taken away, its burst goes too."""
    gone = (way for way in ("ingress", "egress") if given.get(f"{way}_rate") == 0)
    return {f"{way}_burst": 0 for way in gone} | dict(given)


def parse_bits(text: str) -> int:
    """Of e.g. 50mbit, 1.5gbit or 800000; of a rate, a second."""
    found = _SIZE.fullmatch(text.lower())
    if not found:
        raise Invalid(
            f"{text[:40]!r} is no number of bits", "expected e.g. 800kbit, 50mbit, 1.5gbit"
        )
    whole, part, unit = found.groups()
    return int(whole + (part or "").ljust(3, "0")) * _UNITS[unit] // 1000


def check_ways(of: Limited, mtu: int = 0) -> None:
    """`mtu`: of the packets that go there; 0: not known yet."""
    check_bandwidth("ingress", of.ingress_rate, of.ingress_burst, mtu)
    check_bandwidth("egress", of.egress_rate, of.egress_burst, mtu)


def least(mtu: int) -> int:
    """The lowest rate at which the kernel lets pass such packets."""
    return max(LEAST, -(-(mtu + FRAME) * 8 // _AT_ONCE))


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
    if not least(mtu) <= rate <= MOST:
        raise Invalid(
            f"the {way} rate of {rate} bit/s is out of range",
            f"expected {written(least(mtu))} to {written(MOST)}; 0: no limit",
        )
    packet, most = (mtu + FRAME) * 8, min(BURST_MOST, rate * _LONGEST)
    if burst and not packet <= burst <= most:
        raise Invalid(
            f"the {way} burst of {burst} bit is out of range",
            f"expected {packet} (one packet) to {most}; 0: the usual one",
        )


def told(ways: Ways) -> str:
    both = zip(("in", "out"), ways, strict=True)
    return ", ".join(_told(way, one) for way, one in both if one.rate) or "not limited"


def _told(way: str, one: Bandwidth) -> str:
    more = [f"burst {written(one.burst)}"] if one.burst else []
    more += [f"service {one.service}"] if one.service else []
    return f"{way} {written(one.rate)}/s" + (f" ({', '.join(more)})" if more else "")


def spelled(bits: int) -> str:
    """As `parse_bits` reads exactly this."""
    text = written(bits)
    return text if parse_bits(text) == bits else str(bits)


def written(bits: int) -> str:
    """As people read it, and as `parse_bits` reads it."""
    for unit in ("gbit", "mbit", "kbit"):
        if bits >= _UNITS[unit]:
            told = f"{bits / _UNITS[unit]:.3f}".rstrip("0").rstrip(".")
            return f"{told}{unit}"
    return f"{bits}bit"
