"""`seaway service`: names and virtual addresses in front of endpoints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from seaway.cli import options, show
from seaway.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import BackendDrain, BackendReport, ServiceDetail, ServiceReport
    from seaway.model.services import ServicePort


def _ports(report: ServiceReport) -> list[str]:
    return [_port(port) for port in report.service.ports]


def _port(port: ServicePort) -> str:
    name = f"{port.name}=" if port.name else ""
    return f"{name}{port.port}:{port.target}/{port.protocol}"


def _published(report: ServiceReport) -> list[str]:
    """As `--publish` takes it."""
    ports = [port for port in report.service.ports if port.node_port]
    return [f"{port.node_port}:{port.port}/{port.protocol}" for port in ports]


def _addresses(report: ServiceReport) -> Any:
    service = report.service
    if service.external_name:
        return service.external_name
    return "headless" if service.headless else service.addresses


def _limits(report: ServiceReport) -> str:
    from seaway.model.limits import written  # noqa: PLC0415, help must not pay for it

    return written(report.service.limit_connections, report.service.limit_rate)


def _bandwidth(report: ServiceReport) -> str:
    from seaway.model.bandwidth import told, ways_of  # noqa: PLC0415, help must not pay for it

    ways = ways_of(report.service)
    return told(ways) + (", each backend" if any(way.rate for way in ways) else "")


def _use(report: ServiceDetail) -> str:
    if not (report.service.limit_connections or report.service.limit_rate):
        return ""
    use = report.use
    return f"{use.open} open, refused {use.full} (too many open) and {use.fast} (too fast)"


def _check(report: ServiceReport) -> str:
    from seaway.model.checks import written  # noqa: PLC0415, help must not pay for it

    return written(report.service.check)


COLUMNS: dict[str, Callable[[ServiceReport], Any]] = {
    "NETWORK": lambda r: r.service.network,
    "NAME": lambda r: r.service.name,
    "ADDRESSES": _addresses,
    "PORTS": _ports,
    "PUBLISHED": _published,
    "BACKENDS": lambda r: f"{r.chosen} of {r.known}",
    "SELECTOR": lambda r: r.service.selector,
}
LINES: dict[str, Callable[[ServiceDetail], Any]] = {
    "network": lambda r: r.service.network,
    "name": lambda r: r.service.name,
    "addresses": _addresses,
    "ports": _ports,
    "published": _published,
    "selector": lambda r: r.service.selector,
    "algorithm": lambda r: r.service.algorithm,
    "affinity": lambda r: f"{r.service.affinity} s" if r.service.affinity else "none",
    "internal policy": lambda r: r.service.internal_policy,
    "external policy": lambda r: r.service.external_policy if _published(r) else "none",
    "health port": lambda r: r.service.health_port or "none",
    "distribution": lambda r: r.service.distribution or "everywhere",
    "not ready ones": lambda r: r.service.publish_not_ready,
    "check": _check,
    "drain": lambda r: f"{r.service.drain:g} s",
    "limits": _limits,
    "from this host": _use,
    "bandwidth": _bandwidth,
    "backends": lambda r: f"{r.chosen} of {r.known}",
    "warnings": lambda r: r.warnings,
}
BACKENDS: dict[str, Callable[[BackendReport], Any]] = {
    "PORT": lambda b: b.port,
    "BACKEND": lambda b: b.address or "",
    "TARGET": lambda b: b.target or "",
    "NAME": lambda b: b.name,
    "HOST": lambda b: b.host,
    "WEIGHT": lambda b: b.weight,
    "CHOSEN": lambda b: b.chosen,
    "WHY": lambda b: b.why,
}
_POLL: Final = 0.5  # seconds
_NEAR = {"nothing": "", "zone": "PreferSameZone", "node": "PreferSameNode"}
_BANDWIDTH = ("ingress_rate", "ingress_burst", "egress_rate", "egress_burst")
_ALGORITHMS = ["random", "round-robin", "least-connections", "maglev"]


_KNOBS: tuple[tuple[tuple[str, ...], dict[str, Any], str], ...] = (  # names, what, usually
    (
        ("--port", "-p"),
        {
            "multiple": True,
            "metavar": "PORT",
            "help": "[NAME=]PORT[:TARGET][/PROTOCOL]. May be repeated.",
        },
        "",
    ),
    (
        ("--publish",),
        {
            "multiple": True,
            "metavar": "PORT",
            "help": "[PUBLISHED:]PORT[/PROTOCOL]: a port of every host leads to that one of the "
            "service; without PUBLISHED one is chosen. May be repeated; none: no port does.",
        },
        "",
    ),
    (
        ("--selector", "-l"),
        {
            "multiple": True,
            "metavar": "KEY=VALUE",
            "help": "A label of its backends. May be repeated.",
        },
        "",
    ),
    (
        ("--algorithm",),
        {"type": click.Choice(_ALGORITHMS), "help": "How one is chosen for a connection."},
        "random",
    ),
    (
        ("--affinity",),
        {"metavar": "TIME", "help": "How long a client keeps his backend: 90s, 30m; or none."},
        "none",
    ),
    (
        ("--internal-policy",),
        {
            "type": click.Choice(["Cluster", "Local"]),
            "help": "Backends of all hosts, or of the client's own.",
        },
        "Cluster",
    ),
    (
        ("--external-policy",),
        {
            "type": click.Choice(["Cluster", "Local"]),
            "help": "For published ports: backends of all hosts, or of the one that is asked.",
        },
        "Cluster",
    ),
    (
        ("--health-port",),
        {
            "type": int,
            "metavar": "PORT",
            "help": "Of every host, which says by HTTP whether it has backends; with the external "
            "policy Local. 0: none.",
        },
        "0",
    ),
    (
        ("--prefer",),
        {
            "type": click.Choice(list(_NEAR)),
            "help": "Backends that are near, where there are some.",
        },
        "nothing",
    ),
    (
        ("--publish-not-ready/--no-publish-not-ready",),
        {"default": None, "help": "Take backends that are not ready, too."},
        "no",
    ),
    (
        ("--drain",),
        {"metavar": "TIME", "help": "How long connections to one that goes may last."},
        "30s",
    ),
    (
        ("--limit-connections",),
        {
            "type": int,
            "metavar": "NUMBER",
            "help": "Most that each host has open at once; 0: no limit.",
        },
        "0",
    ),
    (
        ("--limit-rate",),
        {
            "metavar": "NUMBER/s",
            "help": "Most that each host opens in a second; 0: no limit.",
        },
        "0",
    ),
    (
        ("--ingress-rate",),
        {"metavar": "BITS", "help": "What each backend gets in a second: 50mbit. 0: all."},
        "0",
    ),
    (("--ingress-burst",), {"metavar": "BITS", "help": "Of that, at once. 0: the usual."}, "0"),
    (
        ("--egress-rate",),
        {"metavar": "BITS", "help": "What each backend sends in a second: 50mbit. 0: all."},
        "0",
    ),
    (("--egress-burst",), {"metavar": "BITS", "help": "Of that, at once. 0: the usual."}, "0"),
    (
        ("--check",),
        {
            "metavar": "CHECK",
            "help": "How hosts find out whether backends serve: none, tcp or http:PATH, with e.g. "
            ",port=8080,interval=10s,timeout=1s,failures=3,successes=1.",
        },
        "none",
    ),
)


def knobs(*, new: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that a service is made with and that can be changed later."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for names, given, usual in reversed(_KNOBS):
            default = f" [default: {usual}]" if new and usual else ""
            command = click.option(*names, **given | {"help": given["help"] + default})(command)
        return command

    return add


def _given(asked: dict[str, Any], had: Callable[[], tuple[ServicePort, ...]]) -> dict[str, Any]:
    """What was said of the knobs, in the words of the model. `had`: its ports as they were."""
    from seaway.model.bandwidth import parse_bits  # noqa: PLC0415, help must not pay for it
    from seaway.model.checks import parse_check  # noqa: PLC0415
    from seaway.model.durations import parse_duration  # noqa: PLC0415
    from seaway.model.limits import parse_rate  # noqa: PLC0415

    given = {k: v for k, v in asked.items() if v is not None and v != ()}
    if "port" in given or "publish" in given:
        given["ports"] = _given_ports(given.pop("port", ()), given.pop("publish", ()), had())
    if "selector" in given:
        given["selector"] = options.pairs(given["selector"])
    if "prefer" in given:
        given["distribution"] = _NEAR[given.pop("prefer")]
    if "affinity" in given:
        told = given["affinity"]
        given["affinity"] = 0 if told in {"none", "0"} else int(parse_duration(told))
    read: dict[str, Callable[[str], Any]] = {
        "drain": parse_duration,
        "limit_rate": parse_rate,
        "check": parse_check,
        **dict.fromkeys(_BANDWIDTH, parse_bits),
    }
    return given | {name: parse(given[name]) for name, parse in read.items() if name in given}


def _given_ports(
    ports: tuple[str, ...], publish: tuple[str, ...], had: tuple[ServicePort, ...]
) -> tuple[ServicePort, ...]:
    """Without a word of publishing, those that stay are published as they were."""
    from msgspec.structs import replace  # noqa: PLC0415, help must not pay for it

    from seaway.model.node_ports import published  # noqa: PLC0415
    from seaway.model.service_forms import parse_port  # noqa: PLC0415

    made = tuple(parse_port(text) for text in options.items(ports)) if ports else had
    if publish:
        return published(made, options.items(publish))
    before = {(port.port, port.protocol): port.node_port for port in had}
    return tuple(replace(p, node_port=before.get((p.port, p.protocol), 0)) for p in made)


@click.group()
def service() -> None:
    """Make, change and remove services, and see who stands behind them."""


@service.command()
@click.argument("name")
@click.option(
    "--network",
    default="default",
    show_default=True,
    shell_complete=options.complete_network,
    help="That of its backends.",
)
@knobs(new=True)
@click.option("--address", multiple=True, help="A certain one of a service subnet, if free.")
@click.option(
    "--family",
    type=click.Choice(["4", "6"]),
    multiple=True,
    help="Of its addresses. [default: those of its network]",
)
@click.option("--headless", is_flag=True, help="Its name is that of all its backends.")
@click.option("--external-name", default="", metavar="NAME", help="It is another name of that.")
@options.output
def create(name: str, output: str, **asked: Any) -> None:
    """Make a service: a name, and virtual addresses, in front of endpoints.

    Its backends are the endpoints of its network that have all labels of the selector; without one,
    those that its slices name (see: seaway apply).
    """
    from seaway.model.addresses import parse_address  # noqa: PLC0415
    from seaway.model.requests import NewService  # noqa: PLC0415

    addresses = tuple(parse_address(text) for text in options.items(asked.pop("address")))
    families = tuple(int(family) for family in asked.pop("family"))
    new = NewService(name=name, addresses=addresses, families=families, **_given(asked, tuple))
    made = options.agent().create_service(new)
    options.warn(made.warnings)
    if output != "table":
        show.document(made, output)
        return
    shown = _addresses(made)
    told = shown if isinstance(shown, str) else ", ".join(map(str, shown))
    click.echo(f"service {made.service.network}/{made.service.name}: {told}")


@service.command()
@click.option("--network", shell_complete=options.complete_network, help="Only of this one.")
@options.output
def ls(network: str | None, output: str) -> None:
    """List services, with how many of their backends this host chooses."""
    show.listing(options.agent().services(network), COLUMNS, output)


@service.command()
@click.argument("service", shell_complete=options.complete_service)
@options.output
def inspect(service: str, output: str) -> None:
    """Show all of one service, and why each backend is chosen or is not: NAME or NETWORK/NAME."""
    found = options.agent().service(service)
    show.one(found, LINES, output)
    if output == "table" and found.backends:
        click.echo()
        show.listing(found.backends, BACKENDS, output)


@service.command()
@click.argument("service", shell_complete=options.complete_service)
@knobs(new=False)
def update(service: str, **asked: Any) -> None:
    """Change a service; ports, published ones and labels of the selector that are given take the
    place of all that there are.
    """
    from seaway.model.requests import ServiceChange  # noqa: PLC0415

    agent = options.agent()
    given = _given(asked, lambda: agent.service(service).service.ports)
    if not given:
        raise Invalid("nothing to change was given", "see: seaway service update --help")
    made = agent.update_service(service, ServiceChange(**given))
    options.warn(made.warnings)
    click.echo(f"service {made.service.network}/{made.service.name} is changed")


@service.command()
@click.argument("service", shell_complete=options.complete_service)
@click.argument("backend")
@click.option("--undo", is_flag=True, help="Have it get connections again.")
@click.option("--within", default="5m", show_default=True, help="How long to wait: 90s, 5m.")
def drain(service: str, backend: str, within: str, *, undo: bool) -> None:
    """Give an endpoint no new connection, of any service; return when it has none any more.

    Those that it has may end by themselves, until the time of their service to drain is over; then
    their clients get an error. Counted is what services led to it, this one and all others, from
    every host, and what came by published ports of services too. A host that cannot be asked, or
    has not heard of it yet, is waited for.
    """
    from seaway.model.durations import parse_duration  # noqa: PLC0415

    deadline, agent = time.monotonic() + parse_duration(within), options.agent()
    if undo:
        agent.undrain_backend(service, backend)
        click.echo(f"endpoint {backend} gets connections again")
        return
    told, shown = agent.drain_backend(service, backend), ""
    while not told.ready:
        if (left := left_of(told)) != shown:
            shown = left
            click.echo(left)
        if time.monotonic() > deadline:
            raise Unavailable(f"endpoint {backend} drains: {left}", "repeat to wait on")
        time.sleep(_POLL)
        told = agent.drained_backend(service, backend)
    click.echo(f"endpoint {backend} may go")


def left_of(told: BackendDrain) -> str:
    """What a drain waits for."""
    words = [f"{options.connections(told.connections)} to {told.backend}"]
    if told.unheard:
        words.append(f"not to be asked: {', '.join(told.unheard)}")
    if told.unaware:
        words.append(f"not heard of it yet: {', '.join(told.unaware)}")
    return "; ".join(words)


@service.command()
@click.argument("service", shell_complete=options.complete_service)
def rm(service: str) -> None:
    """Remove a service; its backends stay.

    Nobody is led to them any more; connections may go on until its time to drain is over.
    """
    options.agent().remove_service(service)
    click.echo(f"service {service} is removed")
