"""`dns`: how many names a second a resolver answers on one CPU, and how late, of 64 at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, NamedTuple, Protocol

from seaway.bench.figures import row_of
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.resolvers import Asking
from seaway.bench.results import Ratio, Result, Row, collect_ratios, ratio_of
from seaway.bench.rounds import Ledger, rotated
from seaway.bench.stage import Stage
from seaway.bench.statistics import Better, best_quartile, percentile, ratio
from seaway.errors import SystemFailed
from seaway.lab import LabHost

CASE: Final = "dns"
OURS: Final = "seaway"
OUTSTANDING: Final = 64
_LOAD: Final = ("-c", "1", "-q", str(OUTSTANDING))
_RATE = re.compile(r"Queries per second: +([0-9.]+)")
_LOST = re.compile(r"Queries lost: +([0-9]+)")
_ANSWER = re.compile(r"^> NOERROR \S+ A ([0-9.]+)$", re.MULTILINE)


class Answering(Protocol):
    name: str

    def missing(self) -> str: ...

    def answering(self, host: LabHost, cpu: int) -> AbstractContextManager[Asking]: ...


class Metric(NamedTuple):
    unit: str
    better: Better
    measure: Callable[[Asking, int], float]  # with the CPU of who asks


def _qps(asking: Asking, cpu: int) -> float:
    told = asking.run(cpu, *_LOAD, "-l", "1")
    rate, lost = _RATE.search(told), _LOST.search(told)
    if not rate or not lost or int(lost[1]):
        raise SystemFailed(f"answers were lost: {told.strip()[-300:]}")
    return float(rate[1])


def _p99(asking: Asking, cpu: int) -> float:
    """Of each answer the client prints how late it was."""
    late = [float(found) for found in _ANSWER.findall(asking.run(cpu, *_LOAD, "-l", "1", "-v"))]
    if not late:
        raise SystemFailed("there were no answers")
    return percentile(late, 0.99) * 1000


METRICS: Final = {
    "qps": Metric("queries/s", "higher", _qps),
    "p99": Metric("ms", "lower", _p99),
}
Key = tuple[str, str]  # system, metric


def run(systems: Sequence[Answering], options: Options) -> Result:
    ledger, stage = Ledger[float](measured_cpu()), Stage(CASE, options)
    asking = min(os.sched_getaffinity(0))  # another CPU than who answers has, if there is one
    metrics = [metric for metric in METRICS if options.wants_metric(metric)]
    with stage.set(
        systems, lambda system, hosts: system.answering(hosts[0], ledger.cpu)
    ) as running:
        for sweep in range(options.sweeps):
            stage.tell(f"round {sweep + 1}")
            for name in rotated(list(running), sweep):
                for metric in metrics:
                    if ledger.is_short((name, metric), options.rounds):
                        work = partial(METRICS[metric].measure, running[name], asking)
                        ledger.measure((name, metric), work)
    names = [system.name for system in systems]
    rows = tuple(_row((name, m), names, ledger, stage.missing) for m in metrics for name in names)
    machine = describe(ledger.cpu, ledger.fastest)
    return Result(case=CASE, machine=machine, rows=rows, ratios=collect_ratios(rows))


def _row(key: Key, systems: list[str], ledger: Ledger[float], missing: dict[str, str]) -> Row:
    name, metric = key
    kept, figure = ledger.told(key), best_quartile(METRICS[metric].better)
    return row_of(
        ledger,
        key,
        figure,
        system=name,
        metric=metric,
        unit=METRICS[metric].unit,
        ratios=_ratios(key, systems, ledger) if kept and name == OURS else (),
        note=ledger.judge(key) if kept else missing.get(name, "no round was kept"),
    )


def _ratios(key: Key, systems: list[str], ledger: Ledger[float]) -> tuple[Ratio, ...]:
    """Ours over each peer."""
    figure, found = best_quartile(METRICS[key[1]].better), []
    for name in systems:
        other = (name, key[1])
        if name != OURS and ledger.told(other):
            good = ledger.is_enough(key) and ledger.is_enough(other)
            both = ratio(ledger.told(key), ledger.told(other), figure)
            found.append(ratio_of(name, both, good=good))
    return tuple(found)
