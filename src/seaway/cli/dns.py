"""`seaway dns`: the resolver, started by the agent or its service."""

from __future__ import annotations

from pathlib import Path

import click

from seaway import names


@click.command(hidden=True)
@click.option("--names", "file", type=click.Path(path_type=Path), default=names.NAMES_FILE)
@click.option("--run", type=click.Path(path_type=Path), default=names.RUN_FOLDER)
@click.option("--servers", type=click.Path(path_type=Path), default="/etc/resolv.conf")
def dns(file: Path, run: Path, servers: Path) -> None:
    """Answer who asks for names.

    What it knows is in a file that the agent writes; whom it asks for other names, in SERVERS.
    """
    from seaway.cli.agent import log_to_stderr, without_colours  # noqa: PLC0415

    without_colours()
    import asyncio  # noqa: PLC0415

    from seaway.dns import daemon  # noqa: PLC0415

    log_to_stderr("info")
    files = daemon.Files(file, run / names.RESOLVER_PID_FILE.name, servers)
    asyncio.run(daemon.serve(files))
