"""`scale`: what one host has to do in a cluster of thousands, the others only simulated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from seaway.bench.figures import row_of
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.results import Result, Row
from seaway.bench.rounds import Ledger
from seaway.bench.runner import Runner, ask
from seaway.bench.scale_trials import TRIALS
from seaway.bench.simulated import ENDPOINTS
from seaway.bench.statistics import best_quartile
from seaway.bench.traffic import pin

CASE = "scale"


class Cell(NamedTuple):
    metric: str
    system: str
    hosts: int


def run(systems: list[str], options: Options) -> Result:
    ledger, counted = Ledger[float](measured_cpu()), dict[Cell, float]()
    metrics = [metric for metric in TRIALS if options.wants_metric(metric)]
    for hosts in options.hosts:
        for system in systems:
            options.progress(f"{CASE}: {system}, {hosts} hosts")
            with _running(hosts, system, ledger.cpu) as runner:
                for metric in metrics:
                    cell = Cell(metric, system, hosts)
                    if TRIALS[metric].timed:
                        _measure(runner, cell, ledger, options)
                    else:
                        counted[cell] = ask(runner, metric)
    cells = [Cell(m, s, hosts) for m in metrics for s in systems for hosts in options.hosts]
    rows = tuple(
        _counted(cell, counted[cell]) if cell in counted else _row(cell, ledger) for cell in cells
    )
    ledger.calibrate()
    return Result(case=CASE, machine=describe(ledger.cpu, ledger.fastest), rows=rows, ratios={})


@contextmanager
def _running(hosts: int, system: str, cpu: int) -> Iterator[Runner]:
    command = (sys.executable, "-m", "seaway.bench.scale_trials", str(hosts), system)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        pin(cpu, *command), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as runner:
        try:
            yield runner
        finally:
            runner.kill()


def _measure(runner: Runner, cell: Cell, ledger: Ledger[float], options: Options) -> None:
    for _ in range(options.sweeps):
        if ledger.is_short(cell, options.rounds):
            ledger.measure(cell, partial(ask, runner, cell.metric))


def _counted(cell: Cell, value: float) -> Row:
    return Row(
        system=cell.system,
        metric=cell.metric,
        unit=TRIALS[cell.metric].unit,
        value=value,
        low=value,
        high=value,
        runs=1,
        discarded=0,
        good=True,
        hosts=cell.hosts,
        endpoints=cell.hosts * ENDPOINTS,
    )


def _row(cell: Cell, ledger: Ledger[float]) -> Row:
    return row_of(
        ledger,
        cell,
        best_quartile("lower"),
        system=cell.system,
        metric=cell.metric,
        unit=TRIALS[cell.metric].unit,
        hosts=cell.hosts,
        endpoints=cell.hosts * ENDPOINTS,
    )
