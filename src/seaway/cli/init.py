"""`seaway init`: from a bare host to one whose containers talk, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seaway.cli import options, token
from seaway.errors import Invalid

PEM = click.Path(path_type=Path, dir_okay=False)

_CARRYING = ("encapsulation", "overlay_port", "overlay_id")
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
@click.option(
    "--encapsulation",
    type=click.Choice(["always", "auto", "never"]),
    help="Of packets between hosts; auto: not between those on one link. [default: always]",
)
@click.option("--overlay-port", type=click.IntRange(1, 65535), help="UDP. [default: 8479]")
@click.option("--overlay-id", type=click.IntRange(0, 0xFFFFFF), help="VXLAN's. [default: 8479]")
@click.option(
    "--etcd",
    multiple=True,
    metavar="URL|own",
    help="Keep the records there, may be repeated; or have Seaway run etcd on its control hosts.",
)
@click.option("--etcd-ca", type=PEM, help="By which that etcd is known. [default: the cluster's]")
@click.option("--etcd-cert", type=PEM, help="By which it knows us. [default: this host's]")
@click.option("--etcd-key", type=PEM, help="Of that certificate.")
@click.option("--cni/--no-cni", default=True, show_default=True, help="Serve CNI runtimes.")
def init(
    subnet: tuple[str, ...], service_subnet: tuple[str, ...], *, cni: bool, **given: Any
) -> None:
    """Set this host up and start its agent.

    Repeated, it puts back what is missing and changes nothing else. With --etcd also on a host
    that is set up: its records move there, and the command by which others join is printed.
    """
    from seaway.model.addresses import parse_address, parse_prefix  # noqa: PLC0415
    from seaway.setup import beginning, moving  # noqa: PLC0415

    urls = tuple(options.items(given["etcd"]))
    files = [given[f"etcd_{name}"] for name in ("ca", "cert", "key")]
    if any(files) and not urls:
        raise Invalid("files of an etcd were given, and no etcd", "give --etcd URL")
    wish = beginning.Wish(
        pools=tuple(parse_prefix(text) for text in options.items(subnet)),
        service_subnets=tuple(parse_prefix(text) for text in options.items(service_subnet)),
        advertise=tuple(parse_address(text) for text in options.items(given["advertise"])),
        carrying={name: given[name] for name in _CARRYING if given[name] is not None},
        etcd=moving.access(urls, files) if urls else None,
        cni=cni,
    )
    addresses = beginning.begin(wish, options.agent(), lambda line: click.echo(line, err=True))
    if urls:
        _tell_join()
    click.echo(_NEXT.format(address=addresses[0]))


def _tell_join() -> None:
    from seaway.model.requests import NewToken  # noqa: PLC0415

    token.tell(options.agent().create_token(NewToken()))
