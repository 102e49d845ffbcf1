"""What rounds say: the best quartile, its interval, and the ratio of two systems."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seaway.bench.statistics import best_quartile, estimate, percentile, ratio

rounds = st.lists(st.floats(1, 1e6), min_size=1, max_size=30)


def test_the_best_quartile_is_the_mean_of_the_lowest_quarter_where_lower_is_better():
    assert 1.5 == best_quartile("lower")([9, 1, 7, 2, 8, 5, 6, 4])


def test_the_best_quartile_is_the_mean_of_the_highest_quarter_where_higher_is_better():
    assert 8.5 == best_quartile("higher")([9, 1, 7, 2, 8, 5, 6, 4])


def test_one_round_is_its_own_best_quartile():
    assert 3 == best_quartile("lower")([3])


def test_noise_in_most_rounds_does_not_move_the_best_quartile():
    quiet, disturbed = [10.0] * 20, [10.0] * 6 + [35.0] * 14

    assert best_quartile("lower")(quiet) == best_quartile("lower")(disturbed)


def test_a_percentile_is_a_value_that_was_measured():
    hundred = list(range(1, 101))

    assert [50, 99, 100] == [percentile(hundred, share) for share in (0.5, 0.99, 1)]
    assert 7 == percentile([7], 0.99)


@given(rounds)
def test_the_estimate_lies_in_its_interval(values):
    found = estimate(values, best_quartile("lower"))

    assert found.low <= found.value <= found.high


@given(rounds)
def test_a_system_is_as_fast_as_itself(values):
    found = ratio(values, values, best_quartile("lower"))

    assert 1 == found.value
    assert found.low <= 1 <= found.high


def test_the_interval_narrows_where_rounds_agree():
    found = ratio([11.0] * 20, [10.0] * 20, best_quartile("lower"))

    assert (1.1, 1.1, 1.1) == found


def test_the_same_rounds_give_the_same_interval():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]

    assert estimate(values, best_quartile("lower")) == estimate(values, best_quartile("lower"))
