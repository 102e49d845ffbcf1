"""Limits of connections and of bandwidth: what is asked for, what the kernel is to hold, and what
is refused without a trace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents import Agent, run

from seaway.bpf import abi
from seaway.desired.network.shapers import shaping_of
from seaway.desired.transport.limits import client_number, service_number
from seaway.doors.cni_config import parse_wishes
from seaway.doors.cni_env import parse_arguments
from seaway.errors import Invalid, SeawayError
from seaway.kernel.messages import qdisc
from seaway.model import bandwidth, limits
from seaway.model.facts import Attached, Shaped
from seaway.model.kernel import Shaper
from seaway.model.manifests import read
from seaway.model.rendering import render
from seaway.model.reports import Use
from seaway.model.requests import EndpointChange, NewService, ServiceChange
from seaway.model.services import ServicePort
from seaway.names import link_name

PORTS = (
    ServicePort(port=80, target=8080, name="a"),
    ServicePort(port=53, target=53, protocol="udp", name="b"),
)
U32 = (1 << 32) - 1
SECOND = {"name": "b", "interface": "eth1", "limit_connections": 5, "limit_rate": 9}


def new(**given: Any) -> NewService:
    return NewService(name="web", ports=PORTS, selector={"app": "web"}, **given)


def numbers(agent: Agent) -> set[int]:
    return {frontend.service.limit for frontend in agent.kernel["services"].read().values()}


def test_all_ports_and_addresses_of_a_service_share_its_limit(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        service = (
            await agent.intents.create_service(new(limit_connections=100, limit_rate=20))
        ).service
        number = service_number(service)
        assert 4 == len(agent.kernel["services"].read())
        assert {number} == numbers(agent)
        assert {number: abi.Limit(100, 20)} == agent.kernel["limits"].read()

        agent.host.used[number] = Use(open=3, full=2, fast=1)
        assert Use(open=3, full=2, fast=1) == agent.intents.service("web").use
        assert 3 == agent.intents.status().limited

        await agent.intents.update_service("web", ServiceChange(limit_connections=7))
        assert {number: abi.Limit(7, 20)} == agent.kernel["limits"].read()
        await agent.intents.update_service("web", ServiceChange(limit_connections=0, limit_rate=0))
        assert {} == agent.kernel["limits"].read()
        assert {0} == numbers(agent)

    run(tmp_path, scenario)


def test_a_limit_goes_with_its_service(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        await agent.intents.create_service(new(limit_rate=1))
        assert before != agent.state()
        await agent.intents.remove_service("web")
        assert before == agent.state()

    run(tmp_path, scenario)


def test_of_the_endpoints_of_a_container_the_lowest_limit_counts(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        agent.host.cookies["/run/netns/a"] = 77
        before = agent.state()
        first = await agent.attach("a", limit_connections=10)
        second = await agent.attach("a", **SECOND)
        number = client_number(77)
        assert {number: abi.Limit(5, 9)} == agent.kernel["limits"].read()
        assert {number} == {client.limit for client in agent.kernel["clients"].read().values()}

        await agent.intents.update_endpoint(second.id, EndpointChange(limit_connections=20))
        assert {number: abi.Limit(10, 9)} == agent.kernel["limits"].read()
        for endpoint in (first, second):
            await agent.intents.detach(endpoint.id)
        assert before == agent.state()

    run(tmp_path, scenario)


def test_bandwidth_makes_a_shaper_that_goes_with_the_endpoint(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        endpoint = await agent.attach("a", ingress_rate=50_000_000, egress_rate=8_000_000)
        link = link_name(endpoint.id)
        into, out = (shaping_of(r, 0, 1500) for r in (50_000_000, 8_000_000))
        assert {link: Shaper(link, 1500, into, out)} == agent.kernel["shapers"].read()
        both = abi.ENDPOINT_SHAPED_IN | abi.ENDPOINT_SHAPED_OUT
        assert {0} == _flags(agent, both)  # nobody is cut before his shaper is there
        assert {} == agent.kernel["shaped"].read()

        agent.intents.facts.change(Shaped, link, Shaped(link=link, into=0, out=0))
        await agent.intents.convergence.settle()
        assert {both} == _flags(agent, both)  # nor free once it should be
        assert {} == agent.kernel["shaped"].read()

        agent.intents.facts.change(Shaped, link, Shaped(link=link, into=7, out=8))
        await agent.intents.convergence.settle()
        assert {both} == _flags(agent, both)
        attached = agent.intents.facts.get(Attached, endpoint.id)
        assert attached
        shaper = abi.Shaper(attached.ifindex, 7, 8)
        assert dict.fromkeys((attached.ifindex, 7, 8), shaper) == agent.kernel["shaped"].read()

        await agent.intents.update_endpoint(endpoint.id, EndpointChange(egress_rate=0))
        assert {link: Shaper(link, 1500, into, None)} == agent.kernel["shapers"].read()
        await agent.intents.update_endpoint(endpoint.id, EndpointChange(ingress_rate=0))
        assert {} == agent.kernel["shapers"].read() == agent.kernel["shaped"].read()
        await agent.intents.detach(endpoint.id)
        assert before == agent.state()

    run(tmp_path, scenario)


def _flags(agent: Agent, mask: int) -> set[int]:
    """Of all addresses."""
    return {e.flags & mask for e in agent.kernel["endpoints"].read().values()}


def test_who_is_not_limited_has_none_of_it(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("a")
        await agent.intents.create_service(new())
        held = [agent.kernel[kind].read() for kind in ("limits", "shapers", "shaped")]
        assert [{}, {}, {}] == held

    run(tmp_path, scenario)


BAD = [
    {"limit_connections": -1},
    {"limit_rate": 1_000_001},
    {"ingress_rate": -5},
    {"ingress_rate": 7_999},
    {"egress_rate": 32_000_000_001},
    {"egress_burst": 10_000},
    {"ingress_rate": 1_000_000, "ingress_burst": 1_000},
    {"ingress_rate": 1_000_000, "ingress_burst": -1},
    {"ingress_rate": 1_000_000, "ingress_burst": 1 << 32},
    {"ingress_rate": 8_000, "ingress_burst": 8_000 * 257},
    {"ingress_rate": 8_000, "mtu": 9000},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path: Path, bad: dict[str, int]) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("b")
        before = agent.state()
        with pytest.raises(Invalid) as refused:
            await agent.attach("a", **bad)
        assert refused.value.hint
        if "mtu" not in bad:
            with pytest.raises(Invalid):
                await agent.intents.update_endpoint("b", EndpointChange(**bad))
        if set(bad) <= {"limit_connections", "limit_rate"}:
            with pytest.raises(Invalid):
                await agent.intents.create_service(new(**bad))
        assert before == agent.state()

    run(tmp_path, scenario)


@given(st.integers(bandwidth.LEAST, bandwidth.MOST), st.integers(0, U32), st.integers(576, 65535))
def test_what_is_allowed_fits_into_what_the_kernel_takes(rate: int, burst: int, mtu: int) -> None:
    try:
        bandwidth.check_bandwidth("ingress", rate, burst, mtu)
    except Invalid:
        return
    made = shaping_of(rate, burst, mtu)
    assert made
    assert 0 < made.rate <= U32
    assert 0 < made.burst <= U32
    assert made.queue <= U32
    # The longest packet that the kernel lets pass: what the rate gives in the burst's time, which
    # it reckons in 32 bits of nanoseconds.
    longest = made.rate * min(made.burst * 64, U32) // 10**9
    assert longest >= mtu + bandwidth.FRAME
    body = qdisc.put_tbf(5, made).body
    assert (5, made) == qdisc.parse_tbf(body)


@given(st.integers(0, 10**13))
def test_bits_are_read_as_they_are_written(bits: int) -> None:
    """To three digits behind the unit."""
    read = bandwidth.parse_bits(bandwidth.written(bits))
    assert abs(read - bits) <= bits / 1000
    assert bits >= 10**12 or bits == bandwidth.parse_bits(bandwidth.spelled(bits))


@pytest.mark.parametrize(
    ("text", "bits"),
    [("50mbit", 50_000_000), ("1.5Gbit", 1_500_000_000), ("800000", 800_000), ("0", 0)],
)
def test_bits_as_people_write_them(text: str, bits: int) -> None:
    assert bits == bandwidth.parse_bits(text)


@pytest.mark.parametrize("text", ["", "-1", "5 mbit", "5mb", "1e6", "1.2345kbit", "x" * 999, "٣"])
def test_what_is_no_number_is_refused(text: str) -> None:
    for parse in (bandwidth.parse_bits, limits.parse_rate, limits.parse_connections):
        with pytest.raises(Invalid):
            parse(text)


def test_a_rate_of_connections_is_one_with_or_without_its_unit() -> None:
    assert (100, 100, 0) == tuple(map(limits.parse_rate, ("100/s", "100", "0")))


MANIFEST = """
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {seaway.dev/limit-connections: "100", seaway.dev/limit-rate: 20/s}
spec:
  selector: {app: web}
  ports: [{port: 80}]
