"""`seaway leave`: this host goes, the cluster stays."""

from __future__ import annotations

import click

from seaway.cli import options


@click.command()
@click.option(
    "--force", is_flag=True, help="Also while containers are attached, or without being heard."
)
def leave(*, force: bool) -> None:
    """Take this host out of its cluster.

    Its settings in /etc/seaway stay; it can join again, or another one.
    """
    from seaway.setup import leaving  # noqa: PLC0415

    leaving.leave(options.agent(), lambda line: click.echo(line, err=True), force=force)
    click.echo("this host has no cluster any more")
