"""`seaway apply`, `delete` and `get`: services and slices as Kubernetes-shaped manifests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show
from seaway.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import Applied
    from seaway.model.requests import Objects
    from seaway.model.services import EndpointSlice, Service

_MOST = 15 << 20  # bytes: the agent reads 16 MiB of JSON
_FILE = click.option(
    *("-f", "--file"),
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="YAML or JSON; '-' is standard input. May be repeated.",
)
APPLIED: dict[str, Callable[[Applied], Any]] = {
    "KIND": lambda o: o.kind,
    "NAME": lambda o: o.name,
    "DID": lambda o: o.did,
}


@click.command()
@_FILE
@options.output
def apply(files: tuple[str, ...], output: str) -> None:
    """Make or change the services that a file of manifests describes.

    A file holds Service v1, EndpointSlice discovery.k8s.io/v1, or lists of them; the namespace is
    the network. All is checked before anything is done, and a field that is not served is refused.
    """
    outcomes = options.agent().apply(_read(files))
    for outcome in outcomes:
        options.warn(f"{outcome.name}: {warning}" for warning in outcome.warnings)
    show.listing(outcomes, APPLIED, output)


@click.command()
@_FILE
@options.output
def delete(files: tuple[str, ...], output: str) -> None:
    """Remove the services that a file of manifests describes.

    All of them, or none where one is not there.
    """
    from seaway.model.requests import Refs  # noqa: PLC0415, help must not pay for it

    objects = _read(files)
    refs = Refs(
        services=tuple(f"{one.network}/{one.name}" for one in objects.services),
        slices=tuple(f"{one.network}/{one.name}" for one in objects.slices),
    )
    show.listing(options.agent().delete(refs), APPLIED, output)


@click.command()
@click.option(
    *("-f", "--file"),
    "files",
    multiple=True,
    metavar="FILE",
    help="Only what this one names. May be repeated.",
)
@click.option("--network", shell_complete=options.complete_network, help="Only of this one.")
@options.output
def get(files: tuple[str, ...], network: str | None, output: str) -> None:
    """Show services and slices as manifests.

    What -o yaml and -o json print can be applied again.
    """
    from seaway.model.rendering import render, render_all  # noqa: PLC0415
    from seaway.model.services import Service  # noqa: PLC0415

    agent = options.agent()
    found: list[Service | EndpointSlice] = [r.service for r in agent.services(network)]
    found += agent.slices(network)
    if files:
        objects = _read(files)
        named = {(True, one.network, one.name) for one in objects.services}
        named |= {(False, one.network, one.name) for one in objects.slices}
        found = [o for o in found if (isinstance(o, Service), o.network, o.name) in named]
    if output == "table":
        manifests = [
            (render(one)["kind"], f"{one.network}/{one.name}", _behind(one)) for one in found
        ]
        show.table(["KIND", "NAME", "ADDRESSES"], manifests)
    else:
        show.document(render_all(found), output)


def _behind(one: Service | EndpointSlice) -> list[str]:
    from seaway.model.services import Service  # noqa: PLC0415

    if isinstance(one, Service):
        return [str(address) for address in one.addresses]
    return [str(endpoint.addresses[0]) for endpoint in one.endpoints]


def _read(files: tuple[str, ...]) -> Objects:
    from seaway.model.manifests import read  # noqa: PLC0415
    from seaway.model.requests import Objects  # noqa: PLC0415

    found = [read(_text(name)) for name in files]
    return Objects(
        services=tuple(one for objects in found for one in objects.services),
        slices=tuple(one for objects in found for one in objects.slices),
    )


def _text(name: str) -> str:
    where = "standard input" if name == "-" else f"file '{name}'"
    try:
        data = sys.stdin.buffer.read(_MOST + 1) if name == "-" else _bytes(Path(name))
        if len(data) > _MOST:
            raise Invalid(f"{where} is too long", f"at most {_MOST} bytes: make several files")
        return data.decode()
    except OSError as error:
        raise Invalid(f"{where} cannot be read: {error.strerror}", "give a file, or '-'") from None
    except UnicodeDecodeError:
        raise Invalid(f"{where} is no text", "expected YAML or JSON in UTF-8") from None


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST + 1)
