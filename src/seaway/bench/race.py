"""What the cases have in common that send traffic: systems side by side, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from seaway.bench import traffic
from seaway.bench.figures import row_of
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.results import Ratio, Result, Row, collect_ratios, ratio_of
from seaway.bench.rounds import Ledger, rotated
from seaway.bench.stage import AnySystem, Stage
from seaway.bench.statistics import best_quartile, ratio
from seaway.bench.systems import Pair
from seaway.lab import LabHost


class Course(NamedTuple):
    """One case."""

    case: str
    metrics: tuple[str, ...]
    reference: str  # the system that all others are compared with
    ours: tuple[str, ...] = ("seaway",)  # which are compared with all
    without: Mapping[str, tuple[str, ...]] = {}  # systems of which a metric is not measured


def run(
    course: Course,
    systems: Sequence[AnySystem],
    start: Callable[[AnySystem, tuple[LabHost, ...]], AbstractContextManager[Pair]],
    options: Options,
    needs: Callable[[AnySystem], int] = lambda _: 1,
) -> Result:
    """`needs`: how many hosts a system is started on."""
    metrics = [name for name in course.metrics if options.wants_metric(name)]
    measured = [name for name in metrics if options.family in traffic.METRICS[name].families]
    ledger, stage = Ledger[float](measured_cpu()), Stage(course.case, options)
    with (
        stage.set(systems, start, needs) as pairs,
        traffic.servers(pairs, ledger.cpu),
    ):
        stage.tell("warming up")
        for some, taking in _parts(measured, pairs, course):
            traffic.warm_up(some, taking, ledger.cpu, options.flows)
        _measure(pairs, measured, ledger, stage, course)
    names = [system.name for system in systems]
    rows = tuple(
        _row((name, metric), _against(name, names, course), ledger, stage)
        for metric in metrics
        for name in names
        if name not in course.without.get(metric, ())
    )
    machine = describe(ledger.cpu, ledger.fastest)
    return Result(case=course.case, machine=machine, rows=rows, ratios=collect_ratios(rows))


def _parts(
    metrics: list[str], pairs: dict[str, Pair], course: Course
) -> Iterator[tuple[list[str], dict[str, Pair]]]:
    """What is measured of all systems; and what is of some, with those."""
    yield [metric for metric in metrics if metric not in course.without], pairs
    for metric in course.without.keys() & metrics:
        yield [metric], {s: pair for s, pair in pairs.items() if s not in course.without[metric]}


def _measure(
    pairs: dict[str, Pair],
    metrics: list[str],
    ledger: Ledger[float],
    stage: Stage,
    course: Course,
) -> None:
    """If one system needs one more round of a metric, all get it: they stay interleaved."""
    rounds = stage.options.rounds
    for sweep in range(stage.options.sweeps):
        due = [
            metric
            for some, taking in _parts(metrics, pairs, course)
            for metric in some
            if any(ledger.is_short((system, metric), rounds) for system in taking)
        ]
        if not due:
            return
        stage.tell(f"round {sweep + 1} for {rounds}: {', '.join(due)}")
        order = {system: pairs[system] for system in rotated(list(pairs), sweep)}
        for some, taking in _parts(due, order, course):
            traffic.measure(some, taking, ledger, stage.options.flows)


def _against(system: str, systems: list[str], course: Course) -> list[str]:
    """Whom a system is compared with: ours with all, the others with the reference."""
    wanted = systems if system in course.ours else [course.reference]
    return [name for name in wanted if name != system]


def _row(key: traffic.Client, against: list[str], ledger: Ledger[float], stage: Stage) -> Row:
    (system, metric), family = key, stage.options.family
    of = traffic.METRICS[metric]
    unknown = "" if family in of.families else f"its program knows no IPv{family}"
    kept = ledger.told(key)
    return row_of(
        ledger,
        key,
        best_quartile(of.better),
        system=system,
        metric=metric,
        unit=of.unit,
        family=family,
        ratios=tuple(
            _ratio(key, (other, metric), ledger)
            for other in against
            if kept and ledger.told((other, metric))
        ),
        note=stage.missing.get(system) or unknown or ledger.judge(key),
    )


def _ratio(key: traffic.Client, reference: traffic.Client, ledger: Ledger[float]) -> Ratio:
    statistic = best_quartile(traffic.METRICS[key[1]].better)
    found = ratio(ledger.told(key), ledger.told(reference), statistic)
    good = ledger.is_enough(key) and ledger.is_enough(reference)
    return ratio_of(reference[0], found, good=good)
