"""`seaway network`: named sets of subnets with their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show
from seaway.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import NetworkReport

COLUMNS: dict[str, Callable[[NetworkReport], Any]] = {
    "NAME": lambda r: r.network.name,
    "SUBNETS": lambda r: r.network.subnets,
    "OPEN": lambda r: r.network.open,
    "CONNECTED": lambda r: r.connected,
    "MTU": lambda r: r.network.mtu,
    "ENDPOINTS": lambda r: r.endpoints,
}
LINES: dict[str, Callable[[NetworkReport], Any]] = {
    "name": lambda r: r.network.name,
    "number": lambda r: r.network.number,
    "subnets": lambda r: r.network.subnets,
    "open": lambda r: r.network.open,
    "connected": lambda r: r.connected,
    "masquerade": lambda r: r.network.masquerade,
    "host access": lambda r: r.network.host_access,
    "link-local": lambda r: r.network.link_local,
    "routing": lambda r: r.network.routing,
    "mtu": lambda r: r.network.mtu,
    "endpoints": lambda r: r.endpoints,
}


_MTU = click.option(
    "--mtu", type=int, help="Of its interfaces. [default: the uplink's, less what carries it]"
)
_ROUTINGS = {
    "hops": "the fewest hosts in the middle, then the shortest round trip",
    "latency": "what takes least time, by round trip, loss and load",
}
_SWITCHES = {  # option -> what a new network has, and what it means
    "--open/--closed": (False, "Reach, and be reached by, other open ones."),
    "--masquerade/--no-masquerade": (True, "Send to the world behind the host's address."),
    "--host-access/--no-host-access": (True, "Let containers reach ports of their own host."),
    "--link-local/--no-link-local": (
        False,
        "Let containers reach link-local addresses, as the cloud's metadata.",
    ),
}


def isolation(*, new: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that a network is made with and that can be changed later."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        routing = click.option(
            "--routing",
            type=click.Choice(list(_ROUTINGS)),
            default="hops" if new else None,
            show_default=new,
            help=f"Paths between hosts: {'; or '.join(_ROUTINGS.values())}.",
        )
        command = _MTU(routing(command))
        for names, (default, text) in reversed(_SWITCHES.items()):
            option = click.option(
                names, default=default if new else None, show_default=new, help=text
            )
            command = option(command)
        return command

    return add


@click.group()
def network() -> None:
    """Make, change, connect and remove networks."""


@network.command()
@click.argument("name")
@click.option("--subnet", multiple=True, help="CIDR[,CIDR]. [default: one of each family]")
@click.option(
    "--family",
    type=click.Choice(["4", "6"]),
    multiple=True,
    help="Only this family, if no subnet is given. [default: both]",
)
@isolation(new=True)
@options.output
def create(name: str, subnet: tuple[str, ...], output: str, **given: Any) -> None:
    """Make a network."""
    from seaway.model.addresses import parse_prefix  # noqa: PLC0415
    from seaway.model.requests import NewNetwork  # noqa: PLC0415

    subnets = tuple(parse_prefix(text) for text in options.items(subnet))
    families = tuple(int(family) for family in given.pop("family")) or (4, 6)
    given["mtu"] = given["mtu"] or 0
    new = NewNetwork(name=name, subnets=subnets, families=families, **given)
    made = options.agent().create_network(new)
    options.warn(made.warnings)
    if output != "table":
        show.document(made, output)
        return
    click.echo(f"network {made.name}: {', '.join(map(str, made.subnets))}")


@network.command()
@options.output
def ls(output: str) -> None:
    """List networks."""
    show.listing(options.agent().networks(), COLUMNS, output)


@network.command()
@click.argument("name", shell_complete=options.complete_network)
@options.output
def inspect(name: str, output: str) -> None:
    """Show all of one network."""
    show.one(options.agent().network(name), LINES, output)


@network.command()
@click.argument("name", shell_complete=options.complete_network)
@isolation(new=False)
def update(name: str, **given: Any) -> None:
    """Change options of a network; endpoints that are there keep their MTU."""
    from seaway.model.requests import NetworkChange  # noqa: PLC0415

    if all(value is None for value in given.values()):
        raise Invalid("nothing to change was given", "see: seaway network update --help")
    made = options.agent().update_network(name, NetworkChange(**given))
    click.echo(f"network {made.name} is changed")


@network.command()
@click.argument("name", shell_complete=options.complete_network)
@click.argument("other", shell_complete=options.complete_network)
def connect(name: str, other: str) -> None:
    """Let two networks reach each other."""
    options.agent().connect_networks(name, other)
    click.echo(f"networks {name} and {other} are connected")


@network.command()
@click.argument("name", shell_complete=options.complete_network)
@click.argument("other", shell_complete=options.complete_network)
def disconnect(name: str, other: str) -> None:
    """Close two networks to each other again."""
    options.agent().disconnect_networks(name, other)
    click.echo(f"networks {name} and {other} are disconnected")


@network.command()
@click.argument("name", shell_complete=options.complete_network)
def rm(name: str) -> None:
    """Remove a network without endpoints."""
    options.agent().remove_network(name)
    click.echo(f"network {name} is removed")
