"""Where paths go, besides who asks for them: into the kernel. What is refused there ends nothing:
others are told all the same, and it is said again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from seaway.model.facts import Routing
from seaway.model.routing import Turn

PAUSE: Final = 0.5  # seconds before what was refused is said again, twice as long each time,
LONG: Final = 15.0  # up to this

log = structlog.get_logger(__name__)


class Outlet(Protocol):
    """Hosts are named. All but `know` may raise `OSError`."""

    def know(self, numbers: Mapping[str, int]) -> None:
        """All other hosts, and the number of each."""

    def turn(self, turn: Turn) -> None:
        """The first of a routing is whole."""

    def dead(self, hosts: Collection[str]) -> None:
        """The links to these are dead, and no other one is. It is said again now and then, so that
        an outlet may look after itself.
        """


class Outlets:
    """All that there are."""

    def __init__(self, outlets: Sequence[Outlet]) -> None:
        self._outlets = outlets
        self._owed: set[tuple[int, Routing]] = set()  # which of them lacks something of which
        self._told: dict[tuple[int, str], str] = {}  # what is refused, in the log
        self._pause = PAUSE
        self._due = 0.0

    def know(self, numbers: Mapping[str, int]) -> None:
        for outlet in self._outlets:
            outlet.know(numbers)

    def turn(self, turn: Turn) -> None:
        for place in range(len(self._outlets)):
            self._turn(place, turn)

    def dead(self, hosts: Collection[str]) -> None:
        for place, outlet in enumerate(self._outlets):
            self._tries(place, "dead", partial(outlet.dead, hosts))

    def again(self, now: float, whole: Callable[[Routing], Turn]) -> None:
        """Whoever refused a turn is told all of that routing: to be called now and then. `now` is
        in seconds, and never goes back.
        """
        if not self._owed or now < self._due:
            return
        for place, routing in sorted(self._owed):
            self._turn(place, whole(routing))
        self._pause = min(2 * self._pause, LONG) if self._owed else PAUSE
        self._due = now + self._pause

    def _turn(self, place: int, turn: Turn) -> None:
        if not self._tries(place, turn.routing, partial(self._outlets[place].turn, turn)):
            self._owed.add((place, turn.routing))
        elif turn.whole:
            self._owed.discard((place, turn.routing))

    def _tries(self, place: int, what: str, tell: Callable[[], None]) -> bool:
        """Whether it was taken. Why not is told when that is new."""
        try:
            tell()
        except OSError as error:
            if self._told.get((place, what)) != str(error):
                self._told[place, what] = str(error)
                log.warning("refused, to be said again", what=what, error=str(error))
            return False
        self._told.pop((place, what), None)
        return True
