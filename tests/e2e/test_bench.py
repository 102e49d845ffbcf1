"""Every case of the bench at its smallest: the form of its answer, not the figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from seaway import bench, lab
from seaway.bench import cross_host, ingress, same_host, service
from seaway.bench.scale_trials import SYSTEMS
from seaway.bench.scale_trials import TRIALS as SCALE
from seaway.bench.traffic import METRICS
from seaway.bench.trials import TRIALS
from seaway.lab.hosts import SEAWAY

TINY = {"rounds": 1, "flows": 20_000, "endpoints": (1,), "parallel": (1, 2)}
OURS_AND_VETH = ("veth", "seaway", "seaway-tracked")
pytestmark = pytest.mark.timeout(900)


def measured(case: str, **more: object) -> bench.Result:
    return bench.run(case, bench.Options(**(TINY | more)))


def measured_by(found: bench.Result) -> set[tuple[str, str]]:
    return {(row.system, row.metric) for row in found.rows if row.value is not None}


def test_same_host_tells_every_metric():
    systems = ("veth", "seaway-tracked")
    found = measured("same-host", systems=systems)

    assert {(s, m) for s in systems for m in same_host.METRICS} == {
        (row.system, row.metric) for row in found.rows
    }
    assert found.case == json.loads(bench.encode(found))["case"]
    assert "udp_rr_p50 (us)" in bench.render(found)


@pytest.mark.soak
def test_same_host_has_every_system_that_is_installed():
    found = measured("same-host", metrics=("udp_pps",))

    assert bench.SYSTEMS["same-host"] == tuple(row.system for row in found.rows)
    assert [] == [row.note for row in found.rows if "start" in row.note]


@pytest.mark.soak
def test_same_host_measures_ipv6_with_every_program_that_knows_it():
    found = measured("same-host", family=6)
    told = {metric for metric in same_host.METRICS if 6 in METRICS[metric].families}
    lacking = {(r.system, r.metric): r.note for r in found.rows if r.value is None}

    assert {6} == {row.family for row in found.rows}
    assert {"udp_pps", "tcp_gbps", "tcp_cps"} == told
    assert [] == [key for key in lacking if key[0] in OURS_AND_VETH and key[1] in told]
    assert [] == [note for note in lacking.values() if "start" in note]
    assert "its program knows no IPv6" == lacking["seaway", "udp_rr_p50"]
    assert "tcp_cps (connections/s), IPv6" in bench.render(found)


def test_cross_host_tells_every_metric():
    systems = ("underlay", "seaway-overlay")
    found = measured("cross-host", systems=systems)

    assert {(s, m) for s in systems for m in cross_host.METRICS} == {
        (row.system, row.metric) for row in found.rows
    }
    # Of a busy machine all rounds may be thrown away.
    lacking = {row.note for row in found.rows if row.value is None}
    assert {"too few, 12 decide"} >= lacking
    assert lacking or "seaway-overlay/underlay" in found.ratios["tcp_gbps"]


@pytest.mark.soak
def test_cross_host_has_every_system_that_is_installed():
    found = measured("cross-host", metrics=("udp_pps",))
    lacking = {row.system: row.note for row in found.rows if row.value is None}

    assert bench.SYSTEMS["cross-host"] == tuple(row.system for row in found.rows)
    assert {"swarm-overlay"} >= lacking.keys()
    assert [] == [note for note in lacking.values() if "start" in note]


@pytest.mark.soak
def test_cross_host_sends_ipv6_too():
    systems = ("kernel-vxlan", "seaway-direct", "swarm-overlay")
    found = measured("cross-host", metrics=("udp_pps",), systems=systems, family=6)

    lacking = {row.system: row.note for row in found.rows if row.value is None}
    assert {"swarm-overlay"} == lacking.keys()


@pytest.mark.soak
@pytest.mark.parametrize("family", [4, 6])
def test_ingress_has_every_system_that_is_installed(family):
    found = measured("ingress", metrics=("tcp_cps",), family=family)

    assert bench.SYSTEMS["ingress"] == tuple(row.system for row in found.rows)
    lacking = {row.system: row.note for row in found.rows if row.value is None}
    assert {"swarm-ingress"} >= lacking.keys()
    assert {(s, "tcp_cps") for s in ("host", *ingress.OURS)} <= measured_by(found)


def test_ingress_tells_every_metric():
    systems = ("host", "seaway")
    found = measured("ingress", systems=systems)

    assert {(s, m) for s in systems for m in ingress.METRICS} == {
        (row.system, row.metric) for row in found.rows
    }
    assert {(s, "new_flows") for s in systems} <= measured_by(found)


def test_attach_tells_add_and_del_of_every_cell():
    found = measured("attach")
    systems = {row.system for row in found.rows}
    metrics = ("add_p50", "add_p99", "del_p50", "del_p99")

    assert {"seaway", "cni-bridge", "cni-ptp"} == systems
    assert {(s, m, 1, n) for s in systems for m in metrics for n in (1, 2)} == {
        (row.system, row.metric, row.endpoints, row.parallel) for row in found.rows
    }


def test_programs_tells_the_time_of_every_program():
    found = measured("programs")

    assert {"from_endpoint", "to_endpoint", "from_wire"} == {row.system for row in found.rows}
    assert set(TRIALS) == {metric for _, metric in measured_by(found)}


@pytest.mark.soak
def test_failover_tells_how_long_a_death_was_felt():
    found = measured("failover", systems=("link-fast",))

    assert [("link-fast", "outage_ms")] == [(row.system, row.metric) for row in found.rows]
    assert all((row.value or 0.0) > 0 for row in found.rows)
    assert "promised <= 300 ms: undecided" in bench.render(found)


def test_scale_tells_every_metric_of_every_size():
    found = measured("scale", hosts=(60, 120))

    assert {(s, m, n) for s in SYSTEMS for m in SCALE for n in (60, 120)} == {
        (row.system, row.metric, row.hosts) for row in found.rows if row.value is not None
    }


def test_dns_tells_every_metric_of_every_resolver():
    found = measured("dns")

    assert {(s, m) for s in bench.SYSTEMS["dns"] for m in ("qps", "p99")} == measured_by(found)
    assert {"seaway/dnsmasq", "seaway/unbound"} == found.ratios["qps"].keys()


@pytest.mark.parametrize(
    "systems",
    [
        ("seaway-vip", "nftables"),
        pytest.param(bench.SYSTEMS["service"], marks=pytest.mark.soak),
    ],
    ids=["some", "all"],
)
def test_service_tells_every_metric_of_every_system_and_number(systems):
    found = measured("service", services=(1, 30), systems=systems)

    assert {
        (system, metric, services)
        for system in systems
        for metric in service.METRICS
        for services in (1, 30)
        if system != "direct" or metric in service.TRAFFIC
    } == {(row.system, row.metric, row.services) for row in found.rows}
    # Of a busy machine no client of a round trip may wake up in time.
    assert {"too few, 12 decide"} >= {row.note for row in found.rows if row.value is None}
    assert "seaway-vip@30/nftables@30" in found.ratios["one_change"]
    assert "seaway-vip@30/seaway-vip@1" in found.ratios["tcp_cps"]


def test_a_bench_leaves_no_lab_behind():
    measured("same-host", systems=("veth",), metrics=("udp_pps",))

    assert f"bench-{os.getpid()}" not in lab.names()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_bench_that_is_ended_takes_its_hosts_down_first(ending):
    # A shell's job in the background ignores SIGINT, and hands that down to us.
    heard = ["env", "--default-signal=INT,TERM,HUP"]
    command = [*heard, SEAWAY, "bench", "same-host", "--system", "veth"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "round 1" in line)
        process.send_signal(ending)
        process.communicate(timeout=120)

    assert 130 == process.returncode
    assert f"bench-{process.pid}" not in lab.names()
