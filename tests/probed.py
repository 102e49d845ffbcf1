"""A prober with one link, by a clock that the test moves, and answers that are on their way."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import count

from seaway.model.links import Neighbour
from seaway.routed.probes import Prober, Timing

SIZE = 1500  # bytes of a probe of full size
Way = Callable[[float], float | None]  # when a probe is sent: how long its answer takes


class World:
    """One prober, one link, and answers that are on their way."""

    def __init__(self, timing: Timing, way: Way, large: Way | None = None) -> None:
        self.size = SIZE if large else 0
        self.prober = Prober(timing, count().__next__, lambda _: self.size)
        self.prober.choose({"b"})
        self.way = way
        self.large = large or way
        self.most = 0  # bytes of probes that go the way of small ones
        self.now = 0.0
        self.turns: list[tuple[float, bool]] = []  # when the link turned, and to what
        self._coming: list[tuple[float, int]] = []

    @property
    def up(self) -> bool:
        return self.prober.links["b"].up

    def wake(self, after: float) -> None:
        """The prober sleeps for so long, reads what came, and looks."""
        self.now += after
        was = self.up
        while self._coming and self._coming[0][0] <= self.now:
            at, stamp = heapq.heappop(self._coming)
            self.prober.answer(stamp, "b", at)
        for probe in self.prober.tick(self.now):
            takes = (self.large if probe.size > self.most else self.way)(self.now)
            if takes is not None:
                heapq.heappush(self._coming, (self.now + takes, probe.stamp))
        if self.up != was:
            self.turns.append((self.now, self.up))

    def run(self, seconds: float, sleeps: Iterable[float] = ()) -> None:
        """On time, but for these."""
        end, given = self.now + seconds, iter(sleeps)
        while self.now < end:
            self.wake(next(given, self.prober.timing.interval))


def always(takes: float) -> Way:
    return lambda _: takes


def until(end: float, takes: float) -> Way:
    return lambda now: takes if now < end else None


def announced(world: World) -> Neighbour:
    (neighbour,) = world.prober.neighbours(["b"])
    return neighbour
