"""What hosts tell each other of their links: link state, as it is announced.

It comes from other hosts, so every field has bounds; and it is passed on by hosts of other
versions, so it is an array whose unknown last fields are left alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MOST = 1 << 24  # of round-trip times and costs: 16 s
LARGEST = 65535  # bytes of a packet
NEIGHBOURS = 512  # that one host may report
SEGMENTS = 16  # that one host may be in
PERCENT = 100

Name = Annotated[str, Meta(min_length=1, max_length=253)]
Percent = Annotated[int, Meta(ge=0, le=PERCENT)]


class Neighbour(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One end's word on a link. All figures are quantised: equal ones mean that nothing changed."""

    host: Name  # the other end
    up: bool  # whether it answers; of a link that is down no figure counts
    rtt: Annotated[int, Meta(ge=0, le=MOST)] = 0  # microseconds
    cost: Annotated[int, Meta(ge=1, le=MOST)] = 1  # likewise: what a packet might as well wait
    loss: Percent = 0
    load: Percent = 0
    returned: bool = False  # it is probed only because the other end does so
    # Packets of so many bytes and more are swallowed on the way there, not small ones; 0: none are.
    hole: Annotated[int, Meta(ge=0, le=LARGEST)] = 0

    @property
    def figures(self) -> tuple[int, int, int, int]:
        return self.rtt, self.cost, self.loss, self.load

    @property
    def sound(self) -> bool:
        return self.up and not self.hole


class LinkState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that one host says of itself and its links."""

    host: Name
    neighbours: Annotated[tuple[Neighbour, ...], Meta(max_length=NEIGHBOURS)] = ()
    # Names of the segments that it is in: hosts of one reach each other without a relay.
    segments: Annotated[tuple[Name, ...], Meta(max_length=SEGMENTS)] = ()
    relay: bool = True  # it passes on what is for others: not while it drains

    def __post_init__(self) -> None:
        """What is said twice may be said differently."""
        _check_once([n.host for n in self.neighbours], "neighbour")
        _check_once(list(self.segments), "segment")


def _check_once(names: list[str], what: str) -> None:
    if len(names) != len(set(names)):
        raise ValueError(f"a {what} is named twice")
