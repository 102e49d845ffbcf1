"""`seaway init`: from a bare host to one whose containers talk, in one command."""

from __future__ import annotations

import click

from seaway.cli import options

_NEXT = """\
try:  ip netns add blue && seaway attach blue
      ip netns exec blue ping -c1 {address}
see:  seaway status, seaway doctor, seaway network --help"""


@click.command()
@click.option("--subnet", multiple=True, help="CIDR[,CIDR]: the cluster's pools. [default: free]")
@click.option("--service-subnet", multiple=True, help="CIDR[,CIDR]. [default: the pools' last]")
@click.option(
    "--advertise",
    multiple=True,
    metavar="ADDR",
    help="Where other hosts reach this one; one of each family. [default: of the default route]",
)
@click.option("--cni/--no-cni", default=True, show_default=True, help="Serve CNI runtimes.")
def init(
    subnet: tuple[str, ...],
    service_subnet: tuple[str, ...],
    advertise: tuple[str, ...],
    *,
    cni: bool,
) -> None:
    """Set this host up and start its agent.

    Repeated, it puts back what is missing and changes nothing else.
    """
    from seaway.model.addresses import parse_address, parse_prefix  # noqa: PLC0415
    from seaway.setup import beginning  # noqa: PLC0415

    wish = beginning.Wish(
        pools=tuple(parse_prefix(text) for text in options.items(subnet)),
        service_subnets=tuple(parse_prefix(text) for text in options.items(service_subnet)),
        advertise=tuple(parse_address(text) for text in options.items(advertise)),
        cni=cni,
    )
    addresses = beginning.begin(wish, options.agent(), lambda line: click.echo(line, err=True))
    click.echo(_NEXT.format(address=addresses[0]))
