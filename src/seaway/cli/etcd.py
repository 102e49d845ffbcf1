"""`seaway etcd`: this host's member of the etcd that Seaway runs, started by the agent or its
service.
"""

from __future__ import annotations

import click


@click.command(hidden=True)
def etcd() -> None:
    """Become etcd, with what this host must know to be a member."""
    import os  # noqa: PLC0415

    from seaway import names  # noqa: PLC0415
    from seaway.cluster import seats  # noqa: PLC0415
    from seaway.presence import alone  # noqa: PLC0415

    seats.require_program()
    command = seats.command(seats.OwnSeat())
    with alone(names.ETCD_PID_FILE, "etcd") as lock:
        os.set_inheritable(lock, True)  # etcd holds it from now on
        os.execvp(command[0], command)
