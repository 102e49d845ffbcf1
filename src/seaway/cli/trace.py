"""`seaway trace`: every hop that a packet would take, what each step decides, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show

if TYPE_CHECKING:
    from seaway.model.trace import Step, TraceReport

_TITLES = ["HOST", "AT", "DEVICE", "TO", "DECIDES", "MTU", "WHY"]


@click.command()
@click.argument("source", metavar="A", shell_complete=options.complete_endpoint)
@click.argument("to", metavar="B:PORT[/PROTOCOL]")
@options.output
def trace(source: str, to: str, output: str) -> None:
    """Show each hop that a packet would take, what it decides, and why.

    It is the first one of a connection from A to a port of B. Both are an endpoint's name, an
    address, or `world`; the protocol is tcp or udp. Nothing is sent: each host says what its kernel
    would do now.
    """
    found = options.agent().trace(source, to)
    if output != "table":
        show.document(found, output)
        return
    show.table(_TITLES, [_row(step) for step in found.steps])
    click.echo(f"{found.source} to {found.destination}: {_result(found)}")


def _row(step: Step) -> list[Any]:
    where = f"[{step.destination}]" if step.destination.version == 6 else step.destination
    place = [step.host, step.at or "?", step.device, f"{where}:{step.port}"]
    return [*place, _decision(step), step.mtu or "", step.why]


def _decision(step: Step) -> str:
    words = {
        "deliver": f"delivered to {step.to}",
        "host": "to this host's sockets",
        "send": f"to {step.to}, {step.how}",
        "translate": f"translated to {step.to}",
        "masquerade": f"masqueraded as {step.to}",
        "pass": "to the host's stack",
        "leave": f"to the world by {step.to}",
        "drop": f"dropped: {step.reason}" if step.reason else "dropped",
        "unknown": f"to {step.to}, {step.how}: nobody knows" if step.at else "not asked",
    }
    return words[step.decision]


def _result(report: TraceReport) -> str:
    return f"{report.verdict}: {report.reason}" if report.reason else report.verdict
