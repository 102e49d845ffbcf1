"""`same-host`: two containers of one host, over every system that is here, side by side."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack

from seaway import lab
from seaway.bench import traffic
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.results import Result, Row, collect_ratios, ratio_of
from seaway.bench.rounds import ATTEMPTS, ENOUGH, Ledger, rotated
from seaway.bench.statistics import best_quartile, estimate, ratio
from seaway.bench.systems import Pair, System
from seaway.errors import SeawayError

CASE = "same-host"
REFERENCE, OURS = "veth", "seaway"


def run(systems: tuple[System, ...], options: Options) -> Result:
    metrics = [name for name in traffic.METRICS if options.wants_metric(name)]
    ledger, missing = Ledger(measured_cpu()), {s.name: s.missing() for s in systems}
    present = [system for system in systems if not missing[system.name]]
    with ExitStack() as stack:
        pairs = _set_up(stack, present, missing, options)
        stack.enter_context(traffic.servers(pairs, ledger.cpu))
        _measure(pairs, metrics, ledger, options)
    names = [system.name for system in systems]
    rows = tuple(_row(s, m, names, ledger, missing[s]) for m in metrics for s in names)
    machine = describe(ledger.cpu, ledger.fastest)
    return Result(case=CASE, machine=machine, rows=rows, ratios=collect_ratios(rows))


def _set_up(
    stack: ExitStack, systems: list[System], missing: dict[str, str], options: Options
) -> dict[str, Pair]:
    """Every system on a lab host of its own. One that does not start is a missing one."""
    name = f"bench-{os.getpid()}"
    stack.callback(lab.down, name)
    hosts = lab.up(name, hosts=max(1, len(systems))).hosts
    pairs: dict[str, Pair] = {}
    for system, host in zip(systems, hosts, strict=False):
        options.progress(f"{CASE}: setting up {system.name}")
        try:
            pairs[system.name] = stack.enter_context(system.running(host))
        except (SeawayError, OSError, subprocess.SubprocessError) as error:
            missing[system.name] = f"it did not start: {error}"
    return pairs


def _measure(pairs: dict[str, Pair], metrics: list[str], ledger: Ledger, options: Options) -> None:
    """If one system needs one more round of a metric, all get it: they stay interleaved."""
    for sweep in range(ATTEMPTS * options.rounds):
        order = rotated(list(pairs), sweep)
        for metric in metrics:
            if any(ledger.is_short((system, metric), options.rounds) for system in pairs):
                options.progress(f"{CASE}: round {sweep + 1} of {options.rounds}, {metric}")
                traffic.measure(metric, {system: pairs[system] for system in order}, ledger)


def _row(system: str, metric: str, systems: list[str], ledger: Ledger, missing: str) -> Row:
    of = traffic.METRICS[metric]
    kept = ledger.kept((system, metric))
    statistic = best_quartile(of.better)
    found = estimate(kept, statistic) if kept else None
    against = [REFERENCE] if system != OURS else [name for name in systems if name != OURS]
    return Row(
        system=system,
        metric=metric,
        unit=of.unit,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        runs=len(kept),
        discarded=ledger.discarded((system, metric)),
        good=len(kept) >= ENOUGH,
        ratios=tuple(
            ratio_of(other, ratio(kept, reference, statistic))
            for other in against
            if kept and other != system and (reference := ledger.kept((other, metric)))
        ),
        note=missing or ("" if len(kept) >= ENOUGH else f"too few rounds: {len(kept)} of {ENOUGH}"),
    )
