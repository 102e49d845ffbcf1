"""Hosts that tell each other their links, without a network between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import pairwise

from fakes_keys import FakeKeys
from seaway.model.links import LinkState, Neighbour
from seaway.routed.flood import Flood
from seaway.routed.messages import Announcement, Message, Signed, encode

NAMES = [f"h{number}" for number in range(6)]
ALL = frozenset(NAMES)


def state(host: str, number: int = 1) -> LinkState:
    """Told apart by a number."""
    return LinkState(host, (Neighbour("far", True, number, 1),))


class Net:
    """Hosts and the streams between them: what is sent arrives in order, or never."""

    def __init__(self, members: Iterable[str] = ALL) -> None:
        self.now = 0.0
        self.members = frozenset(members)
        self.floods = {name: self._begun(name) for name in sorted(self.members)}
        self.told: dict[str, LinkState] = {}
        self.flying: dict[tuple[str, str], deque[bytes]] = {}

    def _begun(self, name: str) -> Flood:
        flood = Flood(name, FakeKeys(name))
        flood.admit(self.members)
        return flood

    def announce(self, name: str, number: int = 1) -> None:
        self.told[name] = state(name, number)
        self.floods[name].announce(self.told[name], self.now)

    def connect(self, one: str, other: str) -> None:
        if (one, other) in self.flying:
            return
        if all(self.floods[a].admits(b, self.now) for a, b in ((one, other), (other, one))):
            for a, b in ((one, other), (other, one)):
                self.floods[a].open(b)
                self.flying[a, b] = deque()

    def cut(self, one: str, other: str) -> None:
        """What is on its way is lost."""
        if self.flying.pop((one, other), None) is not None:
            del self.flying[other, one]
            self.floods[one].close(other)
            self.floods[other].close(one)

    def restart(self, name: str) -> None:
        """It remembers nothing."""
        for one, other in list(self.flying):
            if one == name:
                self.cut(one, other)
        self.floods[name] = self._begun(name)
        self.floods[name].announce(self.told[name], self.now)

    def carry(self, one: str, other: str, most: int = 3) -> bool:
        """One step of one direction; whether anything moved."""
        way = self.flying[one, other]
        moved = self.floods[one].send(other, self.now, most)
        way.extend(moved)
        if not way:
            return bool(moved)
        if not self.floods[other].receive(one, way.popleft(), self.now):
            self.cut(one, other)
        return True

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for flood in self.floods.values():
            flood.tick(self.now)

    def settle(self) -> None:
        """Until nobody has anything to say, and nothing waits for its time."""
        for _ in range(30):
            self.pass_time(1)
            self.deliver()

    def deliver(self) -> None:
        while self._carry_all():
            pass

    def _carry_all(self) -> int:
        """One step of every direction; how many moved."""
        return sum(self.carry(*way) for way in list(self.flying) if way in self.flying)

    def parts(self) -> list[set[str]]:
        """Hosts that are connected."""
        parts = [{name} for name in self.floods]
        for one, other in self.flying:
            joined = [part for part in parts if part & {one, other}]
            parts = [part for part in parts if part not in joined] + [set().union(*joined)]
        return parts

    def known(self, name: str) -> dict[str, tuple[int, bytes]]:
        return {host: entry.order for host, entry in self.floods[name].entries.items()}

    def states(self, name: str) -> dict[str, LinkState]:
        return {host: entry.state for host, entry in self.floods[name].entries.items()}


def line(*names: str) -> Net:
    """Each connected with the next, and all have announced."""
    net = Net(names)
    for one, other in pairwise(names):
        net.connect(*sorted((one, other)))
    for name in names:
        net.announce(name)
    net.settle()
    return net


def signed(host: str, sequence: int, number: int = 1, by: str = "") -> Announcement:
    """What this host might have announced."""
    body = encode(Signed(sequence, state(host, number)))
    keys = FakeKeys(by or host)
    return Announcement(body, keys.sign(body), 0, FakeKeys(host).credential)


def hear(net: Net, name: str, source: str, message: Message) -> bool:
    return net.floods[name].receive(source, encode(message), net.now)
