"""Published ports of services: how they are asked for, whose they are, and who is refused."""

from __future__ import annotations

import errno
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
    VIP,
    VIP6,
    endpoint,
    key,
    learn,
    service,
)

from seaway import node_ports
from seaway.bpf import abi
from seaway.desired.indexes import INDEXES
from seaway.desired.network.networks import TABLE
from seaway.errors import Conflict, Exhausted, Invalid, SeawayError
from seaway.facts import Facts
from seaway.model.addresses import UNSPECIFIED
from seaway.model.facts import (
    Cluster,
)
from seaway.model.node_ports import ANY_PORT, FIRST, LAST, published, records_of
from seaway.model.publications import HeldPort
from seaway.model.requests import NewService, Objects, Refs, ServiceChange
from seaway.model.services import (
    Distant,
    NodePort,
    Service,
    ServicePort,
)
from seaway.records import distant
from waiting import until

WEB = ServicePort(port=80, target=8080, name="http", node_port=30080)
DNS = ServicePort(port=53, target=5353, protocol="udp", name="dns")


def node_key(family: int, port: int = 30080, protocol: int = 6) -> abi.PortKey:
    return key(UNSPECIFIED[family], port, protocol)


def exposed(**given_: Any) -> Service:
    return service(**{"ports": (WEB, DNS), "addresses": (VIP, VIP6)} | given_)


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
