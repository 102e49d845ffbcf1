"""Prints values: as a table for people, as JSON or YAML with every field for programs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")
_NO_TERMINAL = 10_000  # columns: programs get whole lines


def listing(values: Iterable[T], columns: Mapping[str, Callable[[T], Any]], output: str) -> None:
    """Rows in a table with a column for each function, or the values themselves."""
    found = list(values)
    if output == "table":
        table(list(columns), [[column(v) for column in columns.values()] for v in found])
    else:
        document(found, output)


def one(value: T, lines: Mapping[str, Callable[[T], Any]], output: str) -> None:
    """A line for each function that has something to say, or the value itself."""
    if output == "table":
        told = ((name, _cell(line(value))) for name, line in lines.items())
        table(["", ""], [line for line in told if line[1]])
    else:
        document(value, output)


def document(value: Any, output: str) -> None:
    """JSON or YAML."""
    from seaway.model import codec  # noqa: PLC0415, help must not pay for it

    plain = codec.to_builtins(value)
    if output == "yaml":
        import yaml  # noqa: PLC0415

        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    else:
        import json  # noqa: PLC0415

        text = json.dumps(plain, indent=2, ensure_ascii=False)
    click.echo(text.rstrip("\n"))


def table(titles: list[str], rows: Iterable[Iterable[Any]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, show_header=any(titles), header_style="bold")
    for title in titles:
        made.add_column(title, overflow="fold")
    for row in rows:
        made.add_row(*(Text(_cell(cell)) for cell in row))
    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else _NO_TERMINAL
    console = Console(width=width, force_terminal=on_terminal, highlight=False)
    with console.capture() as captured:
        console.print(made)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _cell(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{k}={v}" for k, v in value.items())
        case list() | tuple() | set() | frozenset():
            return ", ".join(map(str, value))
        case _:
            return str(value)
