"""`seaway backup`: what is to be kept elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from seaway.cli import options


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False, allow_dash=True))
@click.option("--overwrite", is_flag=True, help="Also over a file that exists.")
def backup(file: Path, *, overwrite: bool) -> None:
    """Write the whole state of this network to a file.

    FILE is written whole or not at all; '-' is standard output. `seaway restore` takes it.
    """
    from seaway.model.backup import to_bytes  # noqa: PLC0415
    from seaway.setup import saving  # noqa: PLC0415

    to_file = str(file) != "-"
    if to_file:
        saving.refuse(file, overwrite=overwrite)
    whole = saving.whole(options.agent())
    data = to_bytes(whole)
    if to_file:
        saving.write(file, data, overwrite=overwrite)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    what = f"{len(whole.records)} records of cluster {whole.cluster}, {len(data)} bytes"
    click.echo(f"{file}: {what}" if to_file else what, err=True)
