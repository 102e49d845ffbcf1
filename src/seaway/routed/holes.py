"""Whether large packets pass a link that small ones pass. A black hole swallows them in silence: a
device on the way has a smaller MTU, and tells nobody, or nobody hears it.

A probe of full size has a twin, a small one that is sent in the same moment. Loss takes either, now
the one, now the other; only a black hole takes the large one each time that its twin comes through.
How many times in a row are no chance is told by how much is lost. What does pass is searched for
then, by halves; and the largest that does is tried on, as the hole may become smaller.
"""

from __future__ import annotations

from math import ceil, log, sqrt
from typing import Final

LEAST: Final = 5  # large ones in a row that only a black hole takes, where nothing else is lost
MOST: Final = 128  # whatever is lost: of what loses more nothing else is to be expected
CHANCE: Final = 1e-9  # of a row by mere loss, above which it has to be longer
PASSED: Final = 3  # large ones in a row that came through after which there is no black hole
HISTORY: Final = 64  # large ones by which their own loss is measured; then they count half
SMALL: Final = 80  # bytes: no packet of a twin is larger


def row(alone: float) -> int:
    """So many large ones, each without an answer though its twin has one, are no chance, if mere
    loss makes so much of all pairs such ones (0 to 1).
    """
    if not alone:
        return LEAST
    return MOST if alone >= 1 else min(MOST, max(LEAST, ceil(log(CHANCE) / log(alone))))


class Row:
    """What becomes of packets of one size."""

    def __init__(self) -> None:
        self.passed = 0  # in a row
        self._swallowed = 0  # likewise
        self._lost = self._told = 0.0  # before: swallowed, and all

    def came(self) -> None:
        self._lost += self._swallowed
        self._told += self._swallowed + 1
        if self._told >= HISTORY:
            self._lost, self._told = self._lost / 2, self._told / 2
        self._swallowed = 0
        self.passed += 1

    def swallowed(self, loss: float) -> bool:
        """One, and not its twin: whether so many are no chance. `loss` is that of small ones.

        Pairs of which both were lost tell nothing, so of the others loss alone takes the large one
        of `loss` / (1 + `loss`); of large ones more may be lost, as was seen before.
        """
        self.passed = 0
        self._swallowed += 1
        return self._swallowed >= row(max(loss / (1 + loss), self._own()))

    def _own(self) -> float:
        """The loss of large ones, and twice the error of that: it was measured by few."""
        if not self._told:
            return 0.0
        own = self._lost / self._told
        return own + 2 * sqrt(own * (1 - own) / self._told)


class Search:
    """For the smallest size that does not pass; and whether the next smaller one still does."""

    def __init__(self, size: int) -> None:
        self._passes, self.found = SMALL, size
        self._row = Row()

    @property
    def size(self) -> int:
        """To be tried next; 0: none, as a twin may be as large."""
        size = (self._passes + self.found) // 2
        return size if size > SMALL else 0

    @property
    def done(self) -> bool:
        """What is tried next passed before."""
        return self.found <= self._passes + 1

    def learn(self, *, large: bool, small: bool, loss: float) -> None:
        """Of a pair of that size, which was answered."""
        if large and self.done:
            self._row.came()
        elif large:
            self._passes, self._row = self.size, Row()
        elif small and self._row.swallowed(loss):
            passes = SMALL if self.done else self._passes
            self._passes, self.found, self._row = passes, self.size, Row()


class Passage:
    """Of one link, in one direction. A function of what is told, in its order: no clock."""

    def __init__(self) -> None:
        self.hole = 0  # bytes of the smallest packets that are known not to pass; 0: there are none
        self._full = 0  # the size that is tried
        self._row = Row()
        self._search: Search | None = None
        self._searches = False  # with the next one

    def resume(self, hole: int) -> None:
        """It was announced before this host began anew."""
        self.hole = hole

    def tries(self, full: int) -> int:
        """The size of the next large one: full size, or in turn with it what is searched by."""
        if full != self._full:
            self._begin(full)
        self._searches = not self._searches
        return self._search.size or full if self._search and self._searches else full

    def _begin(self, full: int) -> None:
        self._full, self._row, self._search = full, Row(), None

    def learn(self, size: int, *, large: bool, small: bool, loss: float) -> bool:
        """Of a pair, which was answered; `loss` is that of small ones, 0 to 1. Whether something
        else is to be announced now. What is not tried any more tells nothing.
        """
        if size == self._full:
            return self._came() if large else small and self._swallowed(loss)
        if self._search and size == self._search.size:
            self._search.learn(large=large, small=small, loss=loss)
            return self._search.done and self._is(self._search.found)
        return False

    def _came(self) -> bool:
        self._row.came()
        if not self.hole or self._row.passed < PASSED:
            return False
        self._begin(self._full)
        return self._is(0)

    def _swallowed(self, loss: float) -> bool:
        if not self._row.swallowed(loss) or self._search:
            return False
        known = 0 < self.hole <= self._full
        self._search = Search(self.hole if known else self._full)
        return not known and self._is(self._full)

    def _is(self, hole: int) -> bool:
        changed, self.hole = hole != self.hole, hole
        return changed
