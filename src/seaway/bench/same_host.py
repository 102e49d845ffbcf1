"""`same-host`: two containers of one host, over every system that is here, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from seaway.bench import traffic
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.results import Ratio, Result, Row, collect_ratios, ratio_of
from seaway.bench.rounds import Ledger, rotated
from seaway.bench.stage import Stage
from seaway.bench.statistics import best_quartile, estimate, ratio
from seaway.bench.systems import Pair, System

CASE = "same-host"
REFERENCE, OURS = "veth", "seaway"


def run(systems: Sequence[System], options: Options) -> Result:
    metrics = [name for name in traffic.METRICS if options.wants_metric(name)]
    measured = [name for name in metrics if options.family in traffic.METRICS[name].families]
    ledger, stage = Ledger[float](measured_cpu()), Stage(CASE, options)
    with (
        stage.set(systems, lambda system, host: system.running(host, options.family)) as pairs,
        traffic.servers(pairs, ledger.cpu),
    ):
        _measure(pairs, measured, ledger, stage)
    names = [system.name for system in systems]
    rows = tuple(_row(s, m, names, ledger, stage) for m in metrics for s in names)
    machine = describe(ledger.cpu, ledger.fastest)
    return Result(case=CASE, machine=machine, rows=rows, ratios=collect_ratios(rows))


def _measure(
    pairs: dict[str, Pair], metrics: list[str], ledger: Ledger[float], stage: Stage
) -> None:
    """If one system needs one more round of a metric, all get it: they stay interleaved."""
    rounds = stage.options.rounds
    for sweep in range(stage.options.sweeps):
        due = [m for m in metrics if any(ledger.is_short((s, m), rounds) for s in pairs)]
        if not due:
            return
        stage.tell(f"round {sweep + 1} for {rounds}: {', '.join(due)}")
        order = rotated(list(pairs), sweep)
        traffic.measure(due, {system: pairs[system] for system in order}, ledger)


def _row(system: str, metric: str, systems: list[str], ledger: Ledger[float], stage: Stage) -> Row:
    of, family = traffic.METRICS[metric], stage.options.family
    unknown = "" if family in of.families else f"its program knows no IPv{family}"
    statistic = best_quartile(of.better)
    kept = ledger.told((system, metric))
    against = [REFERENCE] if system != OURS else [name for name in systems if name != OURS]
    found = estimate(kept, statistic) if kept else None
    return Row(
        system=system,
        metric=metric,
        unit=of.unit,
        value=found and found.value,
        low=found and found.low,
        high=found and found.high,
        runs=len(ledger.kept((system, metric))),
        discarded=ledger.discarded((system, metric)),
        good=ledger.is_enough((system, metric)),
        family=family,
        ratios=tuple(
            _ratio((system, metric), (other, metric), ledger)
            for other in against
            if kept and other != system and ledger.told((other, metric))
        ),
        note=stage.missing.get(system) or unknown or ledger.judge((system, metric)),
    )


def _ratio(key: traffic.Client, reference: traffic.Client, ledger: Ledger[float]) -> Ratio:
    statistic = best_quartile(traffic.METRICS[key[1]].better)
    found = ratio(ledger.told(key), ledger.told(reference), statistic)
    good = ledger.is_enough(key) and ledger.is_enough(reference)
    return ratio_of(reference[0], found, good=good)
