"""When a link is down and when it is not, by a clock that the test moves."""

from __future__ import annotations

from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probed import World, always, announced, until
from seaway.model.links import Neighbour
from seaway.routed.probes import (
    DEFAULT,
    FAST,
    FIRST_HITS,
    FRESH,
    HITS,
    LOOK,
    NEW,
    SELDOM,
    TIRED,
    Prober,
)

calm = settings(deadline=None, max_examples=60)
timings = pytest.mark.parametrize("timing", [DEFAULT, FAST], ids=["default", "fast"])
PROMISED = {DEFAULT: 1.0, FAST: 0.3}  # seconds until traffic is on another path
REST = 0.06  # of which so many are for telling others, computing and writing


# ── a dead link is noticed ──


@timings
@given(takes=st.floats(0.00001, 0.02), dies=st.floats(1.0, 2.0), seed=st.integers(0, 1 << 32))
@calm
def test_a_dead_link_is_noticed_in_time(timing, takes, dies, seed):
    """Whenever it dies, and however unevenly the prober wakes up while it is on time."""
    world, jitter = World(timing, until(dies, takes)), Random(seed)
    world.run(4.0, (timing.interval * jitter.uniform(0.9, 1.1) for _ in count()))

    (_, (down, is_up)) = world.turns
    assert not is_up
    assert down - dies <= PROMISED[timing] - REST


@timings
def test_a_link_that_takes_long_is_noticed_later_by_as_much(timing):
    world = World(timing, until(5.0, 0.2))
    world.run(8.0)

    assert 5.0 < world.turns[-1][0] <= 5.0 + PROMISED[timing] + 2 * 0.2


@timings
@given(st.integers(0, 1 << 32))
@calm
def test_a_prober_that_is_late_each_time_notices_it_all_the_same(timing, seed):
    chance = Random(seed)
    world = World(timing, until(3.0, 0.0001))
    world.run(20.0, (timing.interval * chance.uniform(1.5, 4.0) for _ in count()))

    assert [True, False] == [up for _, up in world.turns]
    assert world.turns[-1][0] - 3.0 <= 4.0 * 2 * PROMISED[timing]


# ── and no other one is taken for dead ──


@timings
@given(st.lists(st.floats(0.0, 3.0), max_size=60), st.floats(0.00001, 0.03))
@calm
def test_a_prober_that_sleeps_counts_no_loss(timing, sleeps, takes):
    """Its answers came, and waited for it."""
    world = World(timing, always(takes))
    world.run(2.0)
    world.run(30.0, sleeps)

    assert [True] == [up for _, up in world.turns]


@timings
@given(st.lists(st.tuples(st.floats(0.15, 3.0), st.floats(0.0, 0.9)), max_size=40))
@calm
def test_neither_does_a_machine_that_stands_still(timing, stalls):
    """What came meanwhile is delivered after the prober runs again: within an interval."""
    spells, when = [], 2.0
    for length, lag in stalls:
        spells.append((when, when + length, lag * timing.interval))
        when += length + timing.interval * 4

    def way(now: float) -> float:
        for start, end, lag in spells:
            if start - timing.interval <= now <= end:
                return max(0.0001, end - now + lag)
        return 0.0001

    world = World(timing, way)
    world.run(1.9)
    for start, end, _ in spells:
        while world.now + timing.interval < start:
            world.wake(timing.interval)
        world.wake(max(end - world.now, timing.interval))
        assert 0 == world.prober.links["b"].quality.loss
    world.run(2.0)

    assert [True] == [up for _, up in world.turns]


@timings
@given(st.lists(st.floats(0.5, 3.0), min_size=2, max_size=80), st.floats(0.0, 0.45))
@calm
def test_neither_does_a_machine_that_is_busy_all_the_time(timing, sleeps, lag):
    """Each answer is delivered only some time after the prober woke up, as it has to wait too."""
    world = World(timing, always(0.0001))
    world.run(1.0)
    seconds = [timing.interval * intervals for intervals in sleeps]
    for sleep, following in pairwise(seconds):
        world.way = always(following + lag * timing.interval)
        world.wake(sleep)

    assert [True] == [up for _, up in world.turns]


