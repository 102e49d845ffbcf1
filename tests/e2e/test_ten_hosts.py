"""Ten hosts on one machine, each with an agent and a `routed`, and etcd on three of them.

┌── host1 ──┐   ┌── host2 ──┐        ┌── host10 ─┐   No host has a container but those that come
│   etcd    │   │   etcd    │  ...   │           │   while somebody looks.
└─────┬─────┘   └─────┬─────┘        └─────┬─────┘
──────┴────── wire ───┴────────────────────┴──────

All of it is a soak: it wants the machine for itself. Memory is what is resident of each process
(RSS), so what several share counts for each of them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.used import Process, ours, residents
from tests.waiting import span, wait

import placed
from seaway.bench.rounds import ATTEMPTS, Ledger
from seaway.bench.systems import host_netns
from seaway.lab import Lab, LabHost
from seaway.model.requests import NewEndpoint, NewNetwork

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

HOSTS = 10
VOTERS = 3
NETWORKS = 10  # the first endpoint of each on each host claims a block
IDLE = 24.0  # seconds: three sweeps
QUIET = 8  # spans of them that count
SEARCHER = str(Path(__file__).parents[1] / "searcher.py")


@pytest.fixture(scope="module")
def ten(make_module_lab: Callable[..., Lab]) -> Lab:
    lab = make_module_lab(hosts=HOSTS)
    first, *others = lab.hosts
    first.seaway("init", "--etcd", "own", timeout=90)
    for number, host in enumerate(others, 2):
        option = ["--control"] * (number <= VOTERS)
        told = json.loads(first.seaway("token", "create", *option, "-o", "json"))
        host.seaway("join", told["token"], str(first.address4), timeout=60)
    for host in lab.hosts:
        assert wait(lambda host=host: _is_whole(host), 60), host.name
    return lab


def _is_whole(host: LabHost) -> bool:
    client = placed.client(host)
    met = [link for link in client.links().links if link.up and link.session]
    voters = [report for report in client.hosts() if report.voter]
    return len(met) == HOSTS - 1 and len(voters) == VOTERS


def test_ten_hosts_fit_on_a_machine_and_idle(ten, tell):
    """Of CPU the median of spans; those of a slow machine are thrown away, as a benchmark does."""
    running = {host.name: ours(host) for host in ten.hosts}
    ledger: Ledger[dict[str, float]] = Ledger(cpu=max(os.sched_getaffinity(0)))
    for _ in range(ATTEMPTS * QUIET):
        if ledger.is_short("idle", QUIET):
            ledger.measure("idle", lambda: _shares(running))
    spans = ledger.told("idle")
    shares = {name: statistics.median(span[name] for span in spans) for name in running}
    resident = {name: sum(p.resident for p in processes) for name, processes in running.items()}
    everything = sum(process.resident for host in ten.everyone for process in residents(host))
    tell(
        f"idle: {max(shares.values()):.2f} % of one CPU the busiest host, "
        f"{statistics.median(shares.values()):.2f} % the median (2 %), "
        f"of {len(ledger.kept('idle'))} spans kept; resident without etcd "
        f"{max(resident.values()):.0f} MB (180 MB); all {HOSTS} hosts with etcd {everything:.0f} "
        f"MB (2,000 MB); load {os.getloadavg()[0]:.1f}"
    )
    assert max(resident.values()) <= 180
    assert everything <= 2000
    assert max(shares.values()) <= 2


def _shares(running: dict[str, list[Process]]) -> dict[str, float]:
    """Of one CPU, in percent, by host."""
    start, used = time.monotonic(), {n: sum(p.cpu for p in ps) for n, ps in running.items()}
    span(IDLE)
    passed = time.monotonic() - start
    return {n: 100 * (sum(p.cpu for p in ps) - used[n]) / passed for n, ps in running.items()}


def test_a_new_endpoint_is_soon_reached_from_every_host(ten, tell):
    """Half of them are the first of their network on their host: that claims a block first."""
    client = placed.client(ten.hosts[0])
    nets = [f"n{number}" for number in range(NETWORKS)]
    for net in nets:
        client.create_network(NewNetwork(name=net))
    first, second = [], []
    with searching(ten.hosts) as search:
        for net in nets:
            assert all(wait(lambda h=h, net=net: _knows(h, net)) for h in ten.hosts)
            first += [search(_attached(host, net, "first")) for host in ten.hosts]
            second += [search(_attached(host, net, "second")) for host in ten.hosts]
    found = sorted(first + second)
    p99 = found[int(0.99 * (len(found) - 1))]
    tell(
        f"reached from all {HOSTS} hosts {statistics.median(found):.1f} ms after ADD (p50), "
        f"{p99:.1f} ms (p99; 100 ms), at most {found[-1]:.1f} ms, of {len(found)}; p50 with a new "
        f"block {statistics.median(first):.1f} ms, without {statistics.median(second):.1f} ms; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    assert p99 <= 100


def _knows(host: LabHost, net: str) -> bool:
    return any(report.network.name == net for report in placed.client(host).networks())


def _attached(host: LabHost, net: str, which: str) -> str:
    """Its IPv4 address."""
    name = f"{net}-{which}"
    host.run("ip", "netns", "add", name)
    made = placed.client(host).attach(NewEndpoint(network=net, netns=name, name=name))
    return str(made.addresses[0].ip)


@contextmanager
def searching(hosts: tuple[LabHost, ...]) -> Iterator[Callable[[str], float]]:
    """Milliseconds until an address that was told was reached from all of them."""
    pipe = subprocess.PIPE
    command = [sys.executable, SEARCHER, *map(host_netns, hosts)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:

        def search(address: str) -> float:
            process.stdin.write(f"{address}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        try:
            yield search
        finally:
            process.kill()
