"""What is told of a packet on one host: where something is decided, and where it goes on."""

from __future__ import annotations

from typing import Final, NamedTuple

from seaway.model.trace import Step, Traced, Way


class Spot(NamedTuple):
    """Where something is decided."""

    at: str
    device: str = ""


STACK: Final = Spot("routes")
FIREWALL: Final = Spot("nftables")


class Onward(NamedTuple):
    """The packet as it comes to another host."""

    host: str
    packet: Traced


class Walked(NamedTuple):
    """At least one step; `onward` where the packet goes on to another host, `branches` where the
    last step chooses: the ways behind it.
    """

    steps: tuple[Step, ...]
    onward: Onward | None
    branches: tuple[Branch, ...] = ()


class Branch(NamedTuple):
    """`way`: without what is walked on it."""

    way: Way
    walked: Walked
