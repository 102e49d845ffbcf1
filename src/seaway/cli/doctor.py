"""`seaway doctor`: works without an agent, and says why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show
from seaway.errors import HostUnfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import Finding

COLUMNS: dict[str, Callable[[Finding], Any]] = {
    "CHECK": lambda f: f.check,
    "LEVEL": lambda f: f.level,
    "FOUND": lambda f: f.found,
    "ADVICE": lambda f: f.advice,
}


@click.command()
@options.output
@click.pass_context
def doctor(ctx: click.Context, output: str) -> None:
    """Check what this kernel and host offer, and what is off, and why.

    Exit status 8 where something keeps containers from their network.
    """
    from seaway.setup import health  # noqa: PLC0415

    found = health.findings(options.agent())
    show.listing(found, COLUMNS, output)
    ctx.exit(HostUnfit.exit_status if any(f.level == "error" for f in found) else 0)
