"""What Seaway promises of these figures, and whether a result keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from seaway.bench.results import Result, Row

Relation = Literal["<=", "<", ">=", ">"]
Verdict = Literal["kept", "broken", "undecided"]
OURS = "seaway"


class Promise(NamedTuple):
    case: str
    metric: str
    row: str  # as `Row.cell`
    reference: str  # of the ratio that is promised; empty: the figure itself is
    relation: Relation
    bound: float

    def __str__(self) -> str:
        of = f" x {self.reference}" if self.reference else ""
        return f"{self.relation} {self.bound:g}{of}"

    def holds(self, figure: float) -> bool:
        return {
            "<=": figure <= self.bound,
            "<": figure < self.bound,
            ">=": figure >= self.bound,
            ">": figure > self.bound,
        }[self.relation]


PEERS = ("cni-bridge", "cni-ptp", "docker-bridge")
PUBLISHERS = ("docker", "docker-no-proxy", "cni-portmap")
_REMOTE = ("docker-forwarded", "swarm-ingress")  # the server is on another host than is asked
_PING_PONG = ("udp_rr_p50", "tcp_rr_p50")
_ACROSS: tuple[tuple[str, str, str, Relation, float], ...] = (
    ("overlay", "udp_rr_p50", "underlay", "<=", 1.70),
    ("overlay", "tcp_rr_p50", "underlay", "<=", 1.60),
    *(("overlay", metric, "kernel-vxlan", "<=", 0.90) for metric in _PING_PONG),
    *(("direct", metric, "underlay", "<=", 1.25) for metric in _PING_PONG),
    *((row, m, "swarm-overlay", "<", 1.00) for row in ("overlay", "direct") for m in _PING_PONG),
    ("overlay", "tcp_gbps", "kernel-vxlan", ">=", 0.95),
    ("direct", "tcp_gbps", "kernel-routed", ">=", 0.95),
)
_OF_A_PORT: tuple[tuple[str, Relation], ...] = (("tcp_rr_p50", "<"), ("tcp_cps", ">"))
VIP, MANY = "seaway-vip", 10_000  # services
_OF_A_VIP: tuple[tuple[str, Relation, float], ...] = (
    ("tcp_rr_p50", "<=", 1.02),
    ("tcp_cps", ">=", 0.9524),  # a connection takes at most 1.05 times as long
)
PROMISES = (
    *(
        Promise("same-host", metric, OURS, "veth", "<=", 1.10)
        for metric in ("udp_rr_p50", "tcp_rr_p50")
    ),
    *(
        Promise("same-host", metric, f"{OURS}-tracked", "veth", "<=", 1.15)
        for metric in ("udp_rr_p50", "tcp_rr_p50")
    ),
    *(
        Promise("same-host", metric, OURS, peer, "<", 1.00)
        for metric in ("udp_rr_p50", "tcp_rr_p50")
        for peer in PEERS
    ),
    Promise("same-host", "tcp_gbps", OURS, "veth", ">=", 0.95),
    *(
        Promise("cross-host", metric, f"{OURS}-{row}", reference, relation, bound)
        for row, metric, reference, relation, bound in _ACROSS
    ),
    *(
        Promise("ingress", metric, row, peer, relation, 1.00)
        for row, peers in ((OURS, PUBLISHERS), (f"{OURS}-remote", _REMOTE))
        for metric, relation in _OF_A_PORT
        for peer in peers
    ),
    *(
        Promise("attach", "add_p50", f"{OURS}@{n}x1", f"cni-ptp@{n}x1", "<=", 0.60)
        for n in (1, 1000)
    ),
    Promise("attach", "add_p50", f"{OURS}@1000x1", f"{OURS}@1x1", "<=", 1.20),
    *(
        Promise("failover", "outage_ms", f"{death}{preset}", "", "<=", bound)
        for preset, bound in (("", 1000), ("-fast", 300))
        for death in ("link", "relay", "host")
    ),
    *(
        Promise("scale", "paths_change", f"{system}@{hosts}", "", "<=", bound)
        for system in ("hops", "latency", "segments")
        for hosts, bound in ((1000, 50), (5000, 300))
    ),
    *(
        Promise("service", metric, f"{VIP}@{n}", f"direct@{n}", relation, bound)
        for n in (1, 1000, MANY)
        for metric, relation, bound in _OF_A_VIP
    ),
    Promise("service", "tcp_rr_p50", f"{VIP}@{MANY}", f"{VIP}@1", "<=", 1.02),
    Promise("service", "tcp_cps", f"{VIP}@{MANY}", f"{VIP}@1", ">=", 0.98),
    Promise("service", "program_all", f"{VIP}@{MANY}", "", "<=", 2000),
    Promise("service", "one_change", f"{VIP}@{MANY}", "", "<=", 10),
    *(
        Promise("service", metric, f"{VIP}@{n}", f"{peer}@{n}", "<", 1.00)
        for n in (1000, MANY)
        for metric in ("program_all", "one_change")
        for peer in ("nftables", "iptables")
    ),
    Promise("dns", "qps", OURS, "", ">=", 60_000),
    Promise("dns", "qps", OURS, "dnsmasq", ">=", 0.5),
    Promise("dns", "p99", OURS, "", "<=", 2),
)


def promise_of(case: str, row: Row, reference: str = "") -> Promise | None:
    """What is promised of this figure, or of its ratio to another; if anything."""
    found = (
        p
        for p in PROMISES
        if (p.case, p.metric, p.row, p.reference) == (case, row.metric, row.cell, reference)
    )
    return next(found, None)


def judge(promise: Promise, figure: float, *, good: bool) -> Verdict:
    """Too few rounds decide nothing, whatever they say."""
    if not good:
        return "undecided"
    return "kept" if promise.holds(figure) else "broken"


def verdicts(result: Result) -> list[tuple[Promise, Verdict]]:
    """Of every promise that this result speaks about."""
    return [found for row in result.rows for found in _verdicts(result.case, row)]


def _verdicts(case: str, row: Row) -> Iterator[tuple[Promise, Verdict]]:
    if row.value is not None and (promise := promise_of(case, row)):
        yield promise, judge(promise, row.value, good=row.good)
    for ratio in row.ratios:
        if promise := promise_of(case, row, ratio.reference):
            yield promise, judge(promise, ratio.value, good=ratio.good)
