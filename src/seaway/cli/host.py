"""`seaway host`: the hosts of a cluster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show
from seaway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import DrainReport, HostReport

_POLL = 1.0  # seconds: each time all hosts are asked


def _state(report: HostReport) -> str:
    words = ["this one"] if report.here else []
    words += ["control"] if report.host.control else []
    words += ["voter"] if report.voter else []
    words += ["draining"] if report.host.draining else []
    return ", ".join(words)


COLUMNS: dict[str, Callable[[HostReport], Any]] = {
    "NAME": lambda r: r.host.name,
    "NUMBER": lambda r: r.host.number,
    "IS": _state,
    "ADDRESSES": lambda r: r.host.addresses,
    "REACHED AT": lambda r: r.host.underlay,
    "ZONE": lambda r: r.host.zone,
    "VIA": lambda r: r.via,
    "BLOCKS": lambda r: r.blocks,
    "ENDPOINTS": lambda r: r.endpoints,
}


@click.group()
def host() -> None:
    """List, change, drain and remove hosts of the cluster."""


@host.command()
@options.output
def ls(output: str) -> None:
    """List the hosts of the cluster."""
    show.listing(options.agent().hosts(), COLUMNS, output)


@host.command()
@click.argument("name", shell_complete=options.complete_host)
@click.option("--zone", required=True, help="In which services prefer what is near; '': none.")
def update(name: str, zone: str) -> None:
    """Change a host of the cluster."""
    from seaway.model.requests import HostChange  # noqa: PLC0415, help must not pay for it

    made = options.agent().update_host(name, HostChange(zone=zone))
    click.echo(
        f"host {made.host.name} is in zone {made.host.zone}"
        if zone
        else f"host {name} is in no zone"
    )


@host.command()
@click.argument("name", shell_complete=options.complete_host)
@click.option("--undo", is_flag=True, help="Have it take endpoints and relay again.")
@click.option("--force", is_flag=True, help="Also if others reach each other by it alone.")
@click.option("--within", default="60s", show_default=True, help="How long to wait: 90s, 5m.")
def drain(name: str, within: str, *, undo: bool, force: bool) -> None:
    """Have a host take no new endpoint and relay no more; return when it may go.

    What runs on it goes on. Connections of services to it may end by themselves, until their time
    to drain is over: it shows how many there are, and waits for them.
    """
    from seaway.model.durations import parse_duration  # noqa: PLC0415

    deadline, agent = time.monotonic() + parse_duration(within), options.agent()
    if undo:
        agent.undrain_host(name)
        click.echo(f"{name} is in use again")
        return
    told, shown = agent.drain_host(name, force=force), 0
    while not told.ready:
        if told.connections != shown:
            shown = told.connections
            click.echo(f"{options.connections(shown)} of services to {name}")
        if time.monotonic() > deadline:
            raise Unavailable(f"{name} drains, but {_waiting(told)}", "repeat to wait on")
        time.sleep(_POLL)
        told = agent.drained_host(name)
    click.echo(may_go(name, told.endpoints))


def may_go(name: str, endpoints: int) -> str:
    if not endpoints:
        return f"{name} may go"
    run = "1 endpoint still runs" if endpoints == 1 else f"{endpoints} endpoints still run"
    return f"{name} may go; {run} on it"


def _waiting(told: DrainReport) -> str:
    words = []
    if told.relay_of:
        words.append(f"{', '.join(told.relay_of)} still send through it")
    if told.unheard:
        words.append(f"of {', '.join(told.unheard)} it is not known whether they send through it")
    if told.connections:
        words.append(f"services have {options.connections(told.connections)} to it")
    return "; ".join(words)


@host.command()
@click.argument("name", shell_complete=options.complete_host)
@click.option("--force", is_flag=True, help="Also with endpoints: of a host that is gone for good.")
def rm(name: str, *, force: bool) -> None:
    """Remove another host from the cluster, dead or alive; its addresses are free."""
    options.agent().remove_host(name, force=force)
    click.echo(f"{name} is removed")
