"""`seaway restore`: from a backup to a host that is as it was."""

from __future__ import annotations

import time
from pathlib import Path

import click

from seaway.cli import options


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False, allow_dash=True))
@click.option("--replace", is_flag=True, help="Also on a host that has a state already.")
@click.option("--cni/--no-cni", default=True, show_default=True, help="Serve CNI runtimes.")
def restore(file: Path, *, replace: bool, cni: bool) -> None:
    """Set this host up with the state of a backup.

    FILE is what `seaway backup` wrote; '-' is standard input. With --replace, endpoints that
    live and are in the backup keep their connections; those that are not in it are detached.
    """
    from seaway.setup import restoring  # noqa: PLC0415

    backup = restoring.read(file)
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(backup.at))
    click.echo(f"backup of host '{backup.host}', cluster {backup.cluster}, {at}", err=True)
    wish = restoring.Wish(backup=backup, replace=replace, cni=cni)
    restored = restoring.restore(wish, options.agent(), lambda line: click.echo(line, err=True))
    click.echo(f"{len(restored.records)} records of cluster {restored.cluster.id} are restored")
