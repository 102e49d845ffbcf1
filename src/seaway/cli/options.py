"""What several commands share: how they reach the agent, and options that mean the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import click

from seaway.errors import Forbidden, Invalid, SeawayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from seaway.client import Client
    from seaway.model.facts import Publication

T = TypeVar("T")
_COMPLETION_TIMEOUT = 1.0  # seconds: nobody waits longer for a tabulator
_DIGITS = 10

output = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print it.",
)


def agent() -> Client:
    """The agent on the socket that was asked for."""
    from seaway.client import Client  # noqa: PLC0415, help must not pay for it

    return Client(click.get_current_context().find_root().obj)


def writable(path: Path) -> None:
    """Refuse a file that could not be written, before hours of work for it."""
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise Invalid(f"there is no folder {folder}", "make it, or name a file in another one")
    if path.is_dir():
        raise Invalid(f"{path} is a directory", "name a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise Forbidden(f"this user may not write {path}", "name a file in a folder of yours")


def warn(warnings: Iterable[str]) -> None:
    """Of what was done all the same."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def connections(number: int) -> str:
    """In words."""
    return "1 connection" if number == 1 else f"{number} connections"


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Of KEY=VALUE options; a key that is given twice is refused."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise Invalid(f"'{text}' is no label", "expected KEY=VALUE")
        if key in found:
            raise Invalid(f"label '{key}' is given twice", "give it once")
        found[key] = value
    return found


def port_names(texts: Iterable[str]) -> dict[str, int]:
    """Of NAME=PORT options."""
    found: dict[str, int] = {}
    for text in items(texts):
        name, _, port = text.partition("=")
        if not (name and port.isascii() and port.isdecimal() and len(port) < _DIGITS):
            raise Invalid(f"'{text}' names no port", "expected NAME=PORT, e.g. http=8080")
        if name in found:
            raise Invalid(f"the port name '{name}' is given twice", "give it once")
        found[name] = int(port)
    return found


def items(texts: Iterable[str]) -> list[str]:
    """Of options that may be repeated or hold several values with commas between."""
    return [item.strip() for text in texts for item in text.split(",") if item.strip()]


def ports(texts: Iterable[str]) -> tuple[Publication, ...]:
    """Of mappings such as 8080:80/tcp, which may be ranges."""
    from seaway.model.publications import parse_mapping  # noqa: PLC0415

    return tuple(port for text in items(texts) for port in parse_mapping(text))


def complete_network(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    reports = _ask(ctx, lambda client: client.networks())
    return _beginning(incomplete, (report.network.name for report in reports))


def complete_endpoint(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    reports = _ask(ctx, lambda client: client.endpoints())
    refs = (f"{report.endpoint.network}/{report.endpoint.name}" for report in reports)
    return _beginning(incomplete, refs)


def complete_service(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    reports = _ask(ctx, lambda client: client.services())
    refs = (f"{report.service.network}/{report.service.name}" for report in reports)
    return _beginning(incomplete, refs)


def complete_host(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    reports = _ask(ctx, lambda client: client.hosts())
    return _beginning(incomplete, (report.host.name for report in reports))


def _ask(ctx: click.Context, what: Callable[[Client], list[T]]) -> list[T]:
    """The agent's answer, or nothing: a tabulator is no place for errors."""
    from seaway.client import Client  # noqa: PLC0415

    try:
        return what(Client(ctx.find_root().params["socket"], _COMPLETION_TIMEOUT))
    except SeawayError:
        return []


def _beginning(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
