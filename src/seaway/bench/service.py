"""`service`: what a virtual address costs, by how many services there are; and what they cost.

┌───────────── host ──────────────┐   one for each balancer and each number of services,
│ client ── VIP or own ── server  │   all at the same time
└─────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final, NamedTuple

from seaway.bench import traffic
from seaway.bench.balancers import BALANCERS, DIRECT, OURS, Balancer
from seaway.bench.figures import row_of
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.many_services import MOST
from seaway.bench.options import Options
from seaway.bench.results import Ratio, Result, Row, collect_ratios, ratio_of
from seaway.bench.rounds import Ledger, rotated
from seaway.bench.runner import Runner, ask
from seaway.bench.stage import Stage
from seaway.bench.statistics import Better, best_quartile, ratio
from seaway.bench.systems import Pair
from seaway.errors import Invalid
from seaway.lab import LabHost

CASE: Final = "service"
SYSTEMS: Final = tuple(system for balancer in BALANCERS for system in balancer.systems)
TRAFFIC: Final = ("tcp_rr_p50", "tcp_cps", "tcp_gbps")
PROGRAMMING: Final = ("program_all", "one_change")
METRICS: Final = (*TRAFFIC, *PROGRAMMING)
FEWEST: Final = 1  # services: what all other numbers are compared with
Key = tuple[str, str]  # cell, metric


class Cell(NamedTuple):
    system: str
    services: int

    def __str__(self) -> str:
        return f"{self.system}@{self.services}"

    @property
    def fewest(self) -> Cell:
        return self._replace(services=FEWEST)


class At(NamedTuple):
    """A balancer with so many services."""

    balancer: Balancer
    services: int

    @property
    def name(self) -> str:
        return str(Cell(self.balancer.name, self.services))

    def missing(self) -> str:
        return self.balancer.missing()


class Measured(NamedTuple):
    """All that runs, by cell."""

    pairs: dict[str, Pair]
    runners: dict[str, Runner]


def run(systems: Sequence[str], options: Options) -> Result:
    counts = sorted(set(options.services))
    if not 1 <= counts[0] <= counts[-1] <= MOST:
        raise Invalid(f"{counts} services cannot be", f"expected numbers from 1 to {MOST}")
    ledger, stage = Ledger[float](measured_cpu()), Stage(CASE, options)
    hosts = [At(b, n) for n in counts for b in BALANCERS if not set(systems).isdisjoint(b.systems)]
    start = partial(_start, systems, options, ledger.cpu)
    with stage.set(hosts, start) as running:
        measured = _all(running.values())
        # Two systems may be one server's.
        servers = {pair.server.netns: pair for pair in measured.pairs.values()}
        with traffic.servers(servers, ledger.cpu):
            stage.tell("warming up")
            traffic.warm_up(TRAFFIC, measured.pairs, ledger.cpu, options.flows)
            _measure(measured, ledger, stage)
    rows = tuple(_rows(systems, ledger, stage))
    machine = describe(ledger.cpu, ledger.fastest)
    return Result(case=CASE, machine=machine, rows=rows, ratios=collect_ratios(rows))


@contextmanager
def _start(
    systems: Sequence[str], options: Options, cpu: int, at: At, hosts: tuple[LabHost, ...]
) -> Iterator[Measured]:
    """No more than is wanted: thousands of services take their time."""
    (host,), (balancer, services) = hosts, at
    pairs, runners = dict[str, Pair](), dict[str, Runner]()
    with ExitStack() as stack:
        if any(map(options.wants_metric, TRAFFIC)):
            found = stack.enter_context(balancer.balancing(host, services))
            pairs = {str(Cell(s, services)): pair for s, pair in found.items() if s in systems}
        if balancer.programmed in systems and any(map(options.wants_metric, PROGRAMMING)):
            runner = stack.enter_context(balancer.programming(host, services, cpu))
            runners = {str(Cell(balancer.programmed, services)): runner}
        yield Measured(pairs, runners)


def _all(running: Iterable[Measured]) -> Measured:
    found = Measured({}, {})
    for measured in running:
        found.pairs.update(measured.pairs)
        found.runners.update(measured.runners)
    return found


def _measure(measured: Measured, ledger: Ledger[float], stage: Stage) -> None:
    """If one needs one more round of a metric, all get it: they stay interleaved."""
    options = stage.options
    told = {metric: list(measured.pairs) for metric in TRAFFIC if options.wants_metric(metric)}
    told |= {m: list(measured.runners) for m in PROGRAMMING if options.wants_metric(m)}
    for sweep in range(options.sweeps):
        due = [
            metric
            for metric, cells in told.items()
            if any(ledger.is_short((cell, metric), options.rounds) for cell in cells)
        ]
        if not due:
            return
        stage.tell(f"round {sweep + 1} for {options.rounds}: {', '.join(due)}")
        order = {cell: measured.pairs[cell] for cell in rotated(list(measured.pairs), sweep)}
        traffic.measure([m for m in due if m in TRAFFIC], order, ledger, options.flows)
        for metric in (m for m in due if m in PROGRAMMING):
            for cell in rotated(told[metric], sweep):
                ledger.measure((cell, metric), partial(ask, measured.runners[cell], metric))


def _rows(systems: Sequence[str], ledger: Ledger[float], stage: Stage) -> Iterator[Row]:
    hosts = {system: balancer.name for balancer in BALANCERS for system in balancer.systems}
    for metric in (metric for metric in METRICS if stage.options.wants_metric(metric)):
        for services in sorted(set(stage.options.services)):
            for system in systems:
                if metric in TRAFFIC or system != DIRECT:
                    why = stage.missing.get(str(Cell(hosts[system], services)), "")
                    yield _row(Cell(system, services), metric, systems, ledger, why)


def _row(
    cell: Cell, metric: str, systems: Sequence[str], ledger: Ledger[float], missing: str
) -> Row:
    key = str(cell), metric
    kept, figure = ledger.told(key), best_quartile(_better(metric))
    return row_of(
        ledger,
        key,
        figure,
        system=cell.system,
        metric=metric,
        unit=traffic.METRICS[metric].unit if metric in TRAFFIC else "ms",
        services=cell.services,
        ratios=tuple(
            _ratio(key, (str(other), metric), ledger)
            for other in against(cell, systems)
            if kept and ledger.told((str(other), metric))
        ),
        note=missing or ledger.judge(key),
    )


def _better(metric: str) -> Better:
    return traffic.METRICS[metric].better if metric in TRAFFIC else "lower"


def against(cell: Cell, systems: Sequence[str]) -> list[Cell]:
    """Ours with all others of as many services, they with `direct`; and each with itself where
    there is but one service.
    """
    wanted = systems if cell.system == OURS else [DIRECT]
    cells = [cell._replace(system=other) for other in wanted if other != cell.system]
    return cells if cell.services == FEWEST else [*cells, cell.fewest]


def _ratio(key: Key, reference: Key, ledger: Ledger[float]) -> Ratio:
    found = ratio(ledger.told(key), ledger.told(reference), best_quartile(_better(key[1])))
    good = ledger.is_enough(key) and ledger.is_enough(reference)
    return ratio_of(reference[0], found, good=good)
