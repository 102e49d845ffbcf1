"""`seaway routed`: the routing daemon, started by the agent or its service."""

from __future__ import annotations

from pathlib import Path

import click

from seaway import names


@click.command(hidden=True)
@click.option("--run", type=click.Path(path_type=Path), default=names.RUN_FOLDER)
@click.option("--trust", type=click.Path(path_type=Path), default=names.TRUST_FOLDER)
@click.option("--link-state", type=click.Path(path_type=Path), default=names.LINK_STATE_FILE)
@click.option("--pins", type=click.Path(path_type=Path), default=names.PIN_FOLDER)
def routed(run: Path, trust: Path, link_state: Path, pins: Path) -> None:
    """Measure links, tell other hosts, compute paths.

    What it has to know is in a file that the agent writes; it answers on a socket beside it.
    """
    from seaway.cli.agent import log_to_stderr, without_colours  # noqa: PLC0415

    without_colours()
    import asyncio  # noqa: PLC0415

    from seaway.bpf.failover import Failover  # noqa: PLC0415
    from seaway.bpf.sent import Sent  # noqa: PLC0415
    from seaway.kernel.loads import Loads  # noqa: PLC0415
    from seaway.routed import daemon  # noqa: PLC0415
    from seaway.routed.files import Files  # noqa: PLC0415
    from seaway.routed.senses import Senses  # noqa: PLC0415

    log_to_stderr("info")
    files, senses = Files(run, trust, link_state), Senses(Loads(), Sent(pins))
    asyncio.run(daemon.serve(files, [Failover(pins)], senses))
