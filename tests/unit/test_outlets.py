"""An outlet that refuses keeps nobody from being told, and is told again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import structlog

from seaway.model.facts import Path, Routing
from seaway.model.routing import Turn
from seaway.routed.outlets import Outlets


class Shelf:
    """An outlet that is full, or not."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.turns: list[Turn] = []
        self.buried: list[Collection[str]] = []

    def know(self, numbers: Mapping[str, int]) -> None:
        """Any will do."""

    def turn(self, turn: Turn) -> None:
        self._refuse()
        self.turns.append(turn)

    def dead(self, hosts: Collection[str]) -> None:
        self._refuse()
        self.buried.append(hosts)

    def _refuse(self) -> None:
        if self.full:
            raise OSError("full")


def turn(via: str, *, whole: bool = False, routing: Routing = "hops") -> Turn:
    return Turn(routing=routing, paths=(Path(host="b", via=via),), whole=whole)


def test_what_one_refuses_the_others_are_told_and_it_later_as_a_whole():
    full, good = Shelf(full=True), Shelf(full=False)
    outlets = Outlets([full, good])
    outlets.turn(turn("b", whole=True))
    outlets.dead({"c"})
    assert ([], [turn("b", whole=True)]) == (full.turns, good.turns)
    assert ([], [{"c"}]) == (full.buried, good.buried)

    full.full = False
    outlets.turn(turn("d"))  # of the rest it does not know yet
    outlets.again(0.0, lambda routing: turn("d", whole=True, routing=routing))
    outlets.again(99.0, lambda routing: turn("e", whole=True, routing=routing))
    assert [turn("d"), turn("d", whole=True)] == full.turns
    assert [turn("b", whole=True), turn("d")] == good.turns


def test_what_is_refused_is_told_once_until_it_is_taken():
    shelf = Shelf(full=True)
    outlets = Outlets([shelf])
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            outlets.dead({"c"})
        assert 1 == len(logs)
        shelf.full = False
        outlets.dead({"c"})
        shelf.full = True
        outlets.dead({"c"})
    assert 2 == len(logs)


def test_what_is_refused_for_long_is_said_more_and_more_seldom():
    outlets, asked = Outlets([Shelf(full=True)]), []

    def whole(routing: Routing) -> Turn:
        asked.append(routing)
        return turn("b", whole=True)

    outlets.turn(turn("b"))
    for half in range(240):
        outlets.again(half / 2, whole)
    assert 5 < len(asked) < 15
