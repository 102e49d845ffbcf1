"""`same-host`: two containers of one host, over every system that is here, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from seaway.bench import race
from seaway.bench.options import Options
from seaway.bench.results import Result
from seaway.bench.systems import System

CASE = "same-host"
METRICS = ("udp_rr_p50", "tcp_rr_p50", "udp_pps", "tcp_gbps", "tcp_cps")
COURSE = race.Course(CASE, METRICS, reference="veth")


def run(systems: Sequence[System], options: Options) -> Result:
    return race.run(
        COURSE,
        systems,
        lambda system, hosts: system.running(hosts[0], options.family),
        options,
    )
