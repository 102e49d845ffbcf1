"""`seaway lab`: several hosts on one machine, each a network namespace of its own."""

from __future__ import annotations

import click

from seaway.cli import options, show
from seaway.cli.ending import clean_up_first

DEFAULT = "lab"
_name = click.option("--name", default=DEFAULT, show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """Make virtual hosts on this machine to try things in.

    This machine's own network stays untouched, and no packet leaves it.
    """


def _must_be_root() -> None:
    from seaway.setup.beginning import must_be_root  # noqa: PLC0415, help must not pay for it

    must_be_root("make, enter or end a lab")


@lab.command()
@_name
@click.option("--hosts", default=1, show_default=True, help="How many.")
@click.option(
    "--topology",
    default="mesh",
    show_default=True,
    help="Who sees whom: mesh, line, star, sites, or a file of links.",
)
@click.option("--world", is_flag=True, help="One more that stands for the internet.")
@click.option(
    "--agents/--no-agents",
    default=True,
    show_default=True,
    help="Start Seaway in each, as a cluster of its own; without, they can join one.",
)
def up(name: str, *, hosts: int, topology: str, world: bool, agents: bool) -> None:
    """Make a lab."""
    from seaway import lab as labs  # noqa: PLC0415

    _must_be_root()
    clean_up_first()
    labs.check(name, hosts, topology)
    click.echo(f"making {hosts} host{'s' * (hosts > 1)} ...", err=True)
    made = labs.up(name, hosts=hosts, world=world, agents=agents, topology=topology)
    titles = ", ".join(host.name for host in made.everyone)
    click.echo(f"lab {made.name} is up: {titles}")
    which = "" if name == DEFAULT else f"--name {name} "
    then = "status" if agents else "init"
    click.echo(f"try: seaway lab exec {which}{made.hosts[0].name} seaway {then}", err=True)


@lab.command()
@_name
def down(name: str) -> None:
    """Take a lab down; nothing of it is left."""
    from seaway import lab as labs  # noqa: PLC0415

    _must_be_root()
    found = labs.down(name)
    click.echo(f"lab {name} is gone" if found else f"there was no lab {name}")


@lab.command(context_settings={"allow_interspersed_args": False})
@_name
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec(ctx: click.Context, name: str, host: str, command: tuple[str, ...]) -> None:  # noqa: A001
    """Run a command in a host of a lab; its exit status is ours."""
    from seaway import lab as labs  # noqa: PLC0415

    _must_be_root()
    ctx.exit(labs.run(name, host, list(command)))


@lab.command()
@_name
@click.argument("host")
@click.argument("other")
@click.argument("what", type=click.Choice(["up", "down", "loss", "delay", "rate"]))
@click.argument("value", default="")
def link(name: str, host: str, other: str, what: str, value: str) -> None:
    """Change the link between two hosts, both ways.

    up and down take no VALUE; loss is in percent, delay in ms, rate in Mbit/s; 0 takes it away.
    """
    from seaway import lab as labs  # noqa: PLC0415

    click.echo(f"link {labs.link((host, other), what, value, name)}")


@lab.command()
@_name
@options.output
def status(name: str, output: str) -> None:
    """Show what runs of a lab."""
    from seaway import lab as labs  # noqa: PLC0415

    _must_be_root()
    found = labs.status(name)
    if output != "table":
        told = {"lab": name, "running": found.running, "agents": found.agents}
        show.document(told | {"links": list(found.links)}, output)
        return
    rows = [
        [host.name, found.running[host.name], found.agents.get(host.name, "-"), host.address4]
        for host in found.lab.everyone
    ]
    show.table(["HOST", "RUNNING", "AGENT", "ADDRESS"], rows)
    for known in found.links:
        click.echo(f"link {known}")
