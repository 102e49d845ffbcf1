"""Who had to hear whom in a storm: what it did to links and hosts, held against the beats lost.

It knows the wire and the promises, and nothing of how paths are found. Times are seconds of the
machine's clock that never goes back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

FLIGHT = 0.5  # seconds that a beat may be under way where the machine is busy

Pair = tuple[str, str]
Link = frozenset[str]  # of its two ends


class Change(NamedTuple):
    """A link of the wire went up or down, at some moment between these two."""

    begun: float
    done: float
    link: Link
    up: bool


class Absence(NamedTuple):
    """A host found no paths: its `routed` was dead, or did not know yet what it knew before."""

    host: str
    begun: float
    ended: float = inf


class Loss(NamedTuple):
    """Beats in a row, from one host to another and back, of which none came back."""

    pair: Pair
    first: float  # when they were sent
    last: float
    beats: int = 1


class Fault(NamedTuple):
    """`late`: seconds for which there was no reason any more; of a loss that nothing had caused all
    of it.
    """

    loss: Loss
    late: float
    caused: bool


@dataclass
class Course:
    """`links`: of the wire, all of them up at first. `young`: seconds until one that came up must
    be believed by its ends. `promised`: until packets go another way.
    """

    links: Collection[Link]
    young: float
    promised: float
    changes: list[Change] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)

    def judge(self, losses: Iterable[Loss]) -> list[Fault]:
        """What broke a promise, the worst first."""
        moments = self._moments()
        faults = (self._fault(loss, moments) for loss in losses)
        return sorted(filter(None, faults), key=lambda fault: -fault.late)

    def outages(self, losses: Iterable[Loss]) -> list[float]:
        """How long those lasted that a dead link caused, where another way was there all the time
        and everybody at work.
        """
        moments = self._moments()
        found = []
        for loss in losses:
            cut = self._cut_before(loss)
            if cut and self._was_free(loss, cut, moments):
                found.append(loss.last - cut.begun)
        return sorted(found)

    def waits(self, losses: Iterable[Loss]) -> list[float]:
        """How long after they were connected again hosts heard each other, where they were not."""
        moments, found = self._moments(), []
        for loss in losses:
            joined = [m for m in _within(moments, loss) if self._joined(loss.pair, m)]
            if joined:
                found.append(loss.last - joined[-1])
        return sorted(found)

    def is_joined(self, pair: Pair, at: float, young: float = 0.0) -> bool:
        """Whether the wire led from one to the other, by links that were up for so long."""
        return any(self._ways(pair, at, young))

    # ── how it is found ──

    def _moments(self) -> list[float]:
        """At which what must be may have changed; between two of them nothing does."""
        found = {m for c in self.changes for m in (c.begun, c.done, c.done + self.young)}
        found |= {a.ended for a in self.absences} | {a.begun for a in self.absences}
        return sorted(found - {inf})

    def _fault(self, loss: Loss, moments: list[float]) -> Fault | None:
        since = self._free_since(loss.pair, loss.first, moments)
        free = since is not None and loss.first - since > self.promised
        if free and not self._stirs(loss.first) and not self._begins_anew(loss):
            return Fault(loss, loss.last - loss.first, caused=False)
        late = 0.0
        for at in (*_within(moments, loss), loss.last):
            before = at if at == loss.last else at - 1e-6
            since = self._free_since(loss.pair, before, moments)
            if since is not None:
                late = max(late, before - max(since, loss.first) - self.promised)
        return Fault(loss, late, caused=True) if late > 0 else None

    def _free_since(self, pair: Pair, at: float, moments: list[float]) -> float | None:
        """Since when nothing hindered these two; None: something does."""
        if self._hindered(pair, at):
            return None
        since = -inf
        for moment in reversed(moments[: bisect_right(moments, at)]):
            since = moment
            if self._hindered(pair, moment - 1e-6) or self._turned(moment):
                return since
        return -inf

    def _turned(self, moment: float) -> bool:
        """Whether a link went down then, or one that had come up was to be believed."""
        return any(
            moment == (change.done + self.young if change.up else change.done)
            for change in self.changes
        )

    def _stirs(self, at: float) -> bool:
        """Whether something changes about then: hosts may learn of it at different moments."""
        return any(
            change.begun - FLIGHT <= at <= self._felt(change) + self.promised
            for change in self.changes
        )

    def _begins_anew(self, loss: Loss) -> bool:
        """Whether a `routed` does then, and they hear each other again in the promised time."""
        return loss.last - loss.first < self.promised and any(
            absence.begun <= loss.first <= absence.ended + self.promised
            for absence in self.absences
        )

    def _hindered(self, pair: Pair, at: float) -> bool:
        """They need not hear each other then."""
        if any(change.begun <= at < change.done for change in self.changes):
            return True
        if not self.is_joined(pair, at, self.young):
            return True
        return any(self._misses(absence, pair, at) for absence in self.absences)

    def _misses(self, absence: Absence, pair: Pair, at: float) -> bool:
        """Somebody on a way of theirs does not know what the wire is like now."""
        if not absence.begun <= at < absence.ended:
            return False
        known = absence.begun - self.promised
        if not any(known <= self._felt(c) and c.begun <= at for c in self.changes):
            return False
        return any(absence.host in way for way in self._ways(pair, at, 0.0))

    def _felt(self, change: Change) -> float:
        """When it may still be news."""
        return change.done + self.young if change.up else change.done

    def _cut_before(self, loss: Loss) -> Change | None:
        cuts = [c for c in self.changes if not c.up and c.begun <= loss.first + FLIGHT]
        near = [c for c in cuts if c.done >= loss.first - self.promised]
        return near[-1] if near and near[-1].begun <= loss.last else None

    def _was_free(self, loss: Loss, cut: Change, moments: list[float]) -> bool:
        around = [cut.done, loss.last, *_within(moments, loss)]
        return not any(self._hindered(loss.pair, at) for at in around if at >= cut.done)

    def _joined(self, pair: Pair, moment: float) -> bool:
        return self.is_joined(pair, moment) and not self.is_joined(pair, moment - 1e-6)

    def _ways(self, pair: Pair, at: float, young: float) -> Iterator[tuple[str, ...]]:
        """All ways without a circle, as the hosts on them."""
        links = [link for link in self.links if self._is_up(link, at, young)]
        start, end = pair
        todo = [(start,)]
        while todo:
            way = todo.pop()
            if way[-1] == end:
                yield way
                continue
            for link in links:
                if way[-1] in link:
                    (other,) = link - {way[-1]}
                    todo += [(*way, other)] * (other not in way)

    def _is_up(self, link: Link, at: float, young: float) -> bool:
        for change in reversed(self.changes):
            if change.link == link and (change.done if change.up else change.begun) <= at:
                return change.up and at - change.done >= young
        return True


def _within(moments: list[float], loss: Loss) -> list[float]:
    return [m for m in moments if loss.first < m <= loss.last]
