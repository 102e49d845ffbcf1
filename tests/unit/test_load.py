"""A busy link is kept away from, and not run back to: quality as announced, by simulated traffic.

            ┌── link 0 ──┐
demands ────┤            ├────      each goes by the link that is announced to cost it less
            └── link 1 ──┘
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seaway.routed.quality import AGAIN, FIRST, HOLD, LASTS, LONGEST, QUEUE, SPELL, SPELLS, Quality

FLOOR = 400.0  # microseconds, of both links
BUFFER = 20_000.0  # that packets wait at most
PROBES = 5  # a second
HOUR = 3600
calm = settings(deadline=None, max_examples=8, phases=[Phase.explicit, Phase.generate])


@dataclass
class Demand:
    size: float  # of what a link carries
    bias: float = 1.0  # link 1 is so many times as long for it

    link: int = 0


@dataclass
class Net:
    """Demands that never end, and what others send by each link, whatever is announced."""

    demands: list[Demand]
    others: tuple[float, float] = (0.0, 0.0)
    told: bool = True  # devices say how fast they are
    seed: int = 1
    now: int = 0
    moves: list[int] = field(default_factory=list)  # when a demand went another way

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.links = [Quality(), Quality()]
        for link in self.links:
            link.measured(FLOOR)
            link.counted(lost=False)
            link.announced()

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            for demand in self.demands:
                self._choose(demand)
            for number, link in enumerate(self.links):
                self._carry(link, self.load(number))

    def load(self, number: int) -> float:
        return self.others[number] + sum(d.size for d in self.demands if d.link == number)

    def _choose(self, demand: Demand) -> None:
        first, second = (link.announced().cost for link in self.links)
        link = int(second * demand.bias < first)
        if link != demand.link:
            demand.link = link
            self.moves.append(self.now)

    def _carry(self, link: Quality, load: float) -> None:
        waits = BUFFER if load >= 1 else min(BUFFER, 12 * load / (1 - load))
        lost = max(0.0, 1 - 1 / load) if load else 0.0
        for _ in range(PROBES):
            if self.chance.random() < lost:
                link.counted(lost=True)
            else:
                link.counted(lost=False)
                link.measured(FLOOR * self.chance.uniform(1.0, 1.3) + waits)
        link.load = min(100.0, 100 * load) if self.told else 0.0
        link.look()


some = st.builds(Demand, st.floats(0.05, 1.6), st.sampled_from([1.0, 1.5, 4.0]))


@given(
    st.lists(some, min_size=1, max_size=5),
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
    st.booleans(),
    st.integers(0, 99),
)
@calm
def test_under_constant_demand_paths_move_ever_more_seldom(demands, others, told, seed):
    """Even where no choice is right: where one link is too small for all, and so is the other.
    Several that are too large together move each other: more often, but never as looks come.
    """
    net = Net(demands, others, told, seed)
    net.run(HOUR)
    last = [now for now in net.moves if now > HOUR / 2]

    alone = len(demands) == 1
    assert len(net.moves) / len(demands) <= (16 if alone else HOUR / HOLD)
    assert len(last) / len(demands) <= (8 if alone else HOUR / HOLD / 2)


@given(st.floats(0.05, 0.48), st.booleans(), st.integers(0, 99))
@calm
def test_what_keeps_nobody_waiting_moves_nothing(size, told, seed):
    net = Net([Demand(size / 2), Demand(size / 2)], told=told, seed=seed)
    net.run(HOUR // 4)

    assert [] == net.moves


@given(st.floats(0.6, 0.95), st.floats(0.05, 0.45), st.integers(0, 99))
@calm
def test_away_from_what_others_send_it_moves_once(others, size, seed):
    net = Net([Demand(size)], (others, 0.0), seed=seed)
    net.run(HOUR // 4)

    assert 1 == len(net.moves)
    assert net.moves[0] <= 3 * LASTS


@pytest.mark.parametrize("told", [True, False], ids=["by its device", "by round trips"])
def test_load_that_ended_is_forgotten_late_and_at_last(told):
    net = Net([Demand(0.3)], (1.0, 0.0), told=told)
    net.run(60)
    net.others = (0.0, 0.0)
    assert 1 == len(net.moves)

    net.run(HOLD // 2 - 2)
    assert 1 == len(net.moves)
    net.run(60)
    assert 2 == len(net.moves)
    net.run(LONGEST)
    assert 2 == len(net.moves)


def test_the_end_of_load_is_told_later_each_time_that_it_is_back_at_once():
    """Up to a bound; and as soon as ever once it stayed away for as long."""
    link = Quality()
    _second(link, 0)
    waits = []
    for _ in range(4):
        assert LASTS >= _seconds_until_told(link, 90)
        waits.append(_seconds_until_told(link, 0))
    assert [HOLD, AGAIN * HOLD, LONGEST, LONGEST] == waits

    for _ in range(LONGEST):
        _second(link, 0)
    _seconds_until_told(link, 90)
    assert HOLD == _seconds_until_told(link, 0)


def _seconds_until_told(link: Quality, load: float) -> int:
    """Of this load, from now on; 0: it was told before."""
    for seconds in range(2 * LONGEST):
        if bool(load) == bool(link.announced().load):
            return seconds
        _second(link, load)
    raise AssertionError(link.announced())


def _second(link: Quality, load: float) -> None:
    link.load = load
    link.measured(FLOOR)
    link.counted(lost=False)
    link.announced()
    link.look()


def test_waiting_makes_a_link_dearer_and_no_longer():
    """By hops, ties are for the shorter way: it does not change with the traffic."""
    net = Net([], told=False)
    net.run(10)
    before = [link.announced() for link in net.links]
    net.others = (1.0, 0.0)
    net.run(30)
    busy, free = (link.announced() for link in net.links)

    assert before[1] == free
    assert before[0].rtt == busy.rtt
    assert BUFFER / 1.3 < busy.cost < BUFFER * 1.5
    assert 90 < busy.load


def test_a_way_that_is_longer_for_good_is_longer_by_hops_too():
    link = Quality()
    for round_trip in (1_000.0, 9_000.0):
        for _ in range(SPELL * SPELLS + 1):
            link.measured(round_trip)
            link.announced()
            link.look()
    said = link.announced()

    assert 9_000 == pytest.approx(said.rtt, rel=0.25)
    assert (said.rtt, 0) == (said.cost, said.load)


@given(st.floats(FIRST, 50_000), st.floats(0.0, 0.5), st.integers(0, 99))
@calm
def test_hosts_that_are_busy_make_some_probes_late_and_that_is_no_load(floor, late, seed):
    chance, link = Random(seed), Quality()
    for _ in range(600):
        for _ in range(10):
            waits = 30_000 if chance.random() < late else QUEUE / 2
            link.measured(floor + chance.uniform(0, waits))
        link.announced()
        link.look()

    assert (link.announced().rtt, 0) == (link.announced().cost, link.announced().load)
