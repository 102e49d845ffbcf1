"""A result as a table for the terminal: figure, interval, ratio, promise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from seaway.bench.promises import judge, promise_of
from seaway.bench.results import Ratio, Result, Row

WIDTH = 22  # of the first column
BAR, LONGEST = "=", 60  # of a figure that is one of a curve


def render(result: Result) -> str:
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    where = f"{machine.cpus} CPUs, pinned to {machine.pinned_to}, Linux {machine.kernel}"
    lines = [
        f"{result.case}: {machine.processor}, {where}",
        f"load {machine.load:.2f}, spin loop {machine.spin_ms:.2f} ms, {machine.at}; {versions}",
    ]
    for metric, rows in groupby(result.rows, key=lambda row: row.metric):
        lines += _metric(result.case, metric, list(rows))
    return "\n".join(lines) + "\n"


def _metric(case: str, metric: str, rows: list[Row]) -> Iterator[str]:
    yield ""
    yield f"{metric} ({rows[0].unit})" + (", IPv6" if rows[0].family == 6 else "")
    most = max((row.value or 0.0 for row in rows), default=0.0)
    for row in rows:
        if row.value is None or row.low is None or row.high is None:
            yield f"  {row.cell:<{WIDTH}} missing: {row.note}"
            continue
        interval = f"[{number(row.low)}, {number(row.high)}]"
        rounds = f"{row.runs} rounds, {row.discarded} thrown away"
        told = f"{rounds}: {row.note}" if row.note else rounds
        yield f"  {row.cell:<{WIDTH}} {number(row.value):>9}  {interval:<20} {told}"
        if row.hosts is not None:
            yield f"  {'':<{WIDTH}} {BAR * max(1, round(LONGEST * row.value / (most or 1.0)))}"
        if promise := promise_of(case, row):
            verdict = judge(promise, row.value, good=row.good)
            yield f"  {'':<{WIDTH}} promised {promise} {row.unit}: {verdict}"
        yield from (f"  {'':<{WIDTH}} {_ratio(case, row, ratio)}" for ratio in row.ratios)


def _ratio(case: str, row: Row, ratio: Ratio) -> str:
    text = f"{ratio.value:>9.3f}  [{ratio.low:.3f}, {ratio.high:.3f}] x {ratio.reference}"
    promise = promise_of(case, row, ratio.reference)
    if not promise:
        return text
    return f"{text}   promised {promise}: {judge(promise, ratio.value, good=ratio.good)}"


def number(value: float) -> str:
    """Three digits that mean something, and no exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
