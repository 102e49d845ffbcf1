"""Bandwidth that a service gives each of its backends: who is limited by it, and how much."""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.agents import Agent, run
from tests.unit import test_services
from tests.unit.test_services import learn, service

from seaway.bpf import abi
from seaway.desired.indexes import INDEXES
from seaway.desired.network.endpoints import ENDPOINTS
from seaway.desired.network.shapers import SHAPERS, shaping_of
from seaway.desired.transport.bandwidth import bandwidth_of
from seaway.errors import Invalid
from seaway.facts import Facts, View
from seaway.model.bandwidth import FRAME, Bandwidth
from seaway.model.facts import Attached, Endpoint, Host, Network, Shaped
from seaway.model.kernel import Shaper
from seaway.model.manifests import read
from seaway.model.rendering import render
from seaway.model.requests import EndpointChange, NewService, Objects, ServiceChange
from seaway.model.services import EndpointSlice, Service, ServicePort, SliceEndpoint
from seaway.names import link_name

NET = Network(name="n", number=1, subnets=())
MBIT = 1_000_000
PORTS = (ServicePort(port=80, target=8080),)


def id_of(number: int) -> str:
    """A link's name has its first digits."""
    return f"{number:x}".ljust(16, "0")


def endpoint(number: int, **given_: Any) -> Endpoint:
    return replace(test_services.endpoint(number, **given_), id=id_of(number))


def facts_of(*facts: Any) -> Facts:
    """With the links of all endpoints that there may be."""
    made = Facts((ENDPOINTS, SHAPERS), INDEXES)
    learn(made, Host(name="h", addresses=()), NET, *facts)
    for number in range(1, 5):
        attached = Attached(endpoint=id_of(number), ifindex=number)
        made.change(Attached, attached.endpoint, attached)
    return made


def shapers(made: Facts) -> dict[Hashable, object]:
    return dict(made.derive().get("shapers", {}))


def link(number: int) -> str:
    return link_name(id_of(number))


def shaper(number: int, into: int = 0, out: int = 0) -> Shaper:
    ways = (shaping_of(rate, 0, 1500) for rate in (into, out))
    return Shaper(link(number), 1500, *ways)


def slice_(*addresses: str) -> EndpointSlice:
    backends = tuple(SliceEndpoint(addresses=(ip_address(a),)) for a in addresses)
    return EndpointSlice(name="s", network="n", service="web", family=4, endpoints=backends)


def test_endpoints_that_a_service_selects_get_a_shaper_and_others_not_even_a_key() -> None:
    limited = service(selector={"app": "web", "tier": "a"}, ingress_rate=5 * MBIT)
    made = facts_of(
        endpoint(1, labels={"app": "web", "tier": "a", "more": "x"}),
        endpoint(2, labels={"app": "web"}),
        endpoint(3, labels={}),
        endpoint(4, labels={"app": "web", "tier": "a"}, network="m"),
        limited,
    )
    assert {link(1): shaper(1, into=5 * MBIT)} == shapers(made)
    assert [("shapers", link(1))] == [t for t in made._asked if t[0] == "shapers"]

    learn(made, service(selector=limited.selector, ingress_rate=7 * MBIT, egress_rate=MBIT))
    assert {link(1): shaper(1, 7 * MBIT, MBIT)} == shapers(made)
    made.change(Service, "n/web", None)
    assert {link(1): None} == shapers(made)
    assert not made._asking


def test_endpoints_that_a_slice_names_are_limited_too() -> None:
    made = facts_of(
        *(endpoint(n, labels={}) for n in (1, 2)),
        slice_("10.0.0.1", "192.0.2.9"),
        service(selector={}, egress_rate=MBIT),
    )
    assert {link(1): shaper(1, out=MBIT)} == shapers(made)
    learn(made, slice_("10.0.0.2"))
    assert {link(1): None, link(2): shaper(2, out=MBIT)} == shapers(made)


def test_what_changes_no_rate_makes_no_endpoint_stale() -> None:
    made = facts_of(endpoint(1), service(ingress_rate=MBIT))
    made.derive()
    learn(made, service(ingress_rate=MBIT, drain=1.0, limit_rate=5, affinity=9))
    assert {} == made.derive()


def test_in_each_way_the_lowest_rate_counts_with_its_own_burst() -> None:
    of = endpoint(1, ingress_rate=3 * MBIT, ingress_burst=100_000, egress_rate=9 * MBIT)
    one = service(ingress_rate=4 * MBIT, egress_rate=8 * MBIT, egress_burst=50_000)
    two = replace(one, name="other", ingress_rate=3 * MBIT, egress_burst=0)
    assert (
        Bandwidth(rate=3 * MBIT, burst=100_000),
        Bandwidth(rate=8 * MBIT, service="n/other"),
    ) == bandwidth_of(of, View(facts_of(of, one, two)))


labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
rates = st.sampled_from((0, MBIT, 2 * MBIT, 3 * MBIT))
endpoints = st.builds(
    endpoint, st.just(1), labels=labels, ingress_rate=rates, network=st.sampled_from("nm")
)
services = st.lists(st.tuples(labels, rates), max_size=4)