"""


def test_a_manifest_says_limits_by_annotations_and_is_written_so_again(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.apply(read(MANIFEST))
        service = agent.intents.service("web").service
        assert (100, 20) == (service.limit_connections, service.limit_rate)
        annotations = render(service)["metadata"]["annotations"]
        assert {"seaway.dev/limit-connections": "100", "seaway.dev/limit-rate": "20"} == annotations
        with pytest.raises(SeawayError):
            read(MANIFEST.replace("20/s", "many"))

    run(tmp_path, scenario)


def bandwidth_of(**raw: Any) -> Any:
    return parse_wishes(raw, parse_arguments("")).bandwidth


def test_cni_says_bandwidth_by_its_capability_or_the_configuration() -> None:
    own = {"ingressRate": 5_000_000, "ingressBurst": 1_000_000}
    found = bandwidth_of(bandwidth=own)
    assert (5_000_000, 1_000_000, 0, 0) == (
        *(found.ingress_rate, found.ingress_burst),
        *(found.egress_rate, found.egress_burst),
    )
    runtime = {"EgressRate": 8_000_000, "EgressBurst": U32, "IngressRate": 0, "IngressBurst": 0}
    found = bandwidth_of(bandwidth=own, runtimeConfig={"bandwidth": runtime})
    assert (0, 8_000_000, 0) == (found.ingress_rate, found.egress_rate, found.egress_burst)


@pytest.mark.parametrize(
    "bad",
    [
        {"ingressRate": 1},
        {"ingressRate": -1},
        {"ingressBurst": 10},
        {"egressRate": "1M"},
        {"rate": 5_000_000},
        {"ingressRate": 5_000_000, "ingressBurst": 1 << 33},
    ],
    ids=str,
)
def test_bad_bandwidth_of_cni_is_refused(bad: dict[str, Any]) -> None:
    for raw in ({"bandwidth": bad}, {"runtimeConfig": {"bandwidth": bad}}):
        with pytest.raises(SeawayError):
            bandwidth_of(**raw)
