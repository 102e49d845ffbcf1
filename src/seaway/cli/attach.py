"""`seaway attach` and `seaway detach`: a bare network namespace on a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seaway.cli import options, show
from seaway.cli.endpoint import LINES, flow_control, limits_of


@click.command()
@click.argument("netns", metavar="NETNS|PID")
@click.option(
    "--network",
    default="default",
    show_default=True,
    shell_complete=options.complete_network,
    help="Which network.",
)
@click.option(
    "--name", default="", help="Unique in its network on this host. [default: that of NETNS]"
)
@click.option("--interface", default="eth0", show_default=True, help="Its name inside.")
@click.option("--container", default="", help="The runtime's id. [default: of the namespace]")
@click.option("--address", multiple=True, help="A certain address of each family, if free.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@click.option("--alias", multiple=True, help="Another name. May be repeated.")
@click.option(
    "-p", "--publish", multiple=True, metavar="MAPPING", help="A port of the host. May be repeated."
)
@click.option(
    "--port-name",
    multiple=True,
    metavar="NAME=PORT",
    help="A name of a port, for services. May be repeated.",
)
@click.option(
    "--weight", type=int, default=1, show_default=True, help="Its share of a service. 0: none."
)
@click.option("--mac", default="", help="[default: made from the address]")
@click.option("--mtu", type=int, default=0, help="[default: the network's]")
@click.option("--default-route/--no-default-route", default=True, help="Through this interface.")
@flow_control
@options.output
def attach(netns: str, output: str, **given: Any) -> None:
    """Give a network namespace an interface on a network.

    NETNS is a name under /run/netns, a path, or the id of a process that lives in it.
    A MAPPING is [HOSTIP:]HOSTPORT[-LAST]:CONTAINERPORT[-LAST][/PROTOCOL].
    """
    from seaway.model.addresses import parse_address  # noqa: PLC0415
    from seaway.model.requests import NewEndpoint  # noqa: PLC0415

    given["name"] = given["name"] or _name(netns)
    given |= limits_of(given)
    new = NewEndpoint(
        netns=str(Path(netns).absolute()) if "/" in netns else netns,
        addresses=tuple(parse_address(text) for text in options.items(given.pop("address"))),
        labels=options.pairs(given.pop("label")),
        aliases=tuple(options.items(given.pop("alias"))),
        ports=options.ports(given.pop("publish")),
        port_names=options.port_names(given.pop("port_name")),
        **given,
    )
    client = options.agent()
    made = client.attach(new)
    if output == "table":
        show.one(client.endpoint(made.id), LINES, output)
    else:
        show.document(made, output)


def _name(netns: str) -> str:
    return f"process-{netns}" if netns.isdigit() else Path(netns).name


@click.command()
@click.argument("endpoint", shell_complete=options.complete_endpoint)
def detach(endpoint: str) -> None:
    """Take an endpoint's interface away and free its addresses.

    ENDPOINT is an id, a name, or NETWORK/NAME.
    """
    options.agent().detach(endpoint)
    click.echo(f"endpoint {endpoint} is detached")
