"""A thousand endpoints on one host: what the agent costs, and how fast it stays.

┌───────── many ─────────┐   ┌──────── few ────────┐
│ 1,000 containers       │   │ 1 container         │
│ agent                  │   │ agent               │
└────────────────────────┘   └─────────────────────┘

Every figure is printed beside its promise. Asserted is what a busy machine cannot spoil: memory,
counts, and times with a wide margin.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.evidence import Evidence
from tests.used import agents
from tests.waiting import span

from seaway import lab as labs
from seaway import names
from seaway.bench.ours import Seaway
from seaway.bench.plugins import Caller
from seaway.errors import SeawayError
from seaway.lab import LabHost

ENDPOINTS = 1000
SPARES = 16
ROUNDS = 12
IDLE = 20.0  # seconds
MARGIN = 4  # what a busy machine may add to a time
CHANGES = str(Path(__file__).parents[1] / "changes.py")


@dataclass
class Crowd:
    """Two hosts side by side: one with many endpoints, one with a single one."""

    many: LabHost
    few: LabHost
    callers: dict[str, Caller]

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.many)


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(_lab(name)) for name in ("many", "few")}
        callers = {n: stack.enter_context(Seaway().attaching(h)) for n, h in hosts.items()}
        callers["many"].fill(ENDPOINTS, SPARES)
        callers["few"].fill(1, SPARES)
        yield Crowd(hosts["many"], hosts["few"], callers)


@contextmanager
def _lab(name: str) -> Iterator[LabHost]:
    lab = f"t{os.getpid()}-{name}"
    try:
        yield labs.up(lab, hosts=1).hosts[0]
    finally:
        labs.down(lab)


def test_a_thousand_endpoints_are_there_and_reach_each_other(crowd):
    evidence = crowd.evidence
    status = evidence.client.status()
    assert (ENDPOINTS, (), 0) == (status.endpoints, status.failures, status.drift_total)
    reports = evidence.client.endpoints()
    addresses = [i.ip for r in reports for i in r.endpoint.addresses]
    assert 2 * ENDPOINTS == len(set(addresses)) == len(evidence.elements("endpoints"))
    assert ENDPOINTS == len(evidence.elements("interfaces"))
    by_name = {r.endpoint.name: r.endpoint for r in reports}
    inside = ["nsenter", "--net=/run/netns/present0"]
    for other in ("present1", f"present{ENDPOINTS - 1}"):
        for interface in by_name[other].addresses:
            assert (
                0 == crowd.many.call(*inside, "ping", "-nqc1", "-W2", str(interface.ip)).returncode
            )


def test_an_add_takes_as_long_at_a_thousand_as_at_one(crowd, tell):
    """Both hosts by turns, so that a busy moment spoils both."""
    times: dict[str, list[float]] = {"many": [], "few": []}
    deletes: dict[str, list[float]] = {"many": [], "few": []}
    for _ in range(ROUNDS):
        for name, caller in crowd.callers.items():
            spares = caller.spares[:5]
            times[name] += caller.call("ADD", 1, spares)
            deletes[name] += caller.call("DEL", 1, spares)
    few, many = (_best(times[name]) for name in ("few", "many"))
    growth = 100 * (many / few - 1)
    tell(
        f"ADD {few:.2f} ms at 1, {many:.2f} ms at {ENDPOINTS} endpoints: {growth:+.0f} % (20 %); "
        f"DEL {_best(deletes['few']):.2f} and {_best(deletes['many']):.2f} ms"
    )
    assert many < MARGIN * few


def _best(times: list[float]) -> float:
    """The median of the best quarter: what it takes when nobody else is at work."""
    return statistics.median(sorted(times)[: len(times) // 4])


def test_the_agent_is_ready_soon_with_a_thousand_endpoints_present(crowd, tell):
    times = []
    for _ in range(3):
        crowd.many.kill_agent()
        start = time.monotonic()
        crowd.many.start(sys.executable, "-m", "seaway", "agent", log=names.LOG_FILE)
        crowd.many.wait_for("the agent", lambda: _ready(crowd.evidence), within=30)
        times.append(time.monotonic() - start)
    status = crowd.evidence.client.status()
    tell(f"ready {min(times):.2f} s after its start with {ENDPOINTS} endpoints present (1.5 s)")
    assert (ENDPOINTS, (), 0) == (status.endpoints, status.failures, status.drift_total)
    assert min(times) < MARGIN * 1.5


def _ready(evidence: Evidence) -> bool:
    try:
        return evidence.client.status().ready
    except SeawayError:
        return False


def test_the_agent_is_small_and_nearly_idle(crowd, tell):
    (agent,) = agents(crowd.many)
    start, used = time.monotonic(), agent.cpu
    span(IDLE)  # whoever asks an agent how it is keeps it busy
    share = 100 * (agent.cpu - used) / (time.monotonic() - start)
    resident = agent.resident
    tell(f"idle: {share:.2f} % of one CPU (0.5 %); resident {resident:.0f} MB (80 MB)")
    assert resident <= 80
    assert share < MARGIN * 0.5
    assert 0 == crowd.evidence.client.status().drift_total


def test_an_audit_and_a_change_cost_little_at_a_thousand(crowd, tell):
    """In the host, in place of its agent: the same parts, with a clock around them."""
    crowd.many.kill_agent()
    try:
        told = json.loads(crowd.many.run(sys.executable, CHANGES, timeout=100))
    finally:
        crowd.many.start_agent()
    tell(
        f"one changed endpoint is in its maps after {told['p50']:.2f} ms (p50), "
        f"{told['p99']:.2f} ms (p99; 10 ms); "
        f"a sweep's audit takes {told['sweep']:.1f} ms of CPU (40 ms)"
    )
    assert {} == told["drift"]
    assert told["p50"] < 10
    assert told["sweep"] < MARGIN * 40
