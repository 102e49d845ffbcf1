"""A black hole is told from loss, whatever is lost: packets of full size and their small twins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probed import SIZE, Way, World, always, announced, until
from seaway.model.links import Neighbour
from seaway.routed.holes import LEAST, PASSED, Passage, row
from seaway.routed.probes import DEFAULT, FAST, FULL, LATE, Timing
from seaway.routed.quality import Quality

calm = settings(deadline=None, max_examples=25)
timings = pytest.mark.parametrize("timing", [DEFAULT, FAST], ids=["default", "fast"])
seeds = st.integers(0, 1 << 32)
FOUND = {DEFAULT: 8.0, FAST: 5.0}  # seconds in which a black hole is found, where nothing is lost


def lossy(chance: Random, loss: float) -> Way:
    return lambda _: None if chance.random() < loss else 0.0002


def holes(world: World, seconds: float) -> Iterator[tuple[float, int]]:
    """What is announced, whenever it is otherwise."""
    end, said = world.now + seconds, announced(world).hole if world.up else 0
    while world.now < end:
        world.wake(world.prober.timing.interval)
        now = announced(world).hole if world.up else said
        if now != said:
            yield world.now, now
        said = now


# ── by the prober's clock ──


@timings
@given(st.floats(10.0, 12.0))
@calm
def test_a_black_hole_is_found_in_time_and_so_is_that_it_is_gone(timing: Timing, begins: float):
    def large(now: float) -> float | None:
        return None if begins <= now < begins + 20 else 0.0002

    world = World(timing, always(0.0002), large)
    (found, size), (gone, none) = holes(world, 60.0)

    assert (SIZE, 0) == (size, none)
    assert LATE < found - begins < FOUND[timing]
    # What was swallowed before is known by then, and every other one is for the search.
    assert gone - begins - 20 < LATE + 2 * (PASSED + 1) * FULL * timing.interval
    assert [True] == [up for _, up in world.turns]


@timings
@given(st.floats(0.0, 0.6), seeds)
@calm
def test_what_is_lost_alike_is_no_black_hole(timing, loss, seed):
    chance = Random(seed)
    world = World(timing, lossy(chance, loss), lossy(chance, loss))
    assert [] == list(holes(world, 120.0))


@given(st.floats(0.0, 0.2), st.floats(0.1, 0.6), seeds)
@calm
def test_neither_is_it_if_large_ones_are_lost_more_often(small, more, seed):
    """As where single bits fall over, or a queue has no room for them: once it is seen that some
    pass.
    """
    chance = Random(seed)
    world = World(DEFAULT, lossy(chance, small), lossy(chance, small))
    world.run(30.0)
    for step in range(1, 7):
        world.large = lossy(chance, small + more * step / 6)
        world.run(10.0)
    assert [] == list(holes(world, 120.0))


@given(st.integers(1, 20), st.integers(1, 20), seeds)
@calm
def test_neither_are_bursts_that_take_all(silent, talks, seed):
    """In turn nothing passes for a while, and all: where it lasts the link is down."""
    chance = Random(seed)

    def way(now: float) -> float | None:
        return None if now % ((silent + talks) / 10) < silent / 10 else 0.0002

    world = World(DEFAULT, way, way)
    world.run(chance.random())
    assert [] == list(holes(world, 90.0))


@given(st.floats(0.0, 0.15), seeds)
@calm
def test_a_black_hole_is_found_though_much_is_lost_besides(loss, seed):
    chance = Random(seed)
    world = World(DEFAULT, lossy(chance, loss), lossy(chance, loss))
    world.run(30.0)
    world.large = lambda _: None
    assert SIZE in [hole for _, hole in holes(world, 120.0)]


@given(st.integers(80, SIZE - 1))
@calm
def test_what_does_pass_is_found_and_told_once(most):
    world = World(DEFAULT, always(0.0002), lambda _: None)
    world.most = most
    said = [hole for _, hole in holes(world, 200.0)]
    assert ([SIZE, most + 1] if most + 1 < SIZE else [SIZE]) == said
    world.most = SIZE
    assert [0] == [hole for _, hole in holes(world, 20.0)]


@given(st.integers(81, SIZE - 1), st.data())
@calm
def test_a_hole_that_takes_smaller_ones_than_before_is_told_anew(most, data):
    world = World(DEFAULT, always(0.0002), lambda _: None)
    world.most = most
    world.run(200.0)
    world.most = data.draw(st.integers(80, most - 1))
    assert [world.most + 1] == [hole for _, hole in holes(world, 250.0)]
    world.most = SIZE
    assert [0] == [hole for _, hole in holes(world, 20.0)]


@given(st.integers(80, SIZE - 1), st.floats(0.0, 0.1), seeds)
@calm
def test_so_it_is_where_much_is_lost(most, loss, seed):
    world = World(DEFAULT, lossy(Random(seed), loss), lambda _: None)
    world.most = most
    world.run(900.0)
    assert most + 1 == world.prober.links["b"].passage.hole


@given(st.lists(st.floats(0.0, 3.0), max_size=80))
@calm
def test_a_prober_that_sleeps_finds_none(sleeps):
    world = World(DEFAULT, always(0.0002), always(0.0002))
    world.run(2.0)
    world.run(60.0, sleeps)
    assert 0 == announced(world).hole


def test_large_ones_that_take_longer_come_through():
    """As on a line of few bits a second."""
    world = World(DEFAULT, always(0.05), always(1.5))
    assert [] == list(holes(world, 60.0))


def test_a_link_that_is_down_is_no_black_hole_and_one_that_was_one_still_is():
    world = World(DEFAULT, until(20.0, 0.0002), lambda _: None)
    world.run(30.0)
    assert Neighbour("b", up=False) == announced(world)
    world.way = always(0.0002)
    world.run(2.0)
    assert (True, SIZE) == (world.up, announced(world).hole)


def test_it_is_known_to_one_that_begins_anew():
    world = World(DEFAULT, always(0.0002), lambda _: None)
    world.prober.resume([Neighbour("b", True, 100, 100, hole=SIZE)])
    assert SIZE == announced(world).hole
    world.large = always(0.0002)
    assert [0] == [hole for _, hole in holes(world, 10.0)]


def test_a_smaller_size_is_tried_when_the_mtu_is_lowered():
    world = World(DEFAULT, always(0.0002), lambda _: None)
    world.run(20.0)
    assert SIZE == announced(world).hole
    world.size, world.most = 1450, 1400
    assert 1401 in [hole for _, hole in holes(world, 200.0)]
    world.size = 1400
    assert [0] == [hole for _, hole in holes(world, 10.0)]


def test_few_are_sent_one_to_each_in_its_turn():
    world = World(DEFAULT, always(0.0002), always(0.0002))
    world.prober.choose({f"h{number}" for number in range(FULL)})
    sent = []
    for tick in range(1, 61):
        for probe in world.prober.tick(tick * DEFAULT.interval):
            world.prober.answer(probe.stamp, probe.host, tick * DEFAULT.interval)
            if probe.size:
                sent.append((tick, probe.host))
    rounds = [tick for tick, _ in sent]
    assert all(after - before == 1 for before, after in pairwise(rounds))
    assert 50 < len(sent) <= 60


def test_where_no_size_is_known_none_are_sent():
    world = World(DEFAULT, always(0.0002))
    assert {0} == {p.size for tick in range(60) for p in world.prober.tick(tick / 10)}


def test_an_answer_of_full_size_counts_once_and_for_nothing_else():
    world = World(DEFAULT, always(0.0002), lambda _: None)
    world.run(2.0)
    before = world.prober.links["b"].hits
    (full, *_) = world.prober._pairs
    assert not world.prober.answer(full, "c", world.now)
    assert world.prober.answer(full, "b", world.now)
    assert not world.prober.answer(full, "b", world.now)
    assert before == world.prober.links["b"].hits


def test_nothing_is_kept_of_pairs_that_were_never_answered():
    world = World(DEFAULT, always(0.0002), lambda _: None)
    world.run(30.0)
    assert len(world.prober._pairs) <= LATE / DEFAULT.interval / FULL + 1


# ── by pairs ──


def passage(*pairs: tuple[bool, bool], loss: float = 0.0) -> tuple[Passage, list[bool]]:
    """With what it said to each: whether the large one and the small one were answered."""
    made = Passage()
    made.tries(SIZE)
    return made, [made.learn(SIZE, large=large, small=small, loss=loss) for large, small in pairs]


@given(st.lists(st.tuples(st.floats(0.0, 0.95), st.integers(5, 200)), max_size=6), seeds)
@calm
def test_whatever_is_lost_alike_and_however_it_changes_is_no_black_hole(spells, seed):
    """As if no link were ever down: ten small ones to each large one."""
    chance, quality, made = Random(seed), Quality(), Passage()
    for loss, pairs in spells:
        for _ in range(pairs):
            lost = [chance.random() < loss for _ in range(FULL)]
            for one in lost:
                quality.counted(lost=one)
            size, large = made.tries(SIZE), chance.random() >= loss
            made.learn(size, large=large, small=not lost[0], loss=quality.chance)
    assert 0 == made.hole


def test_so_many_in_a_row_are_a_black_hole_and_pairs_that_were_lost_do_not_count():
    swallowed, lost = (False, True), (False, False)
    made, said = passage(*[swallowed, lost] * LEAST)
    assert [False] * (2 * LEAST - 2) + [True, False] == said
    assert SIZE == made.hole


def test_one_that_passes_ends_the_row():
    made, said = passage(*[(False, True)] * (LEAST - 1), (True, True), *[(False, True)] * 4)
    assert not any(said)
    assert 0 == made.hole


def test_what_is_not_tried_any_more_tells_nothing():
    made, _ = passage(*[(False, True)] * (LEAST - 1))
    made.tries(1400)
    assert not made.learn(SIZE, large=False, small=True, loss=0.0)
    assert not made.learn(1400, large=False, small=True, loss=0.0)
    assert 0 == made.hole


def test_the_more_is_lost_the_longer_the_row():
    rows = [row(percent / 100) for percent in range(100)]
    assert rows == sorted(rows)
    assert (LEAST, 7, 30) == (rows[1], rows[5], rows[50])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200), st.floats(0.0, 0.9))
@calm
def test_it_says_when_it_is_otherwise_and_only_then(pairs, loss):
    made, before = Passage(), 0
    for large, small in pairs:
        said = made.learn(made.tries(SIZE), large=large, small=small, loss=loss)
        assert said == (made.hole != before)
        before = made.hole
