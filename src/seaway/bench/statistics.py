"""What a handful of noisy rounds says: the best quartile, and how far it could be off.

Noise on a shared machine only ever makes a round worse, so the best quartile is what the system
can do. The interval is a bootstrap over rounds with a fixed seed: the same rounds give the same
interval.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeVar

Better = Literal["lower", "higher"]
Round = TypeVar("Round")  # what one round gave: a figure, or several

RESAMPLES = 1000
TAIL = 0.025  # on each side: a 95 % interval
SEED = 1


class Estimate(NamedTuple):
    value: float
    low: float
    high: float


def best_quartile(better: Better) -> Callable[[Sequence[float]], float]:
    """The mean of the best quarter of the rounds, of one round at least."""

    def of(values: Sequence[float]) -> float:
        ordered = sorted(values, reverse=better == "higher")
        best = ordered[: math.ceil(len(ordered) / 4)]
        return sum(best) / len(best)

    return of


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def estimate(values: Sequence[Round], statistic: Callable[[Sequence[Round]], float]) -> Estimate:
    generator = random.Random(SEED)
    resampled = [statistic(_resample(values, generator)) for _ in range(RESAMPLES)]
    return _estimate(statistic(values), resampled)


def ratio(
    values: Sequence[Round],
    reference: Sequence[Round],
    statistic: Callable[[Sequence[Round]], float],
) -> Estimate:
    """How much more the one is than the other; both are resampled."""
    generator = random.Random(SEED)
    resampled = [
        statistic(_resample(values, generator)) / statistic(_resample(reference, generator))
        for _ in range(RESAMPLES)
    ]
    return _estimate(statistic(values) / statistic(reference), resampled)


def _resample(values: Sequence[Round], generator: random.Random) -> list[Round]:
    return generator.choices(values, k=len(values))


def _estimate(value: float, resampled: Sequence[float]) -> Estimate:
    low, high = percentile(resampled, TAIL), percentile(resampled, 1 - TAIL)
    return Estimate(value, min(low, value), max(high, value))
