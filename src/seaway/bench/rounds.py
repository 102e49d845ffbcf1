"""Which rounds count: each is preceded by a fixed spin loop, and a slow loop throws it away.

A machine that is busy, or throttled, runs the loop slower than it can. The fastest loop of the
whole run is the measure, so a round may be thrown away long after it was measured.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

LOOPS = 500_000
SLOW = 1.2  # times the fastest loop of the run
ENOUGH = 12  # rounds kept, below which no figure is called good
PATIENCE = 10  # times that we wait for the machine before a round that can wait
PAUSE = 0.1  # seconds between
ATTEMPTS = 2  # times the wished number of rounds, then we take what we have


Value = TypeVar("Value")  # what one round gives


class Sample(NamedTuple, Generic[Value]):
    spin: float  # seconds that the loop before it took
    value: Value | None  # None: it was not worth measuring


def spin() -> float:
    """Run the loop once, after a short one to wake the CPU up; how long it took, in seconds."""
    for _ in range(LOOPS // 10):
        pass
    start = time.perf_counter()
    for _ in range(LOOPS):
        pass
    return time.perf_counter() - start


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Run on this CPU alone for a while, as what is measured does."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Ledger(Generic[Value]):
    """The rounds of a run, by what they measure."""

    def __init__(
        self,
        cpu: int,
        calibrate: Callable[[], float] = spin,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.cpu = cpu
        self.fastest = float("inf")
        self._calibrate = calibrate
        self._pause = pause
        self._samples: dict[Hashable, list[Sample[Value]]] = defaultdict(list)

    def calibrate(self) -> float:
        """Run the loop on the CPU that is measured on."""
        with pinned(self.cpu):
            taken = self._calibrate()
        self.fastest = min(self.fastest, taken)
        return taken

    def is_quiet(self, taken: float) -> bool:
        return taken <= SLOW * self.fastest

    def enter(self, key: Hashable, sample: Sample[Value]) -> None:
        self._samples[key].append(sample)

    def measure(self, key: Hashable, measure: Callable[[], Value]) -> None:
        """One round, once the machine is quiet; until then they are thrown away unmeasured."""
        for _ in range(PATIENCE):
            taken = self.calibrate()
            if self.is_quiet(taken):
                break
            self.enter(key, Sample(taken, None))
            self._pause(PAUSE)
        self.enter(key, Sample(taken, measure()))

    def kept(self, key: Hashable) -> list[Value]:
        samples = self._samples[key]
        return [s.value for s in samples if s.value is not None and self.is_quiet(s.spin)]

    def told(self, key: Hashable) -> list[Value]:
        """What was kept; if nothing was, what was measured all the same, which decides nothing."""
        measured = [s.value for s in self._samples[key] if s.value is not None]
        return self.kept(key) or measured

    def discarded(self, key: Hashable) -> int:
        return len(self._samples[key]) - len(self.kept(key))

    def is_enough(self, key: Hashable) -> bool:
        """Whether its figure may decide anything."""
        return len(self.kept(key)) >= ENOUGH

    def judge(self, key: Hashable) -> str:
        """Why it may not; empty if it may."""
        if self.is_enough(key):
            return ""
        if not self.kept(key) and self.told(key):
            return "the machine was busy in all of them"
        return f"too few, {ENOUGH} decide"

    def is_short(self, key: Hashable, rounds: int) -> bool:
        return len(self.kept(key)) < rounds


def rotated(items: list[str], by: int) -> list[str]:
    """The same in another order each round, so that nobody is always first."""
    start = by % len(items) if items else 0
    return items[start:] + items[:start]
