"""`seaway route`: computed paths, what they cost, and why not the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seaway.model.reports import Detour, RouteReport

_TITLES = ["TO", "ROUTING", "PATH", "HOPS", "RTT", "COST", ""]


@click.group()
def route() -> None:
    """Show the paths to other hosts, and why not the others."""


@route.command()
@click.option("--to", metavar="HOST", help="To this host alone, with all alternatives.")
@click.option(
    "--routing", type=click.Choice(["hops", "latency"]), help="By this alone. [default: all in use]"
)
@options.output
def ls(to: str | None, routing: str | None, output: str) -> None:
    """List the path to each other host; of one host also the alternatives, and why they lost."""
    found = options.agent().routes(to or "", routing or "")
    if output != "table":
        show.document(found, output)
        return
    rows = [row for report in found for row in _rows(report, whole=bool(to))]
    show.table(_TITLES, rows)


def _rows(report: RouteReport, *, whole: bool) -> Iterator[list[Any]]:
    head = [report.host, report.routing]
    if report.path:
        yield [*head, *_way(report), _taken(report)]
    else:
        yield [*head, "none", "", "", "", "it is not reached"]
    for detour in report.detours if whole else ():
        way = _way(detour) if detour.path else [detour.via, "", "", ""]
        yield ["", "", *way, f"not taken: {detour.lost}"]


def _way(way: RouteReport | Detour) -> list[Any]:
    return [" > ".join(way.path), way.hops, _time(way.rtt), _time(way.cost)]


def _taken(report: RouteReport) -> str:
    notes = [f"flows shared with: {', '.join(report.equal)}"] if report.equal else []
    notes += [f"backup: {report.backup}"] if report.backup else []
    notes += [hole.told() for hole in report.holes]
    notes += [f"not measured: {', '.join(report.unmeasured)}"] if report.unmeasured else []
    return "; ".join(notes)


def _time(microseconds: int) -> str:
    return f"{microseconds / 1000:g} ms"
