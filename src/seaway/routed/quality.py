"""How good a link is: round-trip time, loss and load as measured, and as announced.

What is announced stands still while the measure moves within its step and half of each next one,
and follows only what lasts. This is the one place with such a memory: all hosts compute paths
from what is announced, and from nothing else.
"""

from __future__ import annotations

from math import log
from typing import Final, NamedTuple

from seaway.model.links import MOST, PERCENT

STEP: Final = 1.25  # each step is so much more than the one before
FIRST: Final = 100  # microseconds: the lowest step. What is below is noise of the hosts
BAND: Final = 1.0  # steps that the measure may be off what is announced
LASTS: Final = 3  # looks in a row that it has to be further off
WINDOW: Final = 256  # probes that loss is measured by
LATELY: Final = 64  # of them the latest, where what is new must count at once
SMOOTH: Final = 1 / 8  # as TCP smooths its round-trip times (RFC 6298)
DEVIATE: Final = 1 / 4
LOSS: Final = 50  # loss of one in so many makes a link cost twice its round-trip time
BUSY: Final = 95  # per cent of load, and more, that count as this


class Figures(NamedTuple):
    """Of one link, as announced: microseconds, and per cent."""

    rtt: int
    cost: int
    loss: int
    load: int


def step_of(microseconds: float) -> float:
    """On the scale of steps; 0 is the lowest."""
    return max(0.0, log(max(microseconds, 1.0) / FIRST, STEP))


def value_of(step: float) -> int:
    return min(MOST, round(FIRST * STEP ** round(step)))


def cost_of(rtt: float, loss: float, load: float) -> float:
    """Microseconds: a lossy link is as bad as a longer one, a busy one makes packets wait.

    Waiting grows as in a queue, 1 / (1 - load).
    """
    return max(rtt, FIRST) * (1 + loss / PERCENT * LOSS) / (1 - min(load, BUSY) / PERCENT)


class Quality:
    """Of one link, as this end measures it."""

    def __init__(self) -> None:
        self.load = 0.0  # per cent
        self._rtt: float | None = None  # microseconds, smoothed
        self._deviation = 0.0
        self._results = 0  # a bit for each probe, 1: it was lost
        self._count = 0
        self._announced: Figures | None = None
        self._off = 0

    def begin(self) -> None:
        """The link is there again: what was before tells nothing, but for how long it is."""
        self._results = self._count = self._off = 0
        self._announced = None

    def resume(self, figures: Figures) -> None:
        """They were announced before this host began anew."""
        self._announced = figures
        self._rtt, self._deviation = float(figures.rtt), figures.rtt / 2

    def measured(self, microseconds: float) -> None:
        """The round-trip time of one probe."""
        if self._rtt is None:
            self._rtt, self._deviation = microseconds, microseconds / 2
            return
        off = abs(microseconds - self._rtt)
        self._deviation += DEVIATE * (off - self._deviation)
        self._rtt += SMOOTH * (microseconds - self._rtt)

    def counted(self, *, lost: bool) -> None:
        self._results = (self._results << 1 | lost) & ((1 << WINDOW) - 1)
        self._count = min(WINDOW, self._count + 1)

    def corrected(self) -> None:
        """One that was counted as lost was only late."""
        self._results &= self._results - 1

    @property
    def rtt(self) -> float:
        """Microseconds; 0: it was not measured."""
        return self._rtt or 0.0

    @property
    def patience(self) -> float:
        """Seconds in which an answer comes, if one does (RFC 6298)."""
        return (self.rtt + 4 * self._deviation) / 1_000_000

    @property
    def loss(self) -> float:
        """Per cent."""
        return PERCENT * self._results.bit_count() / max(1, self._count)

    @property
    def chance(self) -> float:
        """That a probe is lost, 0 to 1, and rather too high: the longer or the latest past,
        whichever is worse, each by the rule of succession.
        """
        results = ((self._results, WINDOW), (self._results & ((1 << LATELY) - 1), LATELY))
        return max((r.bit_count() + 1) / (min(self._count, most) + 2) for r, most in results)

    def announced(self) -> Figures:
        """As it was announced last, or for the first time."""
        if self._announced is None:
            self._announced = self._figures()
        return self._announced

    def look(self) -> bool:
        """Once in a while: whether other figures are announced from now on."""
        if self._announced is None or self._rtt is None:
            return False
        is_off = any(
            abs(step_of(now) - step_of(said)) > BAND
            for now, said in (
                (self._rtt, self._announced.rtt),
                (self._cost(), self._announced.cost),
            )
        )
        self._off = self._off + 1 if is_off else 0
        if self._off < LASTS:
            return False
        self._off = 0
        self._announced = self._figures()
        return True

    def _cost(self) -> float:
        return cost_of(self.rtt, self.loss, self.load)

    def _figures(self) -> Figures:
        return Figures(
            rtt=value_of(step_of(self.rtt)),
            cost=value_of(step_of(self._cost())),
            loss=round(self.loss),
            load=round(self.load),
        )
