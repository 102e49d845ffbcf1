"""How good a link is: round-trip time, loss and load as measured, and as announced.

What is announced stands still while the measure moves within its step and half of each next one,
and follows only what lasts. This is the one place with such a memory: all hosts compute paths
from what is announced, and from nothing else.

A round trip has a floor, the least of the last hour, and what packets wait besides, which is
load. Packets that go another way because of load take it along: the link is free, so they come
back, and so for ever. So load is announced at once, and its end late; and later by far, if the load
is back as soon as its end was announced: then it had only gone elsewhere.
"""

from __future__ import annotations

from collections import deque
from math import log
from typing import Final, NamedTuple

from seaway.model.links import MOST, PERCENT

STEP: Final = 1.25  # each step is so much more than the one before
FIRST: Final = 100  # microseconds: the lowest step. What is below is noise of the hosts
BAND: Final = 1.0  # steps that the measure may be off what is announced
LASTS: Final = 3  # looks in a row that it has to be further off
YOUNG: Final = 30  # probes of a link that is new, of which the first may wait: one look will do
WINDOW: Final = 256  # probes that loss is measured by
ENOUGH: Final = 128  # of them, to judge by one that is lost
LATELY: Final = 64  # of them the latest, where what is new must count at once
SMOOTH: Final = 1 / 8  # as TCP smooths its round-trip times (RFC 6298)
DEVIATE: Final = 1 / 4
LOSS: Final = 50  # loss of one in so many makes a link cost twice its round-trip time
BUSY: Final = 95  # per cent of load, and more, that count as this
FLAT: Final = 50  # and below which nobody waits
QUEUE: Final = 1_000  # microseconds above the floor by which a queue shows in all probes of a look
SPELL: Final = 300  # looks, of which the least round trip is remembered together
SPELLS: Final = 12
MORE: Final = 3.0  # steps by which a link that is loaded has to be more so: twice as much
HOLD: Final = 60  # looks in a row for which load, or loss, has to be less
AT_ONCE: Final = 30  # looks: it came back because it was told that it might
AGAIN: Final = 8  # times as long it has to be less then,
LONGEST: Final = 3600  # but no longer


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


def waiting(floor: float, seen: float, load: float) -> float:
    """Microseconds that a round trip takes with what is in the way: as it was seen, or as it will
    be in a queue at that load, 1 / (1 - load).
    """
    least = max(floor, FIRST)
    seen = seen if seen - least >= QUEUE else least
    told = least / (1 - min(load, BUSY) / PERCENT) if load >= FLAT else least
    return max(seen, told)


class Quality:
    """Of one link, as this end measures it."""

    def __init__(self) -> None:
        self.load = 0.0  # per cent of what the device to it can carry
        self._rtt: float | None = None  # microseconds, smoothed
        self._deviation = 0.0
        self._floors: deque[float] = deque(maxlen=SPELLS)  # the least of each spell
        self._spell = 0  # looks, of the last one
        self._least: float | None = None  # microseconds, since the last look
        self._seen = 0.0  # and before that
        self._results = 0  # a bit for each probe, 1: it was lost
        self._count = 0
        self._announced: Figures | None = None
        self._off = 0
        self._less = False  # it is off by being less than what is announced
        self._lately: deque[Figures] = deque(maxlen=HOLD // 2)  # it has to have been so little
        self._hold = HOLD
        self._eased: int | None = None  # looks since less was announced: None after so many more

    def begin(self) -> None:
        """The link is there again: what was before tells nothing, but for how long it is."""
        self._results = self._count = self._off = 0
        self._announced = None

    def fall(self) -> None:
        """It is down: when it comes back, it may be by another way."""
        self._floors.clear()
        self._seen = 0.0

    def resume(self, figures: Figures) -> None:
        """They were announced before this host began anew."""
        self._announced = figures
        self._rtt, self._deviation = float(figures.rtt), figures.rtt / 2
        self._floors.append(self._rtt)

    def measured(self, microseconds: float) -> None:
        """The round-trip time of one probe."""
        if not self._floors:
            self._floors.append(microseconds)
        self._floors[-1] = min(self._floors[-1], microseconds)
        self._least = min(self._least or microseconds, microseconds)
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
        return PERCENT * self._results.bit_count() / max(ENOUGH, self._count)

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
        """Once a second, while it is up: whether other figures are announced from now on."""
        said = self._announced
        if said is None or self._rtt is None:
            return False
        self._age()
        self._lately.append(self._figures())
        cost = step_of(self._cost()) - step_of(said.cost)
        loaded = said.cost > said.rtt
        farther = abs(step_of(self.floor) - step_of(said.rtt)) > BAND
        if not farther and -BAND <= cost <= (MORE if loaded else BAND):
            self._off = 0
            return False
        less = cost < -BAND and loaded
        self._off = self._off + 1 if less == self._less else 1
        self._less = less
        lasts = LASTS if self._count > YOUNG else 1
        if self._off < (self._hold if less else lasts):
            return False
        self._off = 0
        worst = max(self._lately, key=lambda figures: figures.cost)
        self._announced = worst if less else self._figures()
        self._learn(less=less, more=cost > BAND and self._announced.cost > self._announced.rtt)
        return True

    def _age(self) -> None:
        """A look later."""
        if self._least is not None:
            self._seen, self._least = self._least, None
        self._spell += 1
        if self._spell >= SPELL:
            self._spell = 0
            self._floors.append(self._seen or self.rtt)
        if self._eased is not None:
            self._eased += 1
            if self._eased >= self._hold:
                self._hold, self._eased = HOLD, None

    def _learn(self, *, less: bool, more: bool) -> None:
        """From load, or its end, that was announced."""
        if less:
            self._eased = 0
        elif more and self._eased is not None:
            if self._eased <= AT_ONCE:
                self._hold = min(AGAIN * self._hold, LONGEST)
            self._eased = None

    @property
    def floor(self) -> float:
        """Microseconds: of a round trip that waits for nothing."""
        return min(self._floors, default=self.rtt)

    def _waiting(self) -> float:
        return waiting(self.floor, self._seen, self.load)

    def _cost(self) -> float:
        """Microseconds: a lossy link is as bad as a longer one, a busy one makes packets wait."""
        return self._waiting() * (1 + self.loss / PERCENT * LOSS)

    def _figures(self) -> Figures:
        return Figures(
            rtt=value_of(step_of(self.floor)),
            cost=value_of(step_of(self._cost())),
            loss=round(self.loss),
            load=round(PERCENT * (1 - max(self.floor, FIRST) / self._waiting())),
        )