@given(endpoints, services, st.booleans())
def test_nobody_gets_more_than_any_service_that_he_stands_behind_allows(
    of: Endpoint, given_: list[tuple[dict[str, str], int]], named: bool
) -> None:
    made = [
        Service(name=f"s{n}", network="n", ports=PORTS, selector=selector, ingress_rate=rate)
        for n, (selector, rate) in enumerate(given_)
    ]
    naming = [
        EndpointSlice(
            name=f"x{n}",
            network="n",
            service=f"s{n}",
            family=4,
            endpoints=(SliceEndpoint(addresses=(of.addresses[0].ip,)),) * named,
        )
        for n, _ in enumerate(given_)
    ]
    allowed = [of.ingress_rate] + [
        one.ingress_rate
        for one in made
        if of.network == "n"
        and (one.selector.items() <= of.labels.items() if one.selector else named)
    ]
    into, out = bandwidth_of(of, View(facts_of(of, *made, *naming)))
    assert into.rate == min(filter(None, allowed), default=0)
    assert Bandwidth() == out


def test_a_packet_of_an_endpoint_with_a_larger_mtu_than_its_network_always_passes() -> None:
    mtu = 9000
    made = shaping_of(8_000, 20_000, mtu)
    assert made
    longest = made.rate * min(made.burst * 64, (1 << 32) - 1) // 10**9
    assert longest >= mtu + FRAME


def new(**given_: Any) -> NewService:
    return NewService(name="web", ports=PORTS, selector={"app": "web"}, **given_)


def test_a_change_of_a_service_is_one_of_its_running_backends_at_once(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new())
        before = agent.state()
        of = await agent.attach("a", labels={"app": "web"})
        other = await agent.attach("b", labels={"app": "db"})
        alone = agent.state()
        name = link_name(of.id)
        await agent.intents.update_service(
            "web", ServiceChange(ingress_rate=8 * MBIT, ingress_burst=MBIT)
        )
        into = shaping_of(8 * MBIT, MBIT, 1500)
        assert {name: Shaper(name, 1500, into, None)} == agent.kernel["shapers"].read()
        agent.intents.facts.change(Shaped, name, Shaped(link=name, into=7, out=8))
        await agent.intents.convergence.settle()
        shaped = {str(k): bool(e.flags & abi.ENDPOINT_SHAPED_IN) for k, e in flagged(agent).items()}
        assert {str(i.ip): True for i in of.addresses} | {
            str(i.ip): False for i in other.addresses
        } == shaped
        attached = agent.intents.facts.get(Attached, of.id)
        assert attached
        assert {attached.ifindex, 7, 8} == agent.kernel["shaped"].read().keys()
        report = agent.intents.endpoint(of.id)
        assert Bandwidth(rate=8 * MBIT, burst=MBIT, service="default/web") == report.ingress

        await agent.intents.update_endpoint(of.id, EndpointChange(ingress_rate=MBIT))
        into = shaping_of(MBIT, 0, 1500)
        assert {name: Shaper(name, 1500, into, None)} == agent.kernel["shapers"].read()
        await agent.intents.update_endpoint(of.id, EndpointChange(ingress_rate=0))
        await agent.intents.update_service("web", ServiceChange(ingress_rate=0))
        assert 0 == agent.intents.service("web").service.ingress_burst
        agent.intents.facts.change(Shaped, name, None)
        await agent.intents.convergence.settle()
        assert alone == agent.state()
        for one in (of, other):
            await agent.intents.detach(one.id)
        assert before == agent.state()

    run(tmp_path, scenario)


def flagged(agent: Agent) -> dict[Any, abi.Endpoint]:
    return dict(agent.kernel["endpoints"].read())


def test_a_backend_that_is_attached_later_is_limited_from_its_first_packet(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new(egress_rate=MBIT))
        of = await agent.attach("a", labels={"app": "web"})
        assert {link_name(of.id)} == agent.kernel["shapers"].read().keys()
        await agent.intents.remove_service("web")
        assert {} == agent.kernel["shapers"].read()

    run(tmp_path, scenario)


BAD = [
    {"ingress_rate": -5},
    {"ingress_rate": 7_999},
    {"egress_rate": 32_000_000_001},
    {"egress_burst": 10_000},
    {"ingress_rate": MBIT, "ingress_burst": 1_000},
    {"egress_rate": MBIT, "egress_burst": (1500 + FRAME) * 8 - 1},  # a packet of the network
    {"ingress_rate": 8_000, "ingress_burst": 8_000 * 257},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path: Path, bad: dict[str, int]) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new())
        before = agent.state()
        for refused in (
            agent.intents.update_service("web", ServiceChange(**bad)),
            agent.intents.create_service(NewService(name="b", ports=PORTS, **bad)),
            agent.intents.apply(Objects(services=(new(**bad),))),
        ):
            with pytest.raises(Invalid) as caught:
                await refused
            assert caught.value.hint
        assert before == agent.state()

    run(tmp_path, scenario)


MANIFEST = """
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {seaway.dev/ingress-rate: 50mbit, seaway.dev/ingress-burst: "1234567"}
spec:
  selector: {app: web}
  ports: [{port: 80}]
"""


def test_a_manifest_says_bandwidth_by_annotations_and_is_written_so_again(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.apply(read(MANIFEST))
        made = agent.intents.service("web").service
        assert (50 * MBIT, 1_234_567, 0) == (
            *(made.ingress_rate, made.ingress_burst),
            made.egress_rate,
        )
        annotations = {"ingress-rate": "50mbit", "ingress-burst": "1234567"}
        assert {f"seaway.dev/{name}": text for name, text in annotations.items()} == render(made)[
            "metadata"
        ]["annotations"]

    run(tmp_path, scenario)
