"""How long nothing came back, by what came back and when it was sent."""

from __future__ import annotations

import pytest

from seaway.bench.heartbeat import INTERVAL, LATE, STEADY, Pulse


def beats(pulse: Pulse, first: float, last: float) -> None:
    """All that were sent from then to then came back."""
    for number in range(round((last - first) / INTERVAL) + 1):
        pulse.beat(first + number * INTERVAL)


def test_where_all_comes_back_there_is_no_outage():
    pulse = Pulse(0.0)
    beats(pulse, 0.0, 5.0)
    assert 0.0 == pulse.longest
    assert pulse.is_steady(5.01, 3.0)


def test_an_outage_is_as_long_as_nothing_came_back():
    pulse = Pulse(0.0)
    beats(pulse, 0.0, 1.0)
    pulse.mark()
    beats(pulse, 1.6, 3.0)
    assert pytest.approx(0.6 - INTERVAL) == pulse.longest
    pulse.mark()
    assert 0.0 == pulse.longest


@pytest.mark.parametrize(
    ("now", "since", "steady"),
    [
        (2.0 + STEADY, 0.0, False),  # it has just come back
        (2.02 + STEADY, 0.0, True),
        (2.02 + STEADY, 2.0, True),
        (2.02 + STEADY, 2.5, False),  # it was asked a moment ago: what is cut may be felt yet
        (3.5 + STEADY, 0.0, True),
        (4.5 + STEADY, 0.0, False),  # nothing comes back any more
    ],
)
def test_an_outage_is_over_once_all_comes_back_for_a_while(now, since, steady):
    pulse = Pulse(0.0)
    beats(pulse, 0.0, 1.0)
    beats(pulse, 2.0, min(now, 3.5 + STEADY))
    assert steady == pulse.is_steady(now, since)


def test_what_comes_late_is_in_no_order():
    pulse = Pulse(0.0)
    for sent in (0.01, 0.03, 0.02, 0.04):
        pulse.beat(sent)
    assert pulse.is_steady(0.04 + STEADY, 0.0) is (STEADY < LATE)
    assert pulse.longest <= INTERVAL
