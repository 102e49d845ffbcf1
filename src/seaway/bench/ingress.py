"""`ingress`: a published port, asked from another host, over every system that is here.

┌── server's host ───┐             ┌─ client's host ─┐
│ server ── ports ─ eth0 ─ wire ─ eth0     198.19/16 │ whom the random flows seem to come from
└────────────────────┘             └─────────────────┘
Where the server is on another host than the one that is asked, that has one more place on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from seaway.bench import race
from seaway.bench.clients import NETWORKS
from seaway.bench.options import Options
from seaway.bench.results import Result
from seaway.bench.systems import Pair, Party, Publisher, host_address, host_netns
from seaway.bench.traffic import is_answered
from seaway.lab import LabHost

CASE = "ingress"
METRICS = ("tcp_rr_p50", "tcp_gbps", "tcp_cps", "new_flows")
OURS = ("seaway", "seaway-remote")
REMOTE = ("seaway-remote", "docker-forwarded", "swarm-ingress")  # two hosts have tables
COURSE = race.Course(CASE, METRICS, reference="host", ours=OURS, without={"new_flows": REMOTE})
WITHIN = 60.0  # seconds until a port is answered


def run(systems: Sequence[Publisher], options: Options) -> Result:
    return race.run(
        COURSE,
        systems,
        lambda system, hosts: _pair(system, hosts, options.family),
        options,
        needs=lambda system: system.hosts + 1,
    )


@contextmanager
def _pair(system: Publisher, hosts: tuple[LabHost, ...], family: int) -> Iterator[Pair]:
    """The random clients are behind the client's host, as the world is behind a router."""
    *own, outside = hosts
    client = Party(host_netns(outside), host_address(outside, family))
    way = ("via", str(client.address))
    for host in own:
        host.run("ip", f"-{family}", "route", "add", str(NETWORKS[family]), *way)
    with system.publishing(tuple(own), family) as server:
        pair = Pair(client, server, host_netns(own[-1]))
        outside.wait_for("an answer at a published port", partial(is_answered, pair), WITHIN)
        yield pair
