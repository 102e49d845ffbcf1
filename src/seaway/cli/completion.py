"""`seaway completion`: what a shell needs to complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "seaway"
VARIABLE = "_SEAWAY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    Bash: seaway completion bash > /etc/bash_completion.d/seaway
    """
    made = get_completion_class(shell)
    assert made is not None  # click knows all of the choices
    click.echo(made(ctx.find_root().command, {}, PROGRAM, VARIABLE).source().rstrip("\n"))
