"""`seaway status`: whether this host's network works, in one look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show
from seaway.errors import SeawayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seaway.client import Client
    from seaway.model.reports import Status

_SHOWN = 5  # of the latest drift


def _drops(status: Status) -> str:
    return ", ".join(f"{d.reason} {d.packets}" for d in status.drops) or "none"


def _drift(status: Status) -> str:
    return f"{status.drift_total} repaired" if status.drift_total else "none"


def _up(status: Status) -> str:
    from seaway.model.durations import in_words  # noqa: PLC0415, help must not pay for it

    return in_words(status.uptime)


def _certificate(status: Status) -> str:
    if not status.certificate_ends:
        return "none: no other host asks this one"
    ends = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.certificate_ends))
    return f"until {ends}"


def _refused(status: Status) -> str:
    return ", ".join(f"{r.why} {r.times}" for r in status.refused) or "none"


def _store(status: Status) -> str:
    waiting = f"{status.unsent} records of this host's wait for it" if status.unsent else ""
    if not status.store_lost:
        return f"{status.store}; {waiting}" if waiting else status.store
    goes_on = "what runs here goes on, attach and detach too; other changes wait"
    return "; ".join(filter(None, (f"{status.store}, lost", goes_on, waiting, status.store_lost)))


LINES: dict[str, Callable[[Status], Any]] = {
    "agent": lambda s: f"{'ready' if s.ready else 'not ready'}, {s.version}, process {s.pid}",
    "up": _up,
    "host": lambda s: s.host,
    "cluster": lambda s: s.cluster,
    "addresses": lambda s: s.addresses,
    "store": _store,
    "programs": lambda s: f"attached by {s.attach}, map layouts {s.layout}",
    "hosts": lambda s: s.hosts,
    "certificate": _certificate,
    "refused": _refused,
    "networks": lambda s: s.networks,
    "endpoints": lambda s: s.endpoints,
    "dropped": _drops,
    "limited": lambda s: f"{s.limited} connections refused" if s.limited else "none",
    "drift": _drift,
    "failing": lambda s: len(s.failures) or "none",
}


@click.command()
@options.output
def status(output: str) -> None:
    """Show the health of this host's agent and data plane."""
    agent = options.agent()
    found = agent.status()
    show.one(found, LINES, output)
    if output == "table":
        for line in _links(agent):
            click.echo(line)
        for failure in found.failures:
            click.echo(f"failing: {failure.target} {failure.key}: {failure.error}")
        for drift in found.drift[-_SHOWN:]:
            at = time.strftime("%H:%M:%S", time.localtime(drift.at))
            click.echo(
                f"drift: {at} {drift.target} {drift.key}: found {drift.found}, "
                f"expected {drift.expected}"
            )


def _links(agent: Client) -> Iterator[str]:
    """To other hosts."""
    try:
        report = agent.links()
    except SeawayError as error:
        yield f"links: {error.message}"
        return
    for link in report.links:
        if link.up:
            loss = f", loss {link.loss:g} %" if link.loss else ""
            holes = "".join(f"; {hole.told()}" for hole in link.holes)
            yield f"link: {link.host} is up, {link.rtt:g} ms{loss}{holes}"
        else:
            yield f"link: {link.host} is down"
