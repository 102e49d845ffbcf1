"""Hosts that are not there: what they would announce of their links, and how that changes.

The same number of hosts gives the same links and the same changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from random import Random

from seaway.model.facts import Block, Peer
from seaway.model.links import LinkState, Neighbour

SEED = 1
LINKED = 8  # others that a host is linked to by its own choice; as many chose it
COSTS = tuple(round(100 * 1.25**step) for step in range(14))  # microseconds, as hosts round them
SIZE = 50  # hosts of a segment
LEADING_OUT = 2  # of those, the ones with a link to another segment
ENDPOINTS = 20  # of each host
BLOCKS4 = IPv4Network("10.208.0.0/12")
BLOCKS6 = IPv6Network("fd00:208::/64")


class Simulated:
    """A cluster in which links become longer and shorter."""

    def __init__(self, hosts: int, *, segments: bool) -> None:
        self.names = [f"host-{number:05}" for number in range(hosts)]
        self._random = Random(SEED)
        self._costs: dict[str, dict[str, int]] = defaultdict(dict)
        self._segments = {
            name: (f"segment-{number // SIZE}",) if segments else ()
            for number, name in enumerate(self.names)
        }
        for one, other in self._inside() if segments else self._scattered():
            if one != other:
                self._set(one, other, self._random.choice(COSTS))

    def _scattered(self) -> Iterator[tuple[str, str]]:
        """Any two: no host can be taken together with another one."""
        for name in self.names:
            for other in self._random.sample(self.names, LINKED):
                yield name, other

    def _inside(self) -> Iterator[tuple[str, str]]:
        for start in range(0, len(self.names), SIZE):
            segment = self.names[start : start + SIZE]
            for number, name in enumerate(segment):
                for step in range(1, LINKED + 1):
                    yield name, segment[(number + step * step) % len(segment)]
            for name in segment[:LEADING_OUT]:
                yield name, self._random.choice(self.names)

    def _set(self, one: str, other: str, cost: int) -> None:
        self._costs[one][other] = self._costs[other][one] = cost

    def state(self, host: str) -> LinkState:
        told = tuple(Neighbour(o, up=True, rtt=c, cost=c) for o, c in self._costs[host].items())
        return LinkState(host, told, self._segments[host])

    def states(self) -> Iterator[LinkState]:
        return (self.state(name) for name in self.names)

    def change(self, host: str | None = None) -> tuple[LinkState, LinkState]:
        """What both ends of a link say now, of a random one or one of this host's."""
        one = host or self._random.choice(self.names)
        other = self._random.choice(list(self._costs[one]))
        others = [cost for cost in COSTS if cost != self._costs[one][other]]
        self._set(one, other, self._random.choice(others))
        return self.state(one), self.state(other)

    def peers(self) -> Iterator[Peer]:
        for number, name in enumerate(self.names):
            own = ip_address(int(BLOCKS4.network_address) + number)
            yield Peer(name=name, addresses=(own,), number=number + 1, underlay=(own,))

    def blocks(self) -> Iterator[Block]:
        """In which the endpoints of all of them have their addresses: one a family, as each host
        has no more endpoints than a block has addresses.
        """
        fours, sixes = BLOCKS4.subnets(new_prefix=26), BLOCKS6.subnets(new_prefix=122)
        for name, four, six in zip(self.names, fours, sixes, strict=False):
            yield Block(prefix=four, network="default", host=name)
            yield Block(prefix=six, network="default", host=name)
