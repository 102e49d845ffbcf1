"""`seaway uninstall`: leaves nothing behind."""

from __future__ import annotations

import sys

import click

from seaway.errors import Invalid

_WHAT = "This removes the agent, all endpoints, networks, files and state of Seaway on this host."


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also while containers are attached.")
def uninstall(*, yes: bool, force: bool) -> None:
    """Remove everything of Seaway from this host."""
    from seaway.setup import removal  # noqa: PLC0415

    if not yes:
        if not sys.stdin.isatty():
            raise Invalid("nobody can be asked here", "give --yes to remove everything")
        click.confirm(f"{_WHAT} Go on?", abort=True)
    removal.remove(force=force, say=lambda line: click.echo(line, err=True))
    click.echo("nothing of Seaway is left but the program itself")
