"""All commands by name, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from seaway import __version__, names
from seaway.cli.lazy import LazyGroup
from seaway.errors import Invalid, SeawayError, SystemFailed

PROGRAM = "seaway"
INTERRUPTED = 130  # as shells say it: 128 + SIGINT

COMMANDS = {
    "init": ("init", "Set this host up and start its agent."),
    "join": ("join", "Have this host join a cluster."),
    "leave": ("leave", "Take this host out of its cluster."),
    "token": ("token", "Make, list and revoke what lets hosts join."),
    "host": ("host", "List, change, drain and remove hosts of the cluster."),
    "agent": ("agent", "Run the agent in the foreground."),
    "status": ("status", "Show the health of this host's agent and data plane."),
    "doctor": ("doctor", "Check what this kernel and host offer, and what is off, and why."),
    "network": ("network", "Make, change, connect and remove networks."),
    "attach": ("attach", "Give a network namespace an interface on a network."),
    "detach": ("attach", "Take an endpoint's interface away and free its addresses."),
    "endpoint": ("endpoint", "List, inspect and change endpoints, and publish their ports."),
    "service": ("service", "Make, change and remove services, and see who stands behind them."),
    "apply": ("manifest", "Make or change the services that a file of manifests describes."),
    "delete": ("manifest", "Remove the services that a file of manifests describes."),
    "get": ("manifest", "Show services and slices as manifests."),
    "route": ("route", "Show the paths to other hosts, and why not the others."),
    "trace": ("trace", "Show each hop that a packet would take, what it decides, and why."),
    "ipam": ("ipam", "Show who holds each address and why; find and free leaks."),
    "lab": ("lab", "Make virtual hosts on this machine to try things in."),
    "bench": ("bench", "Measure side by side with what is installed here."),
    "backup": ("backup", "Write the whole state of this network to a file."),
    "restore": ("restore", "Set this host up with the state of a backup."),
    "support": ("support", "Collect what a bug report needs, without secrets."),
    "uninstall": ("uninstall", "Remove everything of Seaway from this host."),
    "completion": ("completion", "Print the completion script for a shell."),
    "version": ("version", "Print the version."),
}

UNLISTED = frozenset({"etcd", "routed"})


class Root(LazyGroup):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click does, but every error is one line, and its exit status is documented."""
        sys.exit(self._status(*args, **kwargs | {"standalone_mode": False}))

    def _status(self, *args: Any, **kwargs: Any) -> int:
        try:
            result = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return Invalid.exit_status
        except click.Abort:
            return INTERRUPTED
        except (SeawayError, OSError, click.ClickException) as error:
            return _tell(_in_our_words(error))
        return result if isinstance(result, int) else 0


def _in_our_words(error: SeawayError | OSError | click.ClickException) -> SeawayError:
    if isinstance(error, SeawayError):
        return error
    if isinstance(error, OSError):
        return SystemFailed(str(error), "see: seaway doctor")
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else PROGRAM
    return Invalid(error.format_message(), f"see: {path} --help")


def _tell(error: SeawayError) -> int:
    click.echo(f"{PROGRAM}: {' '.join(str(error).split())}", err=True)
    return error.exit_status


@click.group(
    PROGRAM,
    cls=Root,
    entries=COMMANDS,
    unlisted=UNLISTED,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.option(
    "--socket",
    type=click.Path(path_type=Path, readable=False),
    default=names.SOCKET,
    show_default=True,
    envvar="SEAWAY_SOCKET",
    help="Where the agent answers.",
)
@click.pass_context
def root(ctx: click.Context, socket: Path) -> None:
    """One network for containers of any runtime."""
    ctx.obj = socket
