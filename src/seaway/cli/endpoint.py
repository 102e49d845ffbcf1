"""`seaway endpoint`: the interfaces of containers, as the agent knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seaway import names
from seaway.cli import options, show
from seaway.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import EndpointReport


def _drops(report: EndpointReport) -> str:
    return ", ".join(f"{d.reason} {d.packets}" for d in report.drops)


def _ports(report: EndpointReport) -> list[str]:
    from seaway.model.publications import in_ranges  # noqa: PLC0415, help must not pay for it

    return in_ranges(report.endpoint.ports)


def _condition(report: EndpointReport) -> str:
    """As services see it."""
    endpoint = report.endpoint
    words = ["ready" if endpoint.ready else "not ready"]
    words += ["terminating"] if endpoint.terminating else []
    return ", ".join(words + (["draining"] if endpoint.draining else []))


def _limits(report: EndpointReport) -> str:
    from seaway.model.limits import written  # noqa: PLC0415, help must not pay for it

    return written(report.endpoint.limit_connections, report.endpoint.limit_rate)


def _bandwidth(report: EndpointReport) -> str:
    from seaway.model.bandwidth import told  # noqa: PLC0415, help must not pay for it

    return told((report.ingress, report.egress))


def _use(report: EndpointReport) -> str:
    if not (report.endpoint.limit_connections or report.endpoint.limit_rate):
        return ""
    use = report.use
    return f"{use.open} open, refused {use.full} (too many open) and {use.fast} (too fast)"


_FLOW_CONTROL: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--limit-connections",
        {"type": int, "metavar": "NUMBER", "help": "Most that it has opened at once. 0: no limit."},
    ),
    ("--limit-rate", {"metavar": "NUMBER/s", "help": "Most that it opens in a second."}),
    ("--ingress-rate", {"metavar": "BITS", "help": "What it gets in a second: 50mbit. 0: all."}),
    ("--ingress-burst", {"metavar": "BITS", "help": "Of that, at once. 0: the usual."}),
    ("--egress-rate", {"metavar": "BITS", "help": "What it sends in a second: 50mbit. 0: all."}),
    ("--egress-burst", {"metavar": "BITS", "help": "Of that, at once. 0: the usual."}),
)


def flow_control(command: Callable[..., None]) -> Callable[..., None]:
    """The options by which an endpoint is limited."""
    for name, given in reversed(_FLOW_CONTROL):
        command = click.option(name, **given)(command)
    return command


def limits_of(given: dict[str, Any]) -> dict[str, int]:
    """What was said of them, in the words of the model; they are taken out."""
    from seaway.model.bandwidth import parse_bits  # noqa: PLC0415, help must not pay for it
    from seaway.model.limits import parse_rate  # noqa: PLC0415

    found = {}
    for option, _ in _FLOW_CONTROL:
        name = option.removeprefix("--").replace("-", "_")
        value = given.pop(name)
        if value is None:
            continue
        parse = parse_rate if name == "limit_rate" else parse_bits
        found[name] = value if isinstance(value, int) else parse(value)
    return found


COLUMNS: dict[str, Callable[[EndpointReport], Any]] = {
    "ID": lambda r: r.endpoint.id,
    "NETWORK": lambda r: r.endpoint.network,
    "NAME": lambda r: r.endpoint.name,
    "ADDRESSES": lambda r: [interface.ip for interface in r.endpoint.addresses],
    "PORTS": _ports,
    "INTERFACE": lambda r: r.endpoint.interface,
    "CONTAINER": lambda r: names.short_name(r.endpoint.container),
    "DROPPED": lambda r: sum(d.packets for d in r.drops),
}
LINES: dict[str, Callable[[EndpointReport], Any]] = {
    "id": lambda r: r.endpoint.id,
    "network": lambda r: r.endpoint.network,
    "name": lambda r: r.endpoint.name,
    "aliases": lambda r: r.endpoint.aliases,
    "addresses": lambda r: r.endpoint.addresses,
    "ports": _ports,
    "mac": lambda r: r.endpoint.mac,
    "mtu": lambda r: r.endpoint.mtu,
    "labels": lambda r: r.endpoint.labels,
    "own ports": lambda r: r.endpoint.port_names,
    "weight": lambda r: r.endpoint.weight,
    "is": _condition,
    "limits": _limits,
    "opened": _use,
    "bandwidth": _bandwidth,
    "identity": lambda r: r.endpoint.identity,
    "container": lambda r: r.endpoint.container,
    "interface": lambda r: r.endpoint.interface,
    "netns": lambda r: r.endpoint.netns,
    "host side": lambda r: f"{r.link} ({r.ifindex})" if r.ifindex else f"{r.link} (missing)",
    "came by": lambda r: r.endpoint.door,
    "dropped": _drops,
}


@click.group()
def endpoint() -> None:
    """List, inspect and change endpoints, and publish their ports."""


@endpoint.command()
@click.option("--network", shell_complete=options.complete_network, help="Only of this one.")
@options.output
def ls(network: str | None, output: str) -> None:
    """List endpoints, with how many packets each had dropped."""
    show.listing(options.agent().endpoints(network), COLUMNS, output)


@endpoint.command()
@click.argument("endpoint", shell_complete=options.complete_endpoint)
@options.output
def inspect(endpoint: str, output: str) -> None:
    """Show all of one endpoint: an id, a name, or NETWORK/NAME."""
    show.one(options.agent().endpoint(endpoint), LINES, output)


@endpoint.command()
@click.argument("endpoint", shell_complete=options.complete_endpoint)
@click.argument("mapping", nargs=-1, required=True)
def publish(endpoint: str, mapping: tuple[str, ...]) -> None:
    """Lead ports of this host to ports of an endpoint.

    A MAPPING is [HOSTIP:]HOSTPORT[-LAST]:CONTAINERPORT[-LAST][/PROTOCOL], e.g. 8080:80,
    127.0.0.1:5300:53/udp or [::1]:8000-8009:80-89. Without HOSTIP: on every address of the host.
    """
    from seaway.model.requests import Publications  # noqa: PLC0415

    options.agent().publish(endpoint, Publications(ports=options.ports(mapping)))
    click.echo(f"endpoint {endpoint} publishes {', '.join(mapping)}")


@endpoint.command()
@click.argument("endpoint", shell_complete=options.complete_endpoint)
@click.argument("mapping", nargs=-1, required=True)
def unpublish(endpoint: str, mapping: tuple[str, ...]) -> None:
    """Take published ports back: each MAPPING as 'seaway endpoint inspect' shows it."""
    from seaway.model.requests import Publications  # noqa: PLC0415

    options.agent().unpublish(endpoint, Publications(ports=options.ports(mapping)))
    click.echo(f"endpoint {endpoint} publishes {', '.join(mapping)} no more")


@endpoint.command()
@click.argument("endpoint", shell_complete=options.complete_endpoint)
@click.option("--ready/--not-ready", default=None, help="For connections of services.")
@click.option("--terminating/--not-terminating", default=None, help="Its connections end.")
@click.option("--weight", type=int, help="Its share of a service. 0: none.")
@click.option("--port-name", multiple=True, metavar="NAME=PORT", help="In place of those it has.")
@flow_control
def update(endpoint: str, port_name: tuple[str, ...], **given: Any) -> None:
    """Change what services ask of an endpoint of this host, and its limits.

    Its connections go on.
    """
    from seaway.model.requests import EndpointChange  # noqa: PLC0415

    names = options.port_names(port_name) if port_name else None
    given |= limits_of(given)
    if names is None and all(value is None for value in given.values()):
        raise Invalid("nothing to change was given", "see: seaway endpoint update --help")
    made = options.agent().update_endpoint(endpoint, EndpointChange(port_names=names, **given))
    click.echo(f"endpoint {made.network}/{made.name} is changed")
