"""`seaway trace`: every hop that a packet would take, what each step decides, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seaway.model.addresses import Address
    from seaway.model.reports import BackendReport
    from seaway.model.trace import ServiceAsked, Step, Verdict, Way

_TITLES = ["HOST", "AT", "DEVICE", "TO", "DECIDES", "MTU", "WHY"]
_ERRNO = {"refused": "ECONNREFUSED", "limited": "EBUSY"}  # what connect says then
_BACKENDS = ["BACKEND", "HOST", "ADDRESS", "WEIGHT", "CHOSEN", "WHY"]


@click.command()
@click.argument("source", metavar="A", shell_complete=options.complete_endpoint)
@click.argument("to", metavar="B:PORT[/PROTOCOL]")
@options.output
def trace(source: str, to: str, output: str) -> None:
    """Show each hop that a packet would take, what it decides, and why.

    It is the first one of a connection from A to a port of B. Both are an endpoint's name, an
    address, or `world`; B may be a service, by any name that the resolver knows (web, default/web,
    web.default.seaway), its address or its port of a host: then the way is shown to a backend of
    each host. The protocol is tcp or udp. Nothing is sent: each host says what its kernel would
    do now.
    """
    found = options.agent().trace(source, to)
    if output != "table":
        show.document(found, output)
        return
    _steps(found.steps)
    outcome = _result(found.verdict, found.reason)
    click.echo(f"{found.source} to {found.destination}: {outcome}")


def _steps(steps: Sequence[Step]) -> None:
    """And behind one that chooses the ways on."""
    show.table(_TITLES, [_row(step) for step in steps])
    for step in steps:
        if step.service:
            _service(step.service)


def _row(step: Step) -> list[Any]:
    place = [step.host, step.at or "?", step.device, _place(step.destination, step.port)]
    return [*place, _decision(step), step.mtu or "", step.why]


def _place(address: Address | None, port: int) -> str:
    if address is None:
        return ""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _service(asked: ServiceAsked) -> None:
    by = asked.algorithm + ", by weight" * asked.weighted
    by += f"; a client keeps its backend for {asked.affinity} s" if asked.affinity else ""
    by += f"; {asked.limit}" if asked.limit else ""
    click.echo(f"\nservice {asked.name or '?'}, port {asked.port}: {by}")
    if asked.candidates:
        show.table(_BACKENDS, [_backend(candidate) for candidate in asked.candidates])
    if asked.others:
        click.echo(asked.others)
    for way in asked.ways:
        click.echo(f"\n{_way(way)}: {_result(way.verdict, way.reason)}")
        _steps(way.steps)
    if asked.beyond:
        click.echo(f"\n{asked.beyond} more hosts have backends, to which no way is shown")
    click.echo()


def _backend(one: BackendReport) -> list[Any]:
    place = _place(one.address, one.target)
    return [one.name, one.host, place, one.weight, one.chosen, one.why]


def _way(way: Way) -> str:
    name = f"{way.name} ({_place(way.address, way.port)})" if way.name else ""
    on = f" on {way.host}" if way.host else ""
    alike = f", as to {way.alike} more there" if way.alike else ""
    return f"to {name or _place(way.address, way.port)}{on}{alike}"


def _decision(step: Step) -> str:
    words = {
        "deliver": f"delivered to {step.to}",
        "host": "to this host's sockets",
        "send": f"to {step.to}, {step.how}",
        "translate": f"translated to {step.to}",
        "choose": f"to a backend of {step.to}" if step.to else "to a backend",
        "refuse": f"refused: {_ERRNO.get(step.reason, step.reason)}",
        "masquerade": f"masqueraded as {step.to}",
        "pass": "to the host's stack",
        "leave": f"to the world by {step.to}",
        "drop": f"dropped: {step.reason}" if step.reason else "dropped",
        "unknown": f"to {step.to}, {step.how}: nobody knows" if step.at else "not asked",
    }
    return words[step.decision]


def _result(verdict: Verdict, reason: str) -> str:
    return f"{verdict}: {reason}" if reason else verdict
