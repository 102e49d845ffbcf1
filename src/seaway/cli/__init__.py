"""The command `seaway`: what a person types. Each command is a module, imported when it is used.

A command turns options into a call of the agent and its answer into text; nothing is decided
here. Options over arguments, but for the one thing that a command is about.
"""

from __future__ import annotations


def main() -> None:
    """The program's entry."""
    from seaway.cli.root import root  # noqa: PLC0415, only the program pays for it

    root()
