"""Which rounds count, told by a spin loop whose times are given."""

from __future__ import annotations

import os

from seaway.bench.pulse import rate
from seaway.bench.rounds import ENOUGH, PATIENCE, Ledger, Sample, pinned, rotated
from seaway.bench.traffic import timetable

CPU = max(os.sched_getaffinity(0))


def ledger(*spins: float) -> Ledger[float]:
    """With calibration loops that take these times, the last of them for ever."""
    times = list(spins)
    return Ledger(CPU, lambda: times.pop(0) if len(times) > 1 else times[0], lambda _: None)


def test_a_round_after_a_slow_loop_is_thrown_away_and_counted():
    found = ledger(1.0, 2.0, 1.0)
    found.measure("veth", lambda: 10.0)
    found.measure("veth", lambda: 11.0)

    assert [10.0, 11.0] == found.kept("veth")
    assert 1 == found.discarded("veth")


def test_a_faster_loop_later_on_throws_away_what_seemed_quiet():
    found = ledger(2.0, 1.0)
    found.measure("veth", lambda: 30.0)
    found.measure("veth", lambda: 10.0)

    assert [10.0] == found.kept("veth")
    assert 1 == found.discarded("veth")


def test_what_a_busy_machine_measured_is_told_and_not_kept():
    found = ledger(1.0, 5.0)
    found.calibrate()
    found.measure("veth", lambda: 30.0)

    assert [] == found.kept("veth")
    assert [30.0] == found.told("veth")
    assert PATIENCE + 1 == found.discarded("veth")
    assert "the machine was busy" in found.judge("veth")


def test_one_quiet_round_silences_the_busy_ones():
    found = ledger(1.0)
    found.calibrate()
    found.enter("veth", Sample(5.0, 30.0))
    found.enter("veth", Sample(1.0, 10.0))

    assert [10.0] == found.told("veth")


def test_too_few_rounds_decide_nothing():
    found = ledger(1.0)
    for _ in range(ENOUGH - 1):
        found.enter("veth", Sample(1.0, 10.0))
    found.calibrate()

    assert not found.is_enough("veth")
    assert "too few, 12 decide" == found.judge("veth")


def test_enough_rounds_may_decide():
    found = ledger(1.0)
    for _ in range(ENOUGH):
        found.enter("veth", Sample(1.0, 10.0))
    found.calibrate()

    assert found.is_enough("veth")
    assert "" == found.judge("veth")


def test_pinning_ends_with_its_block():
    before = os.sched_getaffinity(0)
    with pinned(CPU):
        assert {CPU} == os.sched_getaffinity(0)
    assert before == os.sched_getaffinity(0)


def test_every_system_is_first_in_turn():
    assert [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]] == [
        rotated(["a", "b", "c"], sweep) for sweep in range(4)
    ]


def test_sockperf_clients_are_awake_one_at_a_time():
    clients = [("veth", "udp_rr_p50"), ("seaway", "udp_rr_p50"), ("veth", "tcp_rr_p50")]
    acts = timetable(clients, 0.0)
    awake = [act for act in acts if act.what != "start"]

    assert [("calibrate", c) for c in clients] == [(a.what, a.client) for a in awake[::2]]
    assert [("end", c) for c in clients] == [(a.what, a.client) for a in awake[1::2]]


def test_a_step_that_takes_longer_than_the_round_is_measured_all_the_same():
    assert 0 < rate(lambda: 1, 0.0)
