"""What services put into the maps: derived anew only where it may have changed."""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from seaway.bpf import abi
from seaway.desired.indexes import INDEXES
from seaway.desired.network.endpoints import ENDPOINTS, INTERFACES
from seaway.desired.network.shapers import SHAPED, SHAPERS
from seaway.desired.transport.checks import CHECKS
from seaway.desired.transport.node_ports import HEALTH_PORTS
from seaway.desired.transport.services import SERVICES, judged, weights_of
from seaway.facts import Facts, View
from seaway.model.addresses import Address, mapped, unmapped
from seaway.model.facts import Attached, Endpoint, Host, Network, Path, Peer, Shaped, Value
from seaway.model.services import (
    Check,
    Distant,
    EndpointSlice,
    Health,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from seaway.names import link_name
from seaway.records import distant, fact_key

VIP, VIP6 = ip_address("10.223.0.7"), ip_address("fd00::7")


def endpoint(number: int, host: str = "h", **given_: Any) -> Endpoint:
    addresses = (ip_interface(f"10.0.0.{number}/32"), ip_interface(f"fd00::{number:x}/128"))
    given_ = {"labels": {"app": "web"}, "addresses": addresses, "network": "n"} | given_
    return Endpoint(
        id=f"{number:016x}",
        name=f"e{number}",
        container=f"c{number}",
        interface="eth0",
        host=host,
        netns="",
        netns_inode=number,
        mac="02:00:00:00:00:01",
        mtu=1500,
        **given_,
    )


def service(**given_: Any) -> Service:
    given_ = {
        "ports": (ServicePort(port=80, target=8080),),
        "addresses": (VIP,),
        "selector": {"app": "web"},
    } | given_
    return Service(name="web", network="n", **given_)


def facts_of(*facts: Value) -> Facts:
    made = Facts((SERVICES,), INDEXES)
    learn(made, Host(name="h", addresses=(), zone="a"), *facts)
    return made


def learn(made: Facts, *facts: Value) -> None:
    for fact in facts:
        if isinstance(fact, Endpoint) and fact.host != "h":
            made.change(Distant, fact_key(distant(fact)), distant(fact))
        elif isinstance(fact, Path):
            made.change(Path, fact.host, fact)
        elif isinstance(fact, Peer | Host):
            made.change(type(fact), fact.name, fact)
        else:
            made.change(type(fact), fact_key(fact), fact)


def derived(made: Facts) -> dict[Hashable, abi.Frontend | None]:
    found: Any = made.derive().get("services", {})
    return found


def key(address: Address = VIP, port: int = 80, protocol: int = 6) -> abi.PortKey:
    return abi.PortKey(mapped(address), port.to_bytes(2, "big"), protocol)


def places(frontend: abi.Frontend | None, *, kept: bool = False) -> list[str]:
    """Who gets new connections; or who keeps those that it has, and gets none."""
    assert frontend
    each = zip(frontend.backends, weights_of(frontend.backends), strict=True)
    found = [b for b, weight in each if bool(weight) != kept]
    return [f"{unmapped(b.addr)} {int.from_bytes(b.port, 'big')}" for b in found]


PATH = Path(host="p", via="p")
PEER = Peer(name="p", addresses=())


def test_each_port_of_each_address_leads_to_what_is_selected_in_its_family() -> None:
    ports = (
        ServicePort(port=80, target="http", name="http"),
        ServicePort(port=53, target=5353, protocol="udp", name="dns"),
    )
    found = derived(
        facts_of(
            service(addresses=(VIP, VIP6), ports=ports),
            endpoint(1, port_names={"http": 8001}),
            endpoint(2, "p", port_names={"http": 8002}),
            endpoint(3, port_names={"http": 8003}, addresses=(ip_interface("10.0.0.3/32"),)),
            endpoint(4, labels={"app": "db"}, port_names={"http": 1}),
            endpoint(5, network="other", port_names={"http": 1}),
            PEER,
            PATH,
        )
    )

    assert {
        key(VIP, 80): ["10.0.0.1 8001", "10.0.0.2 8002", "10.0.0.3 8003"],
        key(VIP6, 80): ["fd00::1 8001", "fd00::2 8002"],
        key(VIP, 53, 17): ["10.0.0.1 5353", "10.0.0.2 5353", "10.0.0.3 5353"],
        key(VIP6, 53, 17): ["fd00::1 5353", "fd00::2 5353"],
    } == {k: places(v) for k, v in found.items()}


def test_endpoints_of_two_hosts_may_have_one_id() -> None:
    here, there = endpoint(1), replace(endpoint(2, "p"), id=endpoint(1).id)
    third = replace(endpoint(3, "q"), id=here.id, ready=False)
    known = (PEER, PATH, Peer(name="q", addresses=()), Path(host="q", via="q"))
    made = facts_of(service(), here, there, third, *known)
    assert ["10.0.0.1 8080", "10.0.0.2 8080"] == places(derived(made)[key()])
    found = {one.candidate.host: one.lost for one in judged(service(), View(made))}
    assert {"h": "", "p": "", "q": "it is not ready"} == found
    made.change(Distant, fact_key(distant(there)), None)
    assert ["10.0.0.1 8080"] == places(derived(made)[key()])


def test_all_labels_of_a_selector_are_asked_for() -> None:
    found = facts_of(
        service(selector={"app": "web", "tier": "front"}),
        endpoint(1, labels={"app": "web", "tier": "front", "more": "x"}),
        endpoint(2, labels={"app": "web"}),
        endpoint(3, labels={"app": "web", "tier": "back"}),
        endpoint(4, labels={"tier": "front"}),
    )
    assert ["10.0.0.1 8080"] == places(derived(found)[key()])


def test_weights_add_up_and_say_whether_all_are_the_same() -> None:
    even = derived(facts_of(service(), endpoint(1, weight=5), endpoint(2, weight=5)))[key()]
    odd = derived(
        facts_of(
            service(algorithm="least-connections", affinity=60),
            *(endpoint(n, weight=n) for n in range(1, 4)),
            endpoint(4, weight=0),
        )
    )[key()]

    assert even
    assert odd
    assert abi.Service(2, 10, 0, abi.SERVICE_RANDOM, abi.SERVICE_EVEN) == even.service
    assert abi.Service(4, 6, 60, abi.SERVICE_LEAST, 0) == odd.service
    assert [1, 3, 6, 6] == [b.upto for b in odd.backends]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((service(),), 0),
        ((service(internal_policy="Local"),), 0),
        ((service(internal_policy="Local"), endpoint(1, ready=False)), 0),
        ((service(internal_policy="Local"), endpoint(1, "p"), PEER, PATH), abi.SERVICE_SILENT),
    ],
)
def test_without_a_backend_it_refuses_and_with_one_elsewhere_alone_it_is_silent(
    facts: tuple[Value, ...], expected: int
) -> None:
    found = derived(facts_of(*facts))[key()]
    assert found
    assert (0, expected) == (found.service.weight, found.service.flags)
    assert [] == places(found)


