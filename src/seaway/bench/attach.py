"""`attach`: what ADD and DEL cost a runtime, by endpoints present and calls at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from seaway.bench.figures import row_of
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.plugins import Attacher, Caller
from seaway.bench.results import Ratio, Result, Row, collect_ratios, ratio_of
from seaway.bench.rounds import Ledger, rotated
from seaway.bench.stage import Stage
from seaway.bench.statistics import best_quartile, percentile, ratio
from seaway.errors import SeawayError

CASE = "attach"
OURS = "seaway"
CALLS = 5  # one after the other, in one round
FEWEST = 1  # endpoints: what growth is measured against
SPARES = 16  # namespaces beside those that are present


class Round(NamedTuple):
    """The milliseconds of every call of one round."""

    add: tuple[float, ...]
    delete: tuple[float, ...]


class Cell(NamedTuple):
    system: str
    endpoints: int
    parallel: int


Rounds = Sequence[Round]
Figure = Callable[[Rounds], float]


def _p50(verb: str, rounds: Rounds) -> float:
    return best_quartile("lower")([percentile(getattr(r, verb), 0.50) for r in rounds])


def _p99(verb: str, rounds: Rounds) -> float:
    """Of all calls of all rounds: the best quartile would leave out what p99 is about."""
    return percentile([taken for r in rounds for taken in getattr(r, verb)], 0.99)


METRICS: dict[str, Figure] = {
    "add_p50": partial(_p50, "add"),
    "add_p99": partial(_p99, "add"),
    "del_p50": partial(_p50, "delete"),
    "del_p99": partial(_p99, "delete"),
}


def run(systems: Sequence[Attacher], options: Options) -> Result:
    ledger, stage = Ledger[Round](measured_cpu()), Stage(CASE, options)
    with stage.set(systems, lambda system, hosts: system.attaching(hosts[0])) as callers:
        for endpoints in sorted(options.endpoints):
            _fill(callers, endpoints, stage)
            for parallel in options.parallel:
                _measure(callers, (endpoints, parallel), ledger, stage)
    names = [system.name for system in systems]
    rows = tuple(
        _row(metric, Cell(name, endpoints, parallel), names, ledger, stage.missing)
        for metric in METRICS
        if options.wants_metric(metric)
        for endpoints in sorted(options.endpoints)
        for parallel in options.parallel
        for name in names
    )
    machine = describe(ledger.cpu, ledger.fastest)
    return Result(case=CASE, machine=machine, rows=rows, ratios=collect_ratios(rows))


def _fill(callers: dict[str, Caller], endpoints: int, stage: Stage) -> None:
    """Bring all to this many endpoints. One that cannot is missing from there on."""
    for name in list(callers):
        stage.tell(f"{name} to {endpoints} endpoints")
        try:
            callers[name].fill(endpoints, SPARES)
        except SeawayError as error:
            stage.missing[name] = f"it stopped below {endpoints} endpoints: {error}"
            del callers[name]


def _measure(
    callers: dict[str, Caller], cell: tuple[int, int], ledger: Ledger[Round], stage: Stage
) -> None:
    endpoints, parallel = cell
    keys = {name: Cell(name, endpoints, parallel) for name in callers}
    for sweep in range(stage.options.sweeps):
        if not any(ledger.is_short(key, stage.options.rounds) for key in keys.values()):
            return
        stage.tell(f"{endpoints} endpoints, {parallel} at a time, round {sweep + 1}")
        for name in rotated(list(callers), sweep):
            ledger.measure(keys[name], partial(_round, callers[name], parallel))


def _round(caller: Caller, parallel: int) -> Round:
    spares = caller.spares[: max(CALLS, parallel)]
    add = caller.call("ADD", parallel, spares)
    return Round(add, caller.call("DEL", parallel, spares))


def _row(
    metric: str,
    cell: Cell,
    systems: list[str],
    ledger: Ledger[Round],
    missing: dict[str, str],
) -> Row:
    kept, figure = ledger.told(cell), METRICS[metric]
    return row_of(
        ledger,
        cell,
        figure,
        system=cell.system,
        metric=metric,
        unit="ms",
        endpoints=cell.endpoints,
        parallel=cell.parallel,
        ratios=_ratios(figure, cell, systems, ledger) if kept else (),
        note=ledger.judge(cell) if kept else missing.get(cell.system, "no round was kept"),
    )


def _ratios(
    figure: Figure, cell: Cell, systems: list[str], ledger: Ledger[Round]
) -> tuple[Ratio, ...]:
    """Ours over each peer in the same cell; alone, over ourselves with the fewest endpoints.

    With peers beside us the kernel holds their endpoints as well: it is no growth of ours.
    """
    if cell.system != OURS:
        return ()
    others = [cell._replace(system=name) for name in systems if name != OURS]
    if not others and cell.endpoints != FEWEST:
        others.append(cell._replace(endpoints=FEWEST))
    return tuple(_ratio(figure, cell, other, ledger) for other in others if ledger.told(other))


def _ratio(figure: Figure, cell: Cell, other: Cell, ledger: Ledger[Round]) -> Ratio:
    found = ratio(ledger.told(cell), ledger.told(other), figure)
    good = ledger.is_enough(cell) and ledger.is_enough(other)
    return ratio_of(f"{other.system}@{other.endpoints}x{other.parallel}", found, good=good)
