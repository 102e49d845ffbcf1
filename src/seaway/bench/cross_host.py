"""`cross-host`: two containers of two hosts, over every system that is here, side by side.

┌─ client's host ─┐             ┌─ server's host ─┐
│ client ────── eth0 ── wire ── eth0 ────── server │
└─────────────────┘             └─────────────────┘
What is relayed has one more host on the wire, and the two others do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from seaway.bench import race
from seaway.bench.options import Options
from seaway.bench.results import Result
from seaway.bench.spans import Spanner

CASE = "cross-host"
METRICS = ("udp_rr_p50", "tcp_rr_p50", "udp_pps", "tcp_gbps", "tcp_cps")
OURS = ("seaway-overlay", "seaway-direct", "seaway-relayed")
COURSE = race.Course(CASE, METRICS, reference="underlay", ours=OURS)


def run(systems: Sequence[Spanner], options: Options) -> Result:
    return race.run(
        COURSE,
        systems,
        lambda system, hosts: system.spanning(hosts, options.family),
        options,
        needs=lambda system: system.hosts,
    )
