"""Whom `routed` dials, and when again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from seaway.routed.streams import LONG, Sessions


class Dialling:
    """Nobody answers."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sessions = Sessions("b", None, None, self._start)  # type: ignore[arg-type]
        self.sessions.want({"a": "192.0.2.1", "c": "192.0.2.3"})

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        work.close()
        self.names.append(name.removeprefix("dial "))

    def until(self, end: float, begin: float = 0.0) -> list[str]:
        """Who was dialled from then on, at two looks a second."""
        self.names.clear()
        for half in range(int(2 * begin), int(2 * end)):
            self.sessions.dial_missing(half / 2)
        return list(self.names)


@pytest.fixture
def dialling() -> Dialling:
    return Dialling()


def test_the_first_of_two_dials_at_once_and_the_second_when_he_was_not(dialling):
    assert ["c"] == dialling.until(1.5)
    assert ["a"] == dialling.until(3.0, 1.5)


def test_who_does_not_answer_is_dialled_more_and_more_seldom(dialling):
    dialling.until(100.0)
    assert 2 >= dialling.until(100.0 + LONG, 100.0).count("c")


def test_who_answers_probes_again_is_dialled_at_once(dialling):
    dialling.until(100.0)
    dialling.sessions.see("c")
    assert "c" in dialling.until(100.5, 100.0)


def test_who_was_dialled_just_now_is_not_dialled_again(dialling):
    dialling.until(0.5)
    dialling.sessions.see("c")
    assert [] == dialling.until(1.5, 0.5)