@timings
@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_a_link_that_loses_some_stays_up_for_an_hour(timing, loss):
    chance = Random(7)
    world = World(timing, lambda _: None if chance.random() < loss else 0.0001)
    world.run(3600.0)

    assert [True] == [up for _, up in world.turns]


@timings
def test_a_link_that_suddenly_takes_longer_than_an_interval_is_not_dead(timing):
    """Its queue is full: answers come, though they are counted as lost first."""
    longer = 2 * timing.interval
    world = World(timing, lambda now: 0.001 if now < 5.0 else longer)
    world.run(10.0)

    assert [True] == [up for _, up in world.turns]
    assert 0 == world.prober.links["b"].quality.loss


# ── up again ──


def test_a_new_link_is_up_after_some_answers():
    world = World(DEFAULT, always(0.0001))
    world.run(1.0)

    assert [((FIRST_HITS) * DEFAULT.interval, True)] == [
        (pytest.approx(when - DEFAULT.interval), up) for when, up in world.turns
    ]


def test_a_new_link_is_not_dead_until_it_was_silent_for_long():
    world, deaf = World(DEFAULT, always(0.0001)), World(DEFAULT, lambda _: None)
    for at in (world, deaf):
        at.run(NEW - 0.5)
        assert set() == at.prober.dead()
    deaf.run(1.0)
    assert {"b"} == deaf.prober.dead()


def test_a_link_that_fell_is_dead_until_it_is_up_again():
    world = World(DEFAULT, lambda now: 0.0001 if now < 1.0 or now >= 3.0 else None)
    world.run(2.0)
    assert {"b"} == world.prober.dead()
    world.run(1.0 + HITS * DEFAULT.interval / 2)
    assert {"b"} == world.prober.dead()
    world.run(2 * HITS * DEFAULT.interval)
    assert set() == world.prober.dead()


def test_a_link_that_answers_now_and_then_is_not_up():
    world = World(DEFAULT, lambda now: 0.0001 if round(now * 10) % 2 else None)
    world.run(60.0)

    assert [] == world.turns


def test_one_that_falls_again_and_again_has_to_hold_for_longer_each_time():
    turns = falling(8)
    waits = [up - down for (down, _), (up, is_up) in pairwise(turns) if is_up]
    assert waits == sorted(waits)
    assert waits[0] < 2 * HITS * DEFAULT.interval + 1
    assert waits[-1] > 5.0


def falling(times: int) -> list[tuple[float, bool]]:
    """Down for a second, each time that it was up for one."""
    world = World(DEFAULT, always(0.0001))
    world.run(1.0)
    for _ in range(times):
        world.way = lambda _: None
        world.run(1.0)
        world.way = always(0.0001)
        while not world.up:
            world.wake(DEFAULT.interval)
        world.run(1.0)
    return world.turns


def test_what_was_long_ago_is_forgotten():
    world = World(DEFAULT, always(0.0001))
    world.run(1.0)
    world.way = lambda _: None
    world.run(2.0)
    world.way = always(0.0001)
    world.run(70.0)

    assert 0 == world.prober.links["b"].falls


def test_one_that_is_down_for_long_is_probed_seldom_until_it_answers():
    world = World(DEFAULT, lambda _: None)
    world.run(TIRED + 1)
    sent = [len(world.prober.tick(world.now + n * DEFAULT.interval)) for n in range(1, 31)]
    assert 30 // SELDOM == sum(sent)

    world.now += 31 * DEFAULT.interval
    world.way = always(0.0001)
    world.run(SELDOM * DEFAULT.interval + 1.0)
    assert world.up


# ── what comes from elsewhere ──


def test_an_answer_counts_once():
    prober = Prober(DEFAULT, count(7).__next__, lambda _: 0)
    prober.choose({"b"})
    (probe,) = prober.tick(0.0)

    assert (7, "b") == (probe.stamp, probe.host)
    assert prober.answer(7, "b", 0.01)
    assert not prober.answer(7, "b", 0.02)


