"""A group of commands that imports a command only when it is run or its own help is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(click.Group):
    """`entries`: name -> (module under seaway.cli, first line of its help). `unlisted`: names that
    are modules, of what other programs run.

    A command `endpoint` is the function `endpoint` of its module.
    """

    def __init__(
        self,
        *args: Any,
        entries: Mapping[str, tuple[str, str]],
        unlisted: frozenset[str] = frozenset(),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.entries = entries
        self.modules = {name: name for name in unlisted} | {n: e[0] for n, e in entries.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002, click's signature
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.modules:
            return None
        module = import_module(f"seaway.cli.{self.modules[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.entries.items()])
