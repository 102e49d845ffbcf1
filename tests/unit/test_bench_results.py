"""The JSON and the table of a result, and what is promised of it."""

from __future__ import annotations

import json

import pytest

from seaway.bench.promises import verdicts
from seaway.bench.results import Machine, Ratio, Result, Row, collect_ratios, encode
from seaway.bench.table import render
from seaway.bench.traffic import median
from seaway.errors import SystemFailed

MACHINE = Machine(
    kernel="6.18",
    processor="abacus",
    cpus=2,
    pinned_to=1,
    load=0.1,
    python="3.11",
    at="2026-11-23T00:00:00+00:00",
    spin_ms=5.0,
    versions={"iperf3": "3.12"},
)


def row(system: str, value: float | None, **more: object) -> Row:
    given = {
        "system": system,
        "metric": "udp_rr_p50",
        "unit": "us",
        "value": value,
        "low": value,
        "high": value,
        "runs": 20,
        "discarded": 3,
        "good": True,
    }
    return Row(**(given | more))


def against(reference: str, value: float, good: bool = True) -> tuple[Ratio, ...]:
    return (Ratio(reference=reference, value=value, low=value, high=value, good=good),)


def result(*rows: Row, case: str = "same-host") -> Result:
    return Result(case=case, machine=MACHINE, rows=rows, ratios=collect_ratios(rows))


def test_the_json_has_the_promised_form():
    found = json.loads(encode(result(row("veth", 10.0), row("seaway", 10.5))))

    assert ["case", "machine", "rows", "ratios"] == list(found)
    assert {"system", "metric", "unit", "value", "low", "high", "runs"} < set(found["rows"][0])


def test_ratios_are_told_by_metric_and_pair():
    found = result(row("veth", 10.0), row("seaway", 10.5, ratios=against("veth", 1.05)))

    assert {"udp_rr_p50": {"seaway/veth": 1.05}} == found.ratios


def test_of_many_cells_a_pair_tells_the_worst():
    cells = [
        row(
            "seaway",
            3.0,
            metric="add_p50",
            endpoints=present,
            parallel=1,
            ratios=against(f"cni-ptp@{present}x1", value),
        )
        for present, value in ((1, 0.4), (1000, 0.5))
    ]

    assert {
        "seaway@1x1/cni-ptp@1x1": 0.4,
        "seaway@1000x1/cni-ptp@1000x1": 0.5,
        "seaway/cni-ptp": 0.5,
    } == result(*cells).ratios["add_p50"]


def test_a_missing_peer_is_told_and_has_no_figure():
    missing = row("docker-bridge", None, runs=0, good=False, note="dockerd (docker.io)")

    assert "docker-bridge          missing: dockerd (docker.io)" in render(result(missing))
    assert {} == result(missing).ratios
    assert None is json.loads(encode(result(missing)))["rows"][0]["value"]


@pytest.mark.parametrize(("ratio", "verdict"), [(1.05, "kept"), (1.2, "broken")])
def test_a_promise_is_held_to_the_ratio(ratio, verdict):
    found = result(row("seaway", 10.0, ratios=against("veth", ratio)))

    assert [("<= 1.1 x veth", verdict)] == [(str(p), v) for p, v in verdicts(found)]
    assert f"promised <= 1.1 x veth: {verdict}" in render(found)


@pytest.mark.parametrize(("ratio", "verdict"), [(1.01, "kept"), (1.0, "broken")])
def test_more_connections_than_a_peers_are_promised_of_a_published_port(ratio, verdict):
    ours = row("seaway", 9000.0, metric="tcp_cps", ratios=against("docker", ratio))
    found = result(ours, case="ingress")

    assert [("> 1 x docker", verdict)] == [(str(p), v) for p, v in verdicts(found)]


def test_a_tracked_flow_is_held_to_the_veth_pair():
    ours = row("seaway-tracked", 11.0, ratios=against("veth", 1.1))

    assert [("<= 1.15 x veth", "kept")] == [(str(p), v) for p, v in verdicts(result(ours))]


@pytest.mark.parametrize(("value", "verdict"), [(49.0, "kept"), (51.0, "broken")])
def test_a_figure_itself_may_be_promised(value, verdict):
    ours = row("hops", value, metric="paths_change", unit="ms", hosts=1000)
    found = result(ours, case="scale")

    assert [("<= 50", verdict)] == [(str(p), v) for p, v in verdicts(found)]
    assert f"promised <= 50 ms: {verdict}" in render(found)


def test_of_many_services_a_pair_tells_the_worst_of_what_is_to_be_high_and_to_be_low():
    cells = [
        row(
            "seaway-vip",
            3.0,
            metric=metric,
            unit=unit,
            services=services,
            ratios=against(f"direct@{services}", value),
        )
        for metric, unit in (("tcp_rr_p50", "us"), ("tcp_cps", "connections/s"))
        for services, value in ((1, 0.9), (1000, 1.1))
    ]
    found = result(*cells, case="service").ratios

    assert 1.1 == found["tcp_rr_p50"]["seaway-vip/direct"]
    assert 0.9 == found["tcp_cps"]["seaway-vip/direct"]
    assert 0.9 == found["tcp_rr_p50"]["seaway-vip@1/direct@1"]


@pytest.mark.parametrize(
    ("metric", "reference", "ratio", "verdict"),
    [
        ("tcp_rr_p50", "direct@10000", 1.019, "kept"),
        ("tcp_rr_p50", "seaway-vip@1", 1.021, "broken"),
        ("tcp_cps", "direct@10000", 0.96, "kept"),
        ("tcp_cps", "seaway-vip@1", 0.97, "broken"),
        ("one_change", "nftables@10000", 0.5, "kept"),
    ],
)
def test_a_service_is_held_to_its_backend_and_to_one_service(metric, reference, ratio, verdict):
    unit = "connections/s" if metric == "tcp_cps" else "ms"
    more = {"metric": metric, "unit": unit, "services": 10_000}
    ours = row("seaway-vip", 5.0, ratios=against(reference, ratio), **more)
    told = {p.reference: v for p, v in verdicts(result(ours, case="service"))}

    assert verdict == told[reference]


def test_figures_of_so_many_hosts_are_drawn_as_a_curve():
    curve = [row("hops", 10.0 * hosts, metric="memory", hosts=hosts) for hosts in (1, 2, 4)]
    drawn = [line.strip() for line in render(result(*curve, case="scale")).splitlines()]

    assert ["=" * 15, "=" * 30, "=" * 60] == [line for line in drawn if line.startswith("=")]


def test_too_few_rounds_keep_no_promise():
    found = result(row("seaway", 10.0, ratios=against("veth", 1.0, good=False)))

    assert ["undecided"] == [verdict for _, verdict in verdicts(found)]


def test_the_median_is_read_from_what_sockperf_prints():
    assert 16.053 == median("sockperf: ---> percentile 50.000 =   16.053\n")


def test_a_sockperf_that_measured_nothing_is_an_error():
    with pytest.raises(SystemFailed, match="No messages were received"):
        median("sockperf: No messages were received from the server.")


@pytest.mark.parametrize(
    "words", ["No valid observations found. Try tune parameters", "No messages were sent"]
)
def test_a_sockperf_that_was_woken_up_too_late_gives_no_round(words):
    assert None is median(f"sockperf: {words}")