def test_an_answer_that_nobody_asked_for_or_of_another_host_is_none():
    prober = Prober(DEFAULT, count(7).__next__, lambda _: 0)
    prober.choose({"b", "c"})
    asked = {probe.host: probe.stamp for probe in prober.tick(0.0)}

    assert not prober.answer(99, "b", 0.01)
    assert not prober.answer(asked["b"], "c", 0.01)
    assert prober.answer(asked["b"], "b", 0.01)


def test_a_host_that_is_not_probed_any_more_is_not_announced():
    prober = Prober(DEFAULT, count().__next__, lambda _: 0)
    prober.choose({"b", "c"})
    (probe, _) = prober.tick(0.0)
    for tenths in range(1, 31):
        prober.tick(tenths / 10)
    assert (Neighbour("b", up=False), Neighbour("c", up=False)) == prober.neighbours("bc")
    prober.changed = False
    prober.choose({"c"})

    assert prober.changed
    assert (Neighbour("c", up=False),) == prober.neighbours(["b", "c"])
    prober.answer(probe.stamp, probe.host, 0.01)
    prober.tick(1.0)


def test_nothing_is_kept_of_probes_that_were_never_answered():
    world = World(DEFAULT, lambda _: None)
    world.run(20.0)

    assert len(world.prober._sent) + len(world.prober._overdue) < 40


# ── what is announced ──


def test_a_link_that_is_down_has_no_figures():
    world = World(DEFAULT, lambda _: None)
    world.run(FRESH + LOOK)

    assert Neighbour("b", up=False) == announced(world)


def test_nothing_is_said_of_a_new_link_before_it_was_tried():
    """Its failure would have all hosts compute, and its two ends be reached by a detour."""
    world = World(DEFAULT, always(0.001))
    assert () == world.prober.neighbours(["b"])
    world.run(DEFAULT.interval * (FIRST_HITS + 1))

    assert announced(world).up


@given(st.integers(0, 1 << 32))
@calm
def test_what_moves_a_little_is_announced_once(seed):
    chance = Random(seed)
    world = World(DEFAULT, lambda _: chance.uniform(0.0017, 0.0023))
    world.run(2.0)
    world.prober.changed = False
    said = announced(world)
    world.run(120.0)

    assert not world.prober.changed
    assert said == announced(world)


def test_the_first_answers_of_a_new_link_may_be_late_and_are_not_what_is_believed_of_it():
    """They wait until the kernel knows the neighbour."""
    world = World(DEFAULT, lambda now: 0.5 if now < 1.0 else 0.04)
    world.run(0.8)
    assert announced(world).cost > 160_000
    world.run(1.7)
    assert 40_000 == pytest.approx(announced(world).cost, rel=0.2)


def test_a_longer_way_is_announced_when_it_lasts():
    world = World(DEFAULT, lambda now: 0.001 if now < 10.0 or 20.0 < now < 21.2 else 0.003)
    world.run(9.0)
    before = announced(world)
    world.run(10.0)
    after = announced(world)
    assert 1.5 * before.cost < after.cost

    world.prober.changed = False
    world.run(20.0)
    assert not world.prober.changed


def test_loss_makes_a_link_cost_more_than_its_round_trip_time():
    chance = Random(3)
    world = World(DEFAULT, lambda _: None if chance.random() < 0.04 else 0.001)
    world.run(120.0)

    neighbour = announced(world)
    assert neighbour.cost > 2 * neighbour.rtt
    assert 0 < neighbour.loss < 10


def test_so_does_load():
    world = World(DEFAULT, always(0.001))
    world.run(5.0)
    before = announced(world)
    world.prober.load("b", 80.0)
    world.run(10.0)

    assert announced(world).cost == pytest.approx(5 * before.cost, rel=0.25)
    assert (80, before.rtt) == (announced(world).load, announced(world).rtt)


def test_what_was_lost_while_it_was_down_is_not_held_against_it():
    world = World(DEFAULT, always(0.001))
    world.run(10.0)
    before = announced(world)
    world.way = lambda _: None
    world.run(20.0)
    world.way = always(0.001)
    world.run(5.0)

    assert before == announced(world)
