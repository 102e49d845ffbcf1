"""`seaway join`: one more host for a cluster that is there."""

from __future__ import annotations

import click

from seaway.cli import options


@click.command()
@click.argument("token")
@click.argument("host")
@click.option(
    "--advertise",
    multiple=True,
    metavar="ADDR",
    help="Where other hosts reach this one; one of each family. [default: of the way to HOST]",
)
@click.option("--cni/--no-cni", default=True, show_default=True, help="Serve CNI runtimes.")
def join(token: str, host: str, advertise: tuple[str, ...], *, cni: bool) -> None:
    """Have this host join a cluster.

    TOKEN is what `seaway token create` printed on a host of it; HOST is where any of them
    answers: an address or a name, perhaps with :PORT. Repeated, it finishes what was begun, and
    gets a new certificate where the old one has expired.
    """
    from seaway.model.addresses import parse_address, parse_place  # noqa: PLC0415
    from seaway.setup import joining  # noqa: PLC0415
    from seaway.trust import tokens  # noqa: PLC0415

    parse_place(host, 1)
    wish = joining.Wish(
        token=tokens.parse(token),
        at=host,
        advertise=tuple(parse_address(text) for text in options.items(advertise)),
        cni=cni,
    )
    joined = joining.join(wish, options.agent(), lambda line: click.echo(line, err=True))
    click.echo(f"host '{joined.host.name}' is one of cluster {joined.cluster.id}")
    click.echo("see:  seaway host ls, seaway status")
