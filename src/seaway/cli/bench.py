"""`seaway bench`: measured here, side by side, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seaway.cli import options
from seaway.cli.ending import clean_up_first
from seaway.errors import Invalid

CASES = [
    "same-host",
    "cross-host",
    "ingress",
    "attach",
    "programs",
    "failover",
    "scale",
    "service",
    "dns",
]
SIZES = ("endpoints", "parallel", "hosts", "services")  # each a few numbers


def _numbers(texts: tuple[str, ...], default: tuple[int, ...]) -> tuple[int, ...]:
    found = options.items(texts)
    if not all(text.isdigit() for text in found):
        raise Invalid(f"'{', '.join(found)}' are no numbers", "expected e.g. 1,100")
    return tuple(int(text) for text in found) or default


@click.command()
@click.argument("case", nargs=-1, type=click.Choice(CASES))
@click.option(
    "--json",
    "file",
    type=click.Path(path_type=Path),
    help="Write one case's figures.",
)
@click.option("--quick", is_flag=True, help="Few rounds: a look, not a measurement.")
@click.option("--rounds", type=click.IntRange(min=1), help="How many. [default: 20]")
@click.option("--system", multiple=True, help="Only this one, e.g. seaway,veth.")
@click.option("--metric", multiple=True, help="Only this one, e.g. tcp_rr_p50.")
@click.option(
    "--family",
    type=click.Choice(["4", "6"]),
    default="4",
    help="same-host, cross-host, ingress: IPv4 or IPv6.",
)
@click.option(
    "--flows",
    type=click.IntRange(min=4000),
    help="ingress: random flows in one round. [default: 1000000]",
)
@click.option(
    "--endpoints", multiple=True, help="attach: how many are present. [default: 1,100,1000]"
)
@click.option("--parallel", multiple=True, help="attach: how many at a time. [default: 1,16]")
@click.option("--hosts", multiple=True, help="scale: in the cluster. [default: 100,1000,5000]")
@click.option(
    "--services", multiple=True, help="service: how many there are. [default: 1,1000,10000]"
)
def bench(case: tuple[str, ...], file: Path | None, *, quick: bool, **given: Any) -> None:
    """Measure side by side with what is installed here.

    Cases: same-host, cross-host, ingress, attach, programs, failover, scale, service, dns; all
    of them if none is named.
    """
    from seaway import bench as benches  # noqa: PLC0415
    from seaway.setup.beginning import must_be_root  # noqa: PLC0415

    clean_up_first()
    must_be_root("make the hosts of a benchmark")
    if file and len(case) != 1:
        raise Invalid("--json holds one case", f"name one of {', '.join(CASES)}")
    if file:
        options.writable(file)
    chosen = benches.Options(
        rounds=given["rounds"] or (benches.QUICK_ROUNDS if quick else benches.ROUNDS),
        systems=tuple(options.items(given["system"])),
        metrics=tuple(options.items(given["metric"])),
        family=int(given["family"]),
        flows=given["flows"] or benches.Options.flows,
        **{name: _numbers(given[name], getattr(benches.Options, name)) for name in SIZES},
        progress=lambda text: click.echo(text, err=True),
    )
    for name in case or CASES:
        result = benches.run(name, chosen)
        click.echo(benches.render(result))
        if file:
            file.write_bytes(benches.encode(result))
