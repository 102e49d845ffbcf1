"""`ingress`: a published port, asked from another host, over every system that is here.

┌── server's host ───┐             ┌─ client's host ─┐
│ server ── ports ─ eth0 ─ wire ─ eth0     198.19/16 │ whom the random flows seem to come from
└────────────────────┘             └─────────────────┘
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from seaway.bench import race
from seaway.bench.clients import NETWORKS
from seaway.bench.options import Options
from seaway.bench.results import Result
from seaway.bench.systems import Pair, Party, Publisher, host_address, host_netns
from seaway.lab import LabHost

CASE = "ingress"
METRICS = ("tcp_rr_p50", "tcp_gbps", "tcp_cps", "new_flows")
COURSE = race.Course(CASE, METRICS, reference="host")


def run(systems: Sequence[Publisher], options: Options) -> Result:
    return race.run(
        COURSE,
        systems,
        lambda system, hosts: _pair(system, hosts, options.family),
        options,
        needs=lambda _: 2,
    )


@contextmanager
def _pair(system: Publisher, hosts: tuple[LabHost, ...], family: int) -> Iterator[Pair]:
    """The random clients are behind the client's host, as the world is behind a router."""
    host, outside = hosts
    client = Party(host_netns(outside), host_address(outside, family))
    way = ("via", str(client.address))
    host.run("ip", f"-{family}", "route", "add", str(NETWORKS[family]), *way)
    with system.publishing(host, family) as server:
        yield Pair(client, server, host_netns(host))
