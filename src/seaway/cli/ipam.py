"""`seaway ipam`: the addresses, their holders, and what is wrong with the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seaway.cli import options, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from seaway.model.reports import Leak

FOUND = 1  # the exit status of a check that found something
LEAKS: dict[str, Callable[[Leak], Any]] = {
    "ADDRESS": lambda leak: leak.address,
    "PROBLEM": lambda leak: leak.problem,
    "MEND": lambda leak: leak.mend,
}


@click.group()
def ipam() -> None:
    """Show who holds each address and why; find and free leaks."""


@ipam.command("show")
@options.output
def show_(output: str) -> None:
    """List blocks, and who holds each of their addresses and why."""
    blocks = options.agent().ipam()
    if output != "table":
        show.document(blocks, output)
        return
    rows: list[list[Any]] = []
    for block in blocks:
        used = f"{block.used} of {block.usable} usable"
        rows.append([block.network, block.prefix, "", used, f"block of host {block.host}"])
        rows += [["", "", h.address, h.endpoint, h.reason] for h in block.holders]
    show.table(["NETWORK", "BLOCK", "ADDRESS", "HELD BY", "WHY"], rows)


@ipam.command()
@options.output
@click.pass_context
def check(ctx: click.Context, output: str) -> None:
    """Find addresses held by what is not there; exit status 1 where there are any."""
    leaks = options.agent().ipam_check()
    if output == "table" and not leaks:
        click.echo("every address is held by what is there")
    else:
        show.listing(leaks, LEAKS, output)
    ctx.exit(FOUND if leaks else 0)


@ipam.command()
@click.argument("address")
def release(address: str) -> None:
    """Free a leaked address; one of a running endpoint is refused."""
    from seaway.model.addresses import parse_address  # noqa: PLC0415

    options.agent().release_address(parse_address(address))
    click.echo(f"address {address} is free")
