"""`seaway token`: what lets hosts join."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import NewTokenReport, TokenReport


def _uses(report: TokenReport) -> str:
    return f"{report.used} of {report.uses or 'any'}"


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def tell(made: NewTokenReport) -> None:
    """The command by which a host joins."""
    where = str(made.addresses[0]) if made.addresses else "HOST"
    click.echo(f"until {at(made.expires)}, on the host that joins:", err=True)
    click.echo(f"seaway join {made.token} {where}")


COLUMNS: dict[str, Callable[[TokenReport], Any]] = {
    "ID": lambda r: r.id,
    "HOLDS": lambda r: r.holds,
    "EXPIRES": lambda r: at(r.expires),
    "USED": _uses,
    "CONTROL": lambda r: r.control,
}


@click.group()
def token() -> None:
    """Make, list and revoke what lets hosts join."""


@token.command()
@click.option("--ttl", default="24h", show_default=True, help="How long it holds: 90s, 30m, 7d.")
@click.option("--uses", type=click.IntRange(min=1), help="How often. [default: any]")
@click.option("--control", is_flag=True, help="Who joins with it becomes a control host.")
@options.output
def create(ttl: str, uses: int | None, output: str, *, control: bool) -> None:
    """Make a token, and print the command by which a host joins.

    It is printed this once. The first one makes the cluster's CA and opens TCP port 8480.
    """
    from seaway.model.durations import parse_duration  # noqa: PLC0415
    from seaway.model.requests import NewToken  # noqa: PLC0415

    new = NewToken(ttl=parse_duration(ttl), uses=uses or 0, control=control)
    made = options.agent().create_token(new)
    if output != "table":
        show.document(made, output)
        return
    tell(made)


@token.command()
@options.output
def ls(output: str) -> None:
    """List tokens; what would let somebody use one is stored nowhere."""
    show.listing(options.agent().tokens(), COLUMNS, output)


@token.command()
@click.argument("id")
def revoke(id: str) -> None:  # noqa: A002, the name of the argument
    """Have nobody join by a token any more; who has joined stays."""
    options.agent().revoke_token(id)
    click.echo(f"token {id} is revoked")