def test_who_gets_no_new_connections_keeps_those_that_it_has_but_for_who_ends() -> None:
    """Others are nearer, it is not ready, weighs nothing, or no path leads there: it is there."""
    nearest = service(distribution="PreferSameNode")
    far, unready, light = endpoint(2, "p"), endpoint(3, ready=False), endpoint(4, weight=0)
    ending, alone = endpoint(5, terminating=True), endpoint(6, "q")
    made = facts_of(nearest, endpoint(1), far, unready, light, ending, alone, PEER, PATH)
    found = derived(made)[key()]
    assert ["10.0.0.1 8080"] == places(found)
    assert [f"10.0.0.{n} 8080" for n in (2, 3, 4, 6)] == places(found, kept=True)

    made = facts_of(service(internal_policy="Local"), endpoint(1), far, PEER, PATH)
    assert [] == places(derived(made)[key()], kept=True)


def test_slices_name_backends_and_one_that_is_named_twice_is_one() -> None:
    def slice_(name: str, *addresses: str) -> EndpointSlice:
        made = (SliceEndpoint(addresses=(ip_address(a),), host="p") for a in addresses)
        ports = (SlicePort(port=9000),)
        return EndpointSlice(
            name=name, network="n", service="web", family=4, ports=ports, endpoints=tuple(made)
        )

    by_slices = service(selector={})
    found = facts_of(
        by_slices, slice_("a", "192.0.2.1", "192.0.2.2"), slice_("b", "192.0.2.2"), endpoint(1)
    )
    assert ["192.0.2.1 9000", "192.0.2.2 9000"] == places(derived(found)[key()])

    learn(found, service())  # which has a selector
    assert ["10.0.0.1 8080"] == places(derived(found)[key()])


