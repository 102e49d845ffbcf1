"""Published ports of services: how they are asked for, who is refused, and what follows."""

from __future__ import annotations

import errno
from collections.abc import Hashable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.agents import Agent, run
from tests.unit.test_publishing import WAYS, asked, mapped
from tests.unit.test_services import (
    PATH,
    PEER,
    VIP,
    VIP6,
    derived,
    endpoint,
    facts_of,
    key,
    learn,
    places,
    service,
)

from seaway import node_ports
from seaway.bpf import abi
from seaway.desired.indexes import INDEXES
from seaway.desired.network.endpoints import ENDPOINTS
from seaway.desired.network.firewalls import ACCEPTS
from seaway.desired.network.networks import TABLE
from seaway.desired.network.ports import RESERVED, seen_reserved, shared, unnoted
from seaway.desired.transport.maglev import table
from seaway.desired.transport.node_ports import BEHIND, HEALTH_PORTS
from seaway.draining import Lingering
from seaway.errors import Conflict, Exhausted, Invalid, SeawayError
from seaway.facts import Facts
from seaway.model.addresses import UNSPECIFIED
from seaway.model.facts import (
    Attached,
    Barrier,
    Before,
    Cluster,
    Endpoint,
    Firewalls,
    Host,
    Network,
)
from seaway.model.kernel import Reserved
from seaway.model.node_ports import ANY_PORT, FIRST, LAST, HealthPort, published, records_of
from seaway.model.ports import parse_ports
from seaway.model.publications import HeldPort
from seaway.model.requests import NewService, Objects, Refs, ServiceChange
from seaway.model.services import (
    Distant,
    EndpointSlice,
    NodePort,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from seaway.records import distant
from waiting import until

WEB = ServicePort(port=80, target=8080, name="http", node_port=30080)
DNS = ServicePort(port=53, target=5353, protocol="udp", name="dns")


# How they are asked for


def ports(*texts: str) -> list[int]:
    return [port.node_port for port in published((WEB, DNS), texts)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["8080:80"], [8080, 0]),
        (["http", "53:dns/udp"], [ANY_PORT, 53]),
        (["80/tcp"], [ANY_PORT, 0]),
        (["1:http", "65535:53"], [1, 65535]),
        (["none"], [0, 0]),
        ([], [0, 0]),
    ],
)
def test_ports_are_published_by_number_or_name(texts: list[str], expected: list[int]) -> None:
    assert expected == ports(*texts)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0:80", "port 0 is out of range"),
        ("65536:80", "port 65536 is out of range"),
        ("8080:81", "has no port '81' to be published (it has 80/tcp, 53/udp)"),
        ("8080:80/udp", "has no port '80/udp' to be published"),
        ("8080:", "'8080:' publishes no port of a service (expected [PUBLISHED:]PORT"),
        ("192.0.2.1:80:80", "publishes no port of a service"),
        ("-1:80", "publishes no port of a service"),
        ("none", "has no port 'none' to be published"),
    ],
)
def test_what_publishes_nothing_is_told(text: str, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        ports("53", text)
    assert told in str(caught.value)


def test_a_port_is_published_once() -> None:
    with pytest.raises(Invalid, match="port '80' of a service is published twice"):
        ports("http", "80")
    both = (ServicePort(port=53, target=1), replace(DNS, name="u"))
    with pytest.raises(Invalid, match=r"'53' means several ports of the service \(say which: 53/t"):
        published(both, ["53"])


# What is derived


def node_key(family: int, port: int = 30080, protocol: int = 6) -> abi.PortKey:
    return key(UNSPECIFIED[family], port, protocol)


def exposed(**given_: Any) -> Service:
    return service(**{"ports": (WEB, DNS), "addresses": (VIP, VIP6)} | given_)


def test_a_published_port_leads_to_backends_from_every_address_of_each_family() -> None:
    found = derived(facts_of(exposed(), endpoint(1), endpoint(2, "p"), PEER, PATH))
    assert 6 == len(found)
    assert ["10.0.0.1 8080", "10.0.0.2 8080"] == places(found[node_key(4)])
    assert ["fd00::1 8080", "fd00::2 8080"] == places(found[node_key(6)])
    told = found[node_key(4)]
    assert told
    assert abi.Service(2, 2, 0, abi.SERVICE_MAGLEV, abi.SERVICE_EVEN) == told.service
    assert table(told.backends) == told.table != b""
    vip = found[key(VIP)]
    assert vip
    assert (abi.SERVICE_RANDOM, b"") == (vip.service.algorithm, vip.table)


def test_a_service_of_one_family_is_published_in_that() -> None:
    found = derived(facts_of(exposed(addresses=(VIP6,)), endpoint(1)))
    assert {key(VIP6), key(VIP6, 53, 17), node_key(6)} == found.keys()


@pytest.mark.parametrize(
    ("algorithm", "of_vip", "of_host"),
    [
        ("random", abi.SERVICE_RANDOM, abi.SERVICE_MAGLEV),
        ("maglev", abi.SERVICE_RANDOM, abi.SERVICE_MAGLEV),
        ("round-robin", abi.SERVICE_ROUND_ROBIN, abi.SERVICE_ROUND_ROBIN),
        ("least-connections", abi.SERVICE_LEAST, abi.SERVICE_LEAST),
    ],
)
def test_packets_are_spread_by_maglev_unless_the_service_says_how(
    algorithm: Any, of_vip: int, of_host: int
) -> None:
    found = derived(facts_of(exposed(algorithm=algorithm), endpoint(1)))
    told = {k: (v.service.algorithm, v.table != b"") for k, v in found.items() if v}
    assert (of_vip, False) == told[key(VIP)]
    assert (of_host, of_host == abi.SERVICE_MAGLEV) == told[node_key(4)]


HERE, GOING = endpoint(1), endpoint(1, terminating=True)
DEAD = endpoint(1, ready=False)
THERE = endpoint(2, "p")
# By policy inside and outside: whom the VIP and the published port lead to; None: silence.
POLICIES: list[tuple[str, str, list[Endpoint], list[int] | None, list[int] | None]] = [
    ("Cluster", "Cluster", [HERE, THERE], [1, 2], [1, 2]),
    ("Cluster", "Local", [HERE, THERE], [1, 2], [1]),
    ("Local", "Cluster", [HERE, THERE], [1], [1, 2]),
    ("Local", "Local", [HERE, THERE], [1], [1]),
    ("Cluster", "Local", [THERE], [2], None),
    ("Local", "Cluster", [THERE], None, [2]),
    ("Cluster", "Local", [], [], []),
    ("Cluster", "Local", [GOING, THERE], [2], [1]),
    ("Cluster", "Cluster", [GOING, THERE], [2], [2]),
    ("Cluster", "Local", [DEAD, THERE], [2], None),
]


@pytest.mark.parametrize(("inside", "outside", "there", "vip", "host"), POLICIES)
def test_who_asks_from_outside_is_led_by_the_external_policy(
    inside: Any,
    outside: Any,
    there: list[Endpoint],
    vip: list[int] | None,
    host: list[int] | None,
) -> None:
    of = exposed(internal_policy=inside, external_policy=outside)
    found = derived(facts_of(of, PEER, PATH, *there))
    for place, expected in ((key(VIP), vip), (node_key(4), host)):
        told = found[place]
        assert told
        assert [f"10.0.0.{n} 8080" for n in expected or ()] == places(told)
        silent = bool(told.service.flags & abi.SERVICE_SILENT)
        assert (expected is None) == silent


def test_local_looks_at_no_zone_and_a_host_without_a_backend_of_its_own_has_none() -> None:
    near = exposed(external_policy="Local", distribution="PreferSameZone")
    found = derived(facts_of(near, endpoint(1), endpoint(3), THERE, PEER, PATH))
    assert ["10.0.0.1 8080", "10.0.0.3 8080"] == places(found[node_key(4)])


NET = Network(name="n", number=1, subnets=())


def flags(made: Facts) -> dict[Hashable, bool]:
    found = made.derive().get("endpoints", {})
    return {
        str(k): bool(record.flags & abi.ENDPOINT_PUBLISHED)
        for k, record in found.items()
        if isinstance(record, abi.Endpoint)
    }


def of_endpoints(*facts: Any) -> Facts:
    made = Facts((ENDPOINTS,), INDEXES)
    learn(made, Host(name="h", addresses=()), NET, *facts)
    for number in range(1, 5):
        attached = Attached(endpoint=f"{number:016x}", ifindex=number)
        made.change(Attached, attached.endpoint, attached)
    return made


def test_endpoints_behind_a_published_port_are_known_by_a_flag_and_no_others_are_stale() -> None:
    two = {"app": "web", "tier": "a"}
    made = of_endpoints(
        *(endpoint(n, labels=two if n == 1 else {"app": "web"}) for n in (1, 2)),
        endpoint(3, labels={"app": "db"}),
    )
    assert {False} == set(flags(made).values())

    learn(made, service(selector=two))
    assert {} == flags(made)
    of = exposed(selector=two)
    learn(made, of)
    assert {"10.0.0.1": True, "fd00::1": True, "10.0.0.2": False, "fd00::2": False} == flags(made)
    learn(made, replace(of, affinity=7, drain=1.0))
    assert {} == flags(made)
    learn(made, endpoint(2, labels=two))
    assert {"10.0.0.2": True, "fd00::2": True} == flags(made)
    made.change(Service, "n/web", None)
    assert {"10.0.0.1": False, "fd00::1": False, "10.0.0.2": False, "fd00::2": False} == flags(made)


def test_endpoints_answer_for_a_port_that_is_gone_as_long_as_connections_may_go_on() -> None:
    now, made = 0.0, of_endpoints(endpoint(1), endpoint(2, labels={"app": "db"}))
    lingering = Lingering(made, lambda: now)
    made.tell(Service, lingering.changed)
    of = exposed(drain=30.0)
    learn(made, of)
    assert ["10.0.0.1", "fd00::1"] == [k for k, v in sorted(flags(made).items()) if v]
    learn(made, replace(of, affinity=7))
    assert lingering.due is None

    made.change(Service, "n/web", None)
    assert not [k for k, v in flags(made).items() if not v]
    assert 30.0 == lingering.due
    now = 10.0
    learn(made, replace(of, selector={"app": "db"}))
    assert ["10.0.0.2", "fd00::2"] == sorted(k for k, v in flags(made).items() if v)
    learn(made, replace(of, selector={"app": "db"}, ports=(replace(WEB, node_port=0),)))
    assert not lingering.end()
    assert (20.0, {}) == (lingering.due, {k: v for k, v in flags(made).items() if not v})
    now = 30.0
    assert lingering.end()
    assert {"10.0.0.1": False, "fd00::1": False} == flags(made)
    now = 40.0
    assert lingering.end()
    assert {"10.0.0.2": False, "fd00::2": False} == flags(made)
    assert lingering.due is None


def slice_(*addresses: str) -> EndpointSlice:
    return EndpointSlice(
        name="s",
        network="n",
        service="web",
        family=4,
        ports=(SlicePort(port=80, name="http"),),
        endpoints=tuple(SliceEndpoint(addresses=(ip_address(a),)) for a in addresses),
    )


def test_endpoints_that_a_slice_names_are_known_by_it_too() -> None:
    made = of_endpoints(endpoint(1), endpoint(2), slice_("10.0.0.1"), service(selector={}))
    assert {False} == set(flags(made).values())
    learn(made, exposed(selector={}))
    assert {"10.0.0.1", "fd00::1"} == {k for k, v in flags(made).items() if v}
    learn(made, slice_("10.0.0.2", "192.0.2.1"))
    assert {"10.0.0.2", "fd00::2"} == {k for k, v in flags(made).items() if v}


@pytest.mark.parametrize("first", ["service", "slice", "one of it"])
def test_endpoints_that_a_slice_named_answer_as_long_as_connections_may_go_on(first: str) -> None:
    now, made = 0.0, of_endpoints(endpoint(1), endpoint(2))
    lingering = Lingering(made, lambda: now)
    made.tell(Service, lingering.changed)
    made.tell(EndpointSlice, lingering.slice_changed)
    learn(made, exposed(selector={}), slice_("10.0.0.1", "10.0.0.2"))
    assert 4 == sum(flags(made).values())
    if first == "one of it":
        learn(made, slice_("10.0.0.2"))
    else:
        gone = {"service": (Service, "n/web"), "slice": (EndpointSlice, "n/s")}
        for kind, key_ in sorted(gone.values(), key=lambda g: g != gone[first]):
            made.change(kind, key_, None)
    assert False not in flags(made).values()
    now = 30.0
    assert lingering.end()
    ended = {"10.0.0.1", "fd00::1"} | ({"10.0.0.2", "fd00::2"} if first != "one of it" else set())
    assert ended == {k for k, v in flags(made).items() if not v}


def test_endpoints_answer_for_a_port_whose_slice_became_another_services() -> None:
    now, made = 0.0, of_endpoints(endpoint(1))
    lingering = Lingering(made, lambda: now)
    made.tell(EndpointSlice, lingering.slice_changed)
    learn(made, exposed(selector={}, drain=30.0), slice_("10.0.0.1"))
    assert {"10.0.0.1": True, "fd00::1": True} == flags(made)
    learn(made, replace(slice_("10.0.0.1"), service="hidden"))
    assert False not in flags(made).values()
    assert 30.0 == lingering.due
    now = 30.0
    assert lingering.end()
    assert {"10.0.0.1": False, "fd00::1": False} == flags(made)


def behind(made: Facts) -> dict[str, set[str]]:
    """Ports by addresses, of those that are stale."""
    found: dict[Any, Any] = made.derive().get("behind", {})
    return {
        str(address): {f"{int.from_bytes(p.port, 'big')}/{p.protocol}" for p in ports or ()}
        for address, ports in found.items()
    }


def test_ports_that_other_hosts_may_ask_are_those_that_published_ones_lead_to() -> None:
    """Of this host's endpoints, in the families of the service, chosen or not."""
    made = Facts((BEHIND,), INDEXES)
    named = ServicePort(name="more", port=81, target="more", node_port=30081)
    hidden = ServicePort(name="hidden", port=82, target=9000)
    dns = replace(DNS, node_port=30053)
    of = exposed(ports=(WEB, dns, named, hidden), addresses=(VIP,))
    learn(made, of, endpoint(1), endpoint(2, ready=False, port_names={"more": 7}), THERE)
    learn(made, endpoint(3, labels={"app": "db"}))
    two = {"8080/6", "5353/17"}
    assert {
        "10.0.0.1": two,
        "10.0.0.2": {*two, "7/6"},
        "10.0.0.3": set(),
        **{f"fd00::{n}": set() for n in (1, 2, 3)},
    } == behind(made)

    learn(made, replace(of, affinity=7))
    assert {} == behind(made)
    learn(made, replace(of, ports=(WEB,)))
    assert {"8080/6"} == behind(made)["10.0.0.2"]
    made.change(Service, "n/web", None)
    assert set() == behind(made)["10.0.0.1"]


def test_ports_that_slices_name_may_be_asked_too() -> None:
    made = Facts((BEHIND,), INDEXES)
    learn(made, exposed(selector={}), endpoint(1), endpoint(2), slice_("10.0.0.2", "10.0.0.9"))
    found = behind(made)
    assert {"10.0.0.2": {"80/6"}} == {address: ports for address, ports in found.items() if ports}


def healths(made: Facts) -> dict[Hashable, object]:
    return dict(made.derive().get("health_ports", {}))


def test_a_host_tells_how_many_backends_of_its_own_are_ready() -> None:
    made = Facts((HEALTH_PORTS,), INDEXES)
    of = exposed(external_policy="Local", health_port=30090)
    learn(made, Host(name="h", addresses=()), of, endpoint(1), endpoint(2), THERE)
    learn(made, endpoint(3), endpoint(4, weight=0), endpoint(5, labels={"app": "db"}))
    made.change(Endpoint, f"{2:016x}", endpoint(2, ready=False, terminating=True))
    assert {30090: HealthPort("n", "web", 2)} == healths(made)
    learn(made, endpoint(3, ready=False))
    assert {30090: HealthPort("n", "web", 1)} == healths(made)
    learn(made, Host(name="h", addresses=(), draining=True))
    assert {30090: HealthPort("n", "web", 0)} == healths(made)
    learn(made, Host(name="h", addresses=(), draining=True), endpoint(2, "p"))
    assert {} == healths(made)
    made.change(Service, "n/web", None)
    assert {30090: None} == healths(made)


def test_what_load_balancers_ask_is_let_through_a_firewall_that_refuses() -> None:
    made = Facts((ACCEPTS,), INDEXES)
    cluster = Cluster(id="c", pools=(), service_subnets=(), host_subnets=())
    barrier = Barrier(program="iptables-nft", chain="INPUT")
    made.change(Firewalls, "host", Firewalls(barriers=frozenset((barrier,))))
    learn(made, cluster, exposed(external_policy="Local", health_port=30090))
    (accept,) = made.derive()["accepts"].values()
    assert "-p tcp -m tcp --dport 30090" in accept.rules  # type: ignore[union-attr]


# Nothing leaves from them


def test_a_published_port_is_nobodys_source_and_is_given_back_by_a_host_that_was_off() -> None:
    made = Facts((RESERVED,), INDEXES)
    before, kernel = Before(host="h", sysctls={}, reserved="22"), frozenset((22,))
    taken = records_of(exposed(external_policy="Local", health_port=30090))
    learn(made, before, *taken)
    assert unnoted(made, before)
    assert {"reserved": {"ports": None}} == made.derive()

    noted = seen_reserved(before, kernel, frozenset(), shared(made))
    assert ("22", "30080,30090") == (noted.reserved, noted.left)
    assert not unnoted(made, noted)
    learn(made, noted)
    assert {"reserved": {"ports": Reserved("30080,30090", "")}} == made.derive()
    there = kernel | parse_ports("30080,30090")
    assert noted == seen_reserved(noted, there, frozenset(), shared(made))

    for record in taken:  # by another host
        made.change(NodePort, f"{record.port}-{record.protocol}", None)
    assert {"reserved": {"ports": Reserved("", "30080,30090")}} == made.derive()
    left = seen_reserved(noted, there, frozenset(), shared(made))
    assert noted == left
    gone = seen_reserved(left, kernel, frozenset(), shared(made))
    assert ("22", "") == (gone.reserved, gone.left)


def test_a_port_that_others_keep_free_stays_theirs() -> None:
    made, before = Facts((RESERVED,), INDEXES), Before(host="h", sysctls={})
    learn(made, *records_of(exposed()))
    seen = seen_reserved(before, frozenset((30080,)), frozenset(), shared(made))
    assert ("30080", "") == (seen.reserved, seen.left)
    assert not unnoted(made, seen)


# Whose they are


def new(name: str = "web", **given_: Any) -> NewService:
    return NewService(name=name, **{"ports": (WEB, DNS), "selector": {"app": "web"}} | given_)


def one(number: int, **given_: Any) -> ServicePort:
    return ServicePort(**{"port": 80, "target": 80, "node_port": number} | given_)


def recorded(agent: Agent) -> dict[str, str]:
    found = agent.intents.facts.all(NodePort)
    return {f"{p.port}/{p.protocol}": f"{p.network}/{p.service}" for p in found}


def test_a_port_is_recorded_with_its_service_and_free_after_it(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new(external_policy="Local", health_port=30090))
        assert {"30080/tcp": "default/web", "30090/tcp": "default/web"} == recorded(agent)
        assert "nodeports/30080-tcp" in (await agent.store.load()).items
        reached = {k for k in agent.kernel["services"].read() if k.addr in map(mapped_, (4, 6))}
        assert 2 == len(reached)
        assert [30090] == list(agent.kernel["health_ports"].read())

        change = ServiceChange(ports=(one(8080),), external_policy="Cluster", health_port=0)
        await agent.intents.update_service("web", change)
        assert {"8080/tcp": "default/web"} == recorded(agent)
        assert {} == agent.kernel["health_ports"].read()
        table_ = agent.kernel[TABLE[0]].read()[TABLE[1]]
        assert not any(first <= 8080 <= last for first, last in table_.ports)
        await agent.intents.remove_service("web")
        assert {} == recorded(agent)

    run(tmp_path, scenario)


def mapped_(family: int) -> bytes:
    return node_key(family).addr


def test_a_port_that_is_left_out_is_chosen_and_kept(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        both = (one(ANY_PORT, name="a"), replace(DNS, node_port=ANY_PORT))
        first = (await agent.intents.create_service(new(ports=both))).service
        numbers = [port.node_port for port in first.ports]
        assert all(FIRST <= number <= LAST for number in numbers)
        applied = await agent.intents.apply(Objects(services=(new(ports=both),)))
        assert ["unchanged"] == [outcome.did for outcome in applied]
        await agent.intents.apply(Objects(services=(new(ports=both, affinity=5),)))
        assert first.ports == agent.intents.service("web").service.ports
        await agent.intents.update_service("web", ServiceChange(ports=(both[1], both[0])))
        again = agent.intents.service("web").service.ports
        assert numbers[::-1] == [port.node_port for port in again]

    run(tmp_path, scenario)


def test_two_services_of_one_file_get_different_ones_and_take_none_twice(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        many = tuple(new(f"s{n}", ports=(one(ANY_PORT),)) for n in range(60))
        await agent.intents.apply(Objects(services=many))
        assert 60 == len(recorded(agent))
        before = (await agent.store.load()).items
        twice = (new("a", ports=(one(8080),)), new("b", ports=(one(8080),)))
        told = "port 8080/tcp is taken by service 'a' of network 'default', which asks for it too"
        with pytest.raises(Conflict, match=told):
            await agent.intents.apply(Objects(services=twice))
        assert before == (await agent.store.load()).items
        gone = Refs(services=tuple(f"default/s{n}" for n in range(60)))
        await agent.intents.remove_objects(gone)
        assert {} == recorded(agent)

    run(tmp_path, scenario)


NGINX = HeldPort("tcp", ip_address("0.0.0.0"), 8088, "nginx (process 12)")
OWN = "is taken by Seaway itself, for"
BAD: list[tuple[dict[str, Any], type[SeawayError], str]] = [
    ({"ports": (one(65536),)}, Invalid, "port 65536 is out of range, and no host has it"),
    ({"ports": (one(-2),)}, Invalid, "port -2 is out of range"),
    ({"ports": (one(30080),)}, Conflict, "port 30080/tcp is taken by service 'first' of network"),
    ({"ports": (one(30090),)}, Conflict, "port 30090/tcp is taken by service 'first' of network"),
    ({"ports": (one(7000),)}, Conflict, "taken by endpoint 'pub' of network 'default', and servic"),
    ({"ports": (one(7100),)}, Conflict, "by endpoint 'far' of network 'default' on host 'p', and"),
    ({"ports": (one(8088),)}, Conflict, r"port 8088/tcp is taken by nginx \(process 12\), and"),
    ({"ports": (one(8480),)}, Conflict, f"port 8480/tcp {OWN} the agents of hosts"),
    ({"ports": (one(8481, protocol="udp"),)}, Conflict, f"port 8481/udp {OWN} routed"),
    ({"ports": (one(8479, protocol="udp"),)}, Conflict, f"port 8479/udp {OWN} the overlay"),
    (
        {"ports": (one(81, name="a"), one(81, name="b", port=81))},
        Invalid,
        "port 81/tcp is asked for twice by service 'web'",
    ),
    (
        {"ports": tuple(one(p, port=p, name=f"p{p}") for p in range(1, 52))},
        Invalid,
        "at most 50 published ports",
    ),
    ({"ports": (one(81),), "headless": True}, Invalid, "is headless: no port of a host leads to"),
    (
        {"ports": (one(81),), "external_name": "db.example.org", "selector": {}},
        Invalid,
        "is another name of db.example.org: no port of a host leads to it",
    ),
    ({"ports": (DNS,), "external_policy": "Local"}, Invalid, "has an external policy, which is"),
    ({"ports": (DNS,), "algorithm": "maglev"}, Invalid, "has algorithm maglev, which is one of pu"),
    ({"ports": (one(81),), "health_port": 82}, Invalid, "not the external policy Local"),
    (
        {"ports": (one(81),), "external_policy": "Local", "health_port": 81},
        Invalid,
        "port 81/tcp is asked for twice",
    ),
    (
        {"ports": (one(81),), "external_policy": "Local", "health_port": 65536},
        Invalid,
        "port 65536 is out of range",
    ),
    (
        {"ports": (one(81),), "external_policy": "Local", "health_port": 7000},
        Conflict,
        "taken by endpoint 'pub'",
    ),
]


@pytest.mark.parametrize(("request_", "kind", "words"), BAD, ids=lambda v: str(v)[:40])
def test_a_port_that_cannot_be_had_is_refused_by_its_owners_name_and_changes_nothing(
    tmp_path: Path, request_: dict[str, Any], kind: type[SeawayError], words: str
) -> None:
    async def scenario(agent: Agent) -> None:
        agent.host.held = [NGINX]
        await agent.attach("pub", ports=mapped("7000:80"))
        far = replace(endpoint(9, "p"), name="far", network="default", ports=mapped("7100:80"))
        agent.intents.facts.change(Distant, far.id, distant(far))
        await agent.intents.create_service(new("first", external_policy="Local", health_port=30090))
        await agent.intents.create_service(new("second", ports=(one(30081),)))
        before = agent.state(), (await agent.store.load()).items
        with pytest.raises(kind, match=words) as caught:
            await agent.intents.create_service(new(**request_))
        assert "\n" not in str(caught.value)
        assert caught.value.hint
        change = {k: v for k, v in request_.items() if k not in ("headless", "external_name")}
        if change == request_:
            with pytest.raises(kind):
                await agent.intents.update_service("second", ServiceChange(**change))
        assert before == (agent.state(), (await agent.store.load()).items)

    run(tmp_path, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_an_endpoint_is_not_published_where_a_service_is(tmp_path: Path, way: str) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new(external_policy="Local", health_port=30090))
        if way == "publish":
            await agent.attach("one")
        before = agent.state(), (await agent.store.load()).items
        for text in ("30080:80", "127.0.0.1:30080:80", "[::1]:30080:80", "30090:80"):
            told = f"port {text[-8:-3]}/tcp.* is taken by service 'web' of network 'default'"
            with pytest.raises(Conflict, match=told):
                await WAYS[way](agent, "one", text)
        assert before == (agent.state(), (await agent.store.load()).items)
        await WAYS[way](agent, "one", "30080:80/udp")

    run(tmp_path, scenario)


def test_families_that_a_service_has_not_are_others(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("pub", ports=mapped("0.0.0.0:30080:80"))
        six = new(families=(6,), ports=(WEB,))
        await agent.intents.create_service(six)
        with pytest.raises(Conflict, match="taken by endpoint 'pub'"):
            await agent.intents.create_service(new("b", families=(4,), ports=(WEB,)))
        with pytest.raises(Conflict, match="taken by service 'web'"):
            await agent.intents.publish("pub", asked("[::]:30080:80"))

    run(tmp_path, scenario)


def test_a_port_that_an_endpoint_has_all_the_same_is_told(tmp_path: Path) -> None:
    """Of two hosts that decided at once neither knew of the other."""

    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new())
        had = await agent.attach("pub", labels={"app": "web"})
        await agent.intents.records.commit([replace(had, ports=mapped("30080:80"))])
        (report,) = agent.intents.services()
        owner = "endpoint 'pub' of network 'default'"
        assert (f"port 30080/tcp of this host is taken by {owner} too",) == report.warnings

    run(tmp_path, scenario)


def test_a_host_without_a_backend_of_its_own_says_so(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        told = "its external policy is Local, and no backend of this host is ready"
        made = await agent.intents.create_service(new(external_policy="Local"))
        assert told in made.warnings
        await agent.attach("one", labels={"app": "web"})
        assert () == agent.intents.service("web").warnings
        (report,) = agent.intents.services()
        assert () == report.warnings

    run(tmp_path, scenario)


def test_a_health_port_that_cannot_be_had_is_told_and_tried_again(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        taken = OSError(errno.EADDRINUSE, "Address already in use")
        agent.kernel["health_ports"].refuses[30090] = taken
        made = await agent.intents.create_service(new(external_policy="Local", health_port=30090))
        told = "this host does not answer at its health port 30090: Address already in use"
        assert told in made.warnings
        agent.kernel["health_ports"].refuses.clear()
        agent.intents.convergence.retry()
        await until(lambda: told not in agent.intents.service("web").warnings)
        assert [30090] == list(agent.kernel["health_ports"].read())

    run(tmp_path, scenario)


CLUSTER = Cluster(id="c", pools=(), service_subnets=(), host_subnets=())


def chosen(made: Facts, held: tuple[HeldPort, ...] = ()) -> int:
    of = exposed(ports=(one(ANY_PORT),))
    return node_ports.allot(made, of, None, node_ports.Taken(held)).ports[0].node_port


def test_the_last_free_one_is_found_and_the_first_are_taken_last() -> None:
    made = Facts((), INDEXES)
    for number in range(FIRST, FIRST + 60):
        record = NodePort(port=number, protocol="tcp", network="n", service="x")
        made.change(NodePort, f"{number}-tcp", record)

    def held(first: int) -> tuple[HeldPort, ...]:
        numbers = range(first, LAST + 1)
        return tuple(HeldPort("tcp", ip_address("::"), number, "x") for number in numbers)

    assert FIRST + 86 <= chosen(made, held(FIRST + 90)) < FIRST + 90
    assert FIRST + 60 == chosen(made, held(FIRST + 86))
    with pytest.raises(Exhausted, match="no tcp port from 30000 to 32767 is free"):
        chosen(made, held(FIRST))


def test_there_are_no_more_than_have_room() -> None:
    made = Facts((), INDEXES)
    for number in range(1, 2049):
        record = NodePort(port=number, protocol="udp", network="n", service="x")
        made.change(NodePort, f"{number}-udp", record)
    with pytest.raises(Exhausted, match="no room for 1 more published ports of services"):
        chosen(made)


@given(st.sets(st.integers(1, 6), max_size=5), st.sets(st.integers(1, 6), min_size=1, max_size=5))
def test_whatever_it_had_a_service_is_recorded_with_what_it_has(had: Any, has: Any) -> None:
    def of(numbers: Any) -> Service:
        return exposed(ports=tuple(one(n, port=n, name=f"p{n}") for n in sorted(numbers)))

    made = Facts((), INDEXES)
    learn(made, CLUSTER, *records_of(of(had)))
    made_of = node_ports.allot(made, of(has), of(had) if had else None, node_ports.Taken())
    assert of(has) == made_of
