"""Backends that left: until when their connections go on is kept as long as it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
import structlog

from cast import World
from seaway.bpf.leaving import MOST, Leaving
from seaway.bpf.table import Table


class Clock:
    now = 10**9

    def __call__(self) -> int:
        return self.now


class Rollout:
    """The map, on its stage."""

    def __init__(self, world: World) -> None:
        self.clock = Clock()
        self._run = world.place.run
        self._table = Table(world.plane.maps["leaving"])
        self._numbers = count()
        self.clear()
        self._leaving = self._run(Leaving, self._table, self.clock)

    def keys(self, number: int) -> list[bytes]:
        return [next(self._numbers).to_bytes(40, "big") for _ in range(number)]

    def note(self, keys: list[bytes], seconds: float) -> None:
        self._run(self._leaving.note, dict.fromkeys(keys, seconds))

    def there(self) -> dict[bytes, int]:
        found = self._run(lambda: list(self._table.elements()))
        return {key: int.from_bytes(value, "little") for key, value in found}

    def count_reads(self) -> list[None]:
        """Grows with each reading of the whole table from now on."""
        found: list[None] = []
        elements = self._table.elements

        def counting() -> Iterator[tuple[bytes, bytes]]:
            found.append(None)
            return elements()

        self._table.elements = counting  # type: ignore[method-assign]
        return found

    def clear(self) -> None:
        self._run(self._table.delete, list(self.there()))


@pytest.fixture
def rollout(world: World) -> Iterator[Rollout]:
    made = Rollout(world)
    yield made
    made.clear()


def test_it_is_noted_in_the_kernels_time(rollout):
    now, later = rollout.keys(2)
    rollout.note([now], 0)
    rollout.note([later], 1.5)
    assert {now: 0, later: 2_500_000_000} == rollout.there()


def test_in_a_large_rollout_none_is_lost_whose_time_is_not_over(rollout):
    kept = rollout.keys(20_000)
    rollout.note(kept, 60)
    for _ in range(6):
        rollout.note(rollout.keys(20_000), 5)
        rollout.clock.now += 6 * 10**9
        assert set(kept) <= rollout.there().keys()


def test_a_table_that_is_full_is_gone_through_again_only_once_somebody_s_time_is_over(rollout):
    """Else each change would take as long as that, until then."""
    rollout.note(rollout.keys(MOST - 1), 60)
    reads = rollout.count_reads()
    rollout.note(rollout.keys(1), 5)
    for _ in range(3):
        rollout.note(rollout.keys(1), 60)
    assert reads == []
    rollout.clock.now += 6 * 10**9
    after = rollout.keys(1)
    rollout.note(after, 60)
    assert (1, True) == (len(reads), set(after) <= rollout.there().keys())


def test_what_a_dead_agent_left_makes_room(rollout, world):
    rollout.note(rollout.keys(1000), 5)
    rollout.clock.now += 6 * 10**9
    after = rollout.keys(1)
    world.place.run(
        Leaving(Table(world.plane.maps["leaving"]), rollout.clock).note, dict.fromkeys(after, 1)
    )
    assert set(after) == rollout.there().keys()


def test_a_map_that_is_full_is_told(rollout):
    rollout.note(rollout.keys(MOST), 60)
    with structlog.testing.capture_logs() as told:
        rollout.note(rollout.keys(3), 60)
    assert [3] == [line["number"] for line in told]
    assert MOST == len(rollout.there())