def test_a_headless_service_asks_for_nothing() -> None:
    assert {} == derived(facts_of(service(addresses=(), headless=True), endpoint(1)))


def test_a_changed_endpoint_is_news_only_to_services_that_select_it() -> None:
    def other(number: int) -> Service:
        return replace(
            service(selector={"app": f"a{number}", "env": "all"}),
            name=f"s{number}",
            addresses=(VIP + number,),
        )

    one, two = (endpoint(n, labels={"app": f"a{n}", "env": "all"}) for n in (1, 2))
    found = facts_of(other(1), other(2), one, two, endpoint(3, "p"), PEER, PATH)
    derived(found)

    learn(found, replace(one, weight=7))
    assert {key(VIP + 1)} == derived(found).keys()
    learn(found, replace(two, mac="02:00:00:00:00:07", boot="later"))
    assert {} == derived(found)


def test_another_way_to_a_host_is_no_news_and_its_end_is() -> None:
    found = facts_of(service(), endpoint(1), endpoint(2, "p"), PEER, PATH)
    both = ["10.0.0.1 8080", "10.0.0.2 8080"]
    assert both == places(derived(found)[key()])

    learn(found, Path(host="p", via="q", backup="r"))
    assert {} == derived(found)
    found.change(Path, "p", None)
    assert ["10.0.0.1 8080"] == places(derived(found)[key()])
    learn(found, PATH)
    assert both == places(derived(found)[key()])


small = st.integers(1, 3)
labels = st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from(("a", "b")), max_size=2)
endpoints = st.builds(
    endpoint,
    small,
    st.sampled_from(("h", "p1", "p2")),
    labels=labels,
    network=st.sampled_from(("n", "m")),
    weight=st.integers(0, 2),
    ready=st.booleans(),
    terminating=st.booleans(),
    port_names=st.dictionaries(st.just("http"), small, max_size=1),
    ingress_rate=st.sampled_from((0, 0, 1_000_000)),
)
rates = st.sampled_from((0, 0, 800_000, 2_000_000))
services = st.builds(
    lambda number, **given_: replace(
        service(**given_), name=f"s{number}", addresses=(VIP + number, VIP6 + number)
    ),
    small,
    selector=labels,
    ports=st.builds(
        lambda port, target, node: (ServicePort(port=port, target=target, node_port=node),),
        small,
        st.one_of(small, st.just("http")),
        st.integers(0, 2),
    ),
    internal_policy=st.sampled_from(("Cluster", "Local")),
    external_policy=st.sampled_from(("Cluster", "Local")),
    health_port=st.sampled_from((0, 9)),
    distribution=st.sampled_from(("", "PreferSameZone", "PreferSameNode")),
    publish_not_ready=st.booleans(),
    check=st.sampled_from((Check(), Check(by="tcp"), Check(by="tcp", port="http"))),
    ingress_rate=rates,
    egress_rate=rates,
    egress_burst=st.sampled_from((0, 20_000)),
)
healths = st.builds(
    lambda number, host, network, services: Health(
        host=host,
        endpoint=f"{number:016x}",
        network=network,
        failing={f"s{of}": "connection refused" for of in services},
    ),
    small,
    st.sampled_from(("h", "p1", "p2")),
    st.sampled_from(("n", "m")),
    st.sets(small, min_size=1),
)
slices = st.builds(
    lambda number, of, hosts: EndpointSlice(
        name=f"x{number}",
        network="n",
        service=f"s{of}",
        family=4,
        ports=(SlicePort(port=80),),
        endpoints=tuple(
            SliceEndpoint(addresses=(ip_address(f"10.0.0.{i}"),), host=host)
            for i, host in enumerate(hosts)
        ),
    ),
    small,
    small,
    st.lists(st.sampled_from(("", "h", "p1")), max_size=3),
)
peers = st.builds(
    lambda number, zone, draining: Peer(
        name=f"p{number}", addresses=(), zone=zone, draining=draining
    ),
    small,
    st.sampled_from(("", "a", "b")),
    st.booleans(),
)
paths = st.builds(lambda number, via: Path(host=f"p{number}", via=f"p{via}"), small, small)
shaped = st.builds(
    lambda number, into: Shaped(link=link_name(f"{number:016x}"), into=into, out=into + 10),
    small,
    st.integers(20, 22),
)
here = st.builds(
    lambda zone, draining: Host(name="h", addresses=(), zone=zone, draining=draining),
    st.sampled_from(("", "a")),
    st.booleans(),
)


def kind_and_key(fact: Any) -> tuple[type, Hashable]:
    match fact:
        case Path(host=name) | Peer(name=name) | Host(name=name):
            return type(fact), name
        case Shaped(link=link):
            return Shaped, link
    return type(fact), fact_key(fact)


def as_known(fact: Any) -> Any:
    return distant(fact) if isinstance(fact, Endpoint) and fact.host != "h" else fact


changes = st.one_of(
    *(endpoints, endpoints, services, services, slices, healths, shaped, peers, paths, here)
).map(as_known)
events = st.lists(st.tuples(changes, st.sampled_from((True, True, False))), max_size=40)


def attached() -> Facts:
    """With the links of all endpoints that there may be."""
    made = Facts((SERVICES, CHECKS, HEALTH_PORTS, ENDPOINTS, INTERFACES, SHAPERS, SHAPED), INDEXES)
    for name in ("n", "m"):
        made.change(Network, name, Network(name=name, number=1, subnets=()))
    for number in range(1, 4):
        there = Attached(endpoint=f"{number:016x}", ifindex=number)
        made.change(Attached, there.endpoint, there)
    return made


def merge(held: dict[Hashable, object], found: Facts) -> None:
    for derivation, objects in found.derive().items():
        held |= {(derivation, key): wanted for key, wanted in objects.items()}
    for gone in [k for k, v in held.items() if v is None]:
        del held[gone]


@given(events, st.data())
def test_deriving_what_changed_equals_deriving_all_from_nothing(
    events: list[tuple[Any, bool]], data: st.DataObject
) -> None:
    found, fresh = (attached() for _ in range(2))
    held: dict[Hashable, object] = {}
    last: dict[tuple[type, Hashable], Any] = {}
    for fact, learnt in events:
        kind, name = kind_and_key(fact)
        last[kind, name] = fact if learnt else None
        found.change(kind, name, last[kind, name])
        if data.draw(st.booleans()):  # events may also be squashed
            merge(held, found)
    merge(held, found)

    expected: dict[Hashable, object] = {}
    for (kind, name), fact in data.draw(st.permutations(list(last.items()))):
        fresh.change(kind, name, fact)
    merge(expected, fresh)
    assert expected == held

    for kind, name in data.draw(st.permutations(list(last))):
        found.change(kind, name, None)
        if data.draw(st.booleans()):
            merge(held, found)
    merge(held, found)
    assert {} == held
    assert {} == found._asking
