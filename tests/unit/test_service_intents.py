"""Services as they are asked for: what is refused changes nothing, and no address is had twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace
from tests.agents import Agent, run

import clock
from crowd import LONG, NET, Crowd, crowd_of
from fakes_etcd import Fate
from seaway.errors import (
    Conflict,
    Exhausted,
    Invalid,
    NotFound,
    SeawayError,
    Unavailable,
    Unsupported,
)
from seaway.model.addresses import mapped
from seaway.model.facts import Cluster, Endpoint, Network, Peer
from seaway.model.reports import Serving
from seaway.model.requests import (
    EndpointChange,
    HostChange,
    NewNetwork,
    NewService,
    Objects,
    Refs,
    ServiceChange,
)
from seaway.model.services import (
    Distant,
    EndpointSlice,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
    Vip,
)
from seaway.records import distant, fact_key

PORTS = (ServicePort(port=80, target=8080),)
VIP = ip_address("10.223.0.7")
VIP6 = ip_address("fd00:5ea::ffff:0:7")


def new(name: str = "web", **given: Any) -> NewService:
    return NewService(name=name, **{"ports": PORTS, "selector": {"app": "web"}} | given)


def slice_(*addresses: str, **given: Any) -> EndpointSlice:
    endpoints = tuple(SliceEndpoint(addresses=(ip_address(a),)) for a in addresses)
    given = {"ports": (SlicePort(port=80),), "endpoints": endpoints, "family": 4} | given
    return EndpointSlice(**{"name": "s", "network": "default", "service": "web"} | given)


def vips(agent: Agent) -> dict[str, str]:
    return {str(v.address): v.service for v in agent.intents.facts.all(Vip)}


def test_a_service_gets_an_address_of_each_family_and_its_end_frees_them(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        made = (await agent.intents.create_service(new())).service
        subnets = agent.intents.facts.all(Cluster)[0].service_subnets
        assert [4, 6] == [a.version for a in made.addresses]
        assert all(any(a in s for s in subnets) for a in made.addresses)
        assert dict.fromkeys(map(str, made.addresses), "web") == vips(agent)

        await agent.intents.remove_service("default/web")
        assert {} == vips(agent)
        assert [] == agent.intents.services()

    run(tmp_path, scenario)


def test_a_backend_that_drains_gets_no_connection_though_it_is_the_only_one(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("a", labels={"app": "web"})
        await agent.intents.create_service(new())
        for interface in endpoint.addresses:
            agent.host.served[mapped(interface.ip)] = 2
        assert 1 == agent.intents.service("web").chosen

        told = await agent.intents.drain_backend("web", endpoint.name, draining=True)
        assert (True, 4, False) == (told.draining, told.connections, told.ready)
        assert 0 == agent.intents.service("web").chosen
        agent.host.served.clear()
        assert (await agent.intents.backend_drained("web", endpoint.id)).ready
        told = await agent.intents.drain_backend("default/web", endpoint.name, draining=False)
        assert (False, 1) == (told.draining, agent.intents.service("web").chosen)
        with pytest.raises(NotFound, match="network 'default' has no endpoint 'none'"):
            await agent.intents.drain_backend("web", "none", draining=True)

    run(tmp_path, scenario)


def test_a_drain_is_of_a_backend_of_the_service_that_is_named(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new())
        await agent.attach("a", labels={"app": "web"}, name="a")
        stranger = await agent.attach("b", labels={"app": "db"}, name="b")
        with pytest.raises(Invalid, match="endpoint 'b' is no backend of service 'web'"):
            await agent.intents.drain_backend("web", "b", draining=True)
        assert stranger == agent.intents.endpoint("b").endpoint

        await agent.intents.drain_backend("web", "a", draining=True)
        lost = {b.why for b in agent.intents.service("web").backends}
        assert {"it is drained"} == lost

    run(tmp_path, scenario)


@pytest.mark.parametrize("ready", [True, False])
def test_a_drain_that_is_undone_leaves_the_endpoint_as_it_was(tmp_path: Path, ready: bool) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("a", labels={"app": "web"})
        await agent.intents.create_service(new())
        change = EndpointChange(ready=ready, terminating=not ready)
        before = await agent.intents.update_endpoint(endpoint.id, change)
        await agent.intents.drain_backend("web", endpoint.name, draining=True)
        assert 0 == agent.intents.service("web").chosen
        await agent.intents.drain_backend("web", endpoint.name, draining=False)
        assert before == agent.intents.facts.get(Endpoint, endpoint.id)
        assert ready == agent.intents.service("web").chosen

    run(tmp_path, scenario)


def test_a_host_that_has_not_heard_of_a_drain_is_not_believed(tmp_path: Path) -> None:
    """Nor is one that cannot be asked: each is named, and waited for."""

    async def scenario(agent: Agent) -> None:
        told: dict[str, Serving | SeawayError] = {
            "p1": Serving(connections=0),
            "p2": NotFound("there is no service 'web'"),
            "p3": Unavailable("host 'p3' does not answer"),
            "p4": Serving(connections=3, draining=True),
        }

        def answering(name: str) -> Any:
            async def answer(*_given: object) -> Serving:  # noqa: RUF029, as others are
                if isinstance(found := told[name], SeawayError):
                    raise found
                return found

            return answer

        for number, name in enumerate(told, 2):
            peer = Peer(name=name, number=number, addresses=())
            agent.intents.facts.change(Peer, name, peer)
            agent.intents.others.answering[name] = answering(name)
        endpoint = await agent.attach("a", labels={"app": "web"})
        await agent.intents.create_service(new())
        found = await agent.intents.backend_drained("web", endpoint.name)
        assert (False, ("h", "p1", "p2")) == (found.draining, found.unaware)
        found = await agent.intents.drain_backend("web", endpoint.name, draining=True)
        assert (True, 3, ("p1", "p2"), ("p3",)) == (
            found.draining,
            found.connections,
            found.unaware,
            found.unheard,
        )
        assert not found.ready
        told |= dict.fromkeys(told, Serving(connections=0, draining=True))
        assert (await agent.intents.backend_drained("web", endpoint.name)).ready

    run(tmp_path, scenario)


def test_of_several_that_have_an_id_one_is_meant_by_its_host(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        own = await agent.attach("a", name="own", labels={"app": "web"})
        await agent.intents.create_service(new())
        other = distant(replace(own, name="other", host="p", addresses=()))
        agent.intents.facts.change(Distant, fact_key(other), other)
        for name, host in ((f"h/{own.id}", "h"), (f"p/{own.id}", "p"), ("other", "p")):
            assert host == (await agent.intents.backend_drained("web", name)).host
        with pytest.raises(Conflict, match=f"several endpoints: h/{own.id}, p/{own.id}"):
            await agent.intents.backend_drained("web", own.id)

    run(tmp_path, scenario)


def test_a_wanted_address_is_had_and_the_other_family_is_given(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        made = (await agent.intents.create_service(new(addresses=(VIP,)))).service
        assert VIP in made.addresses
        assert 2 == len(made.addresses)
        alone = await agent.intents.create_service(new("a", families=(6,)))
        assert [6] == [a.version for a in alone.service.addresses]
        single = await agent.intents.create_service(new("b", single=True))
        assert [4] == [a.version for a in single.service.addresses]
        headless = await agent.intents.create_service(new("c", headless=True, ports=()))
        assert () == headless.service.addresses

    run(tmp_path, scenario)


BAD: list[tuple[dict[str, Any], type[SeawayError], str]] = [
    ({"name": "Web"}, Invalid, "no service name"),
    ({"name": "1web"}, Invalid, "no service name"),
    ({"name": "a" * 64}, Invalid, "no service name"),
    ({"name": "first"}, Conflict, "there is a service 'first' in network 'default' already"),
    ({"network": "nowhere"}, NotFound, "known: default"),
    ({"network": "four", "families": (6,)}, Invalid, "network 'four' has no IPv6"),
    ({"network": "four", "families": (4, 6)}, Invalid, "network 'four' has no IPv6"),
    ({"ports": ()}, Invalid, "service 'web' has no port"),
    ({"ports": (ServicePort(port=0, target=1),)}, Invalid, "port 0 of a service is out of range"),
    ({"ports": (ServicePort(port=65536, target=1),)}, Invalid, "port 65536 of a service"),
    ({"ports": (ServicePort(port=1, target=65536),)}, Invalid, "port 65536 of backends"),
    ({"ports": (ServicePort(port=1, target="Web!"),)}, Invalid, "no name of a port of an endpoi"),
    ({"ports": (ServicePort(port=1, target=1, protocol="sctp"),)}, Unsupported, "SCTP is not off"),
    ({"ports": (ServicePort(port=1, target=1, protocol="icmp"),)}, Invalid, "'icmp' is no proto"),
    ({"ports": (ServicePort(port=1, target=1, name="A"),)}, Invalid, "'A' is no name of a port"),
    ({"ports": (*PORTS, *PORTS)}, Invalid, "port 80 has no name, and the service has several"),
    (
        {"ports": tuple(ServicePort(port=80, target=1, name=n) for n in ("a", "b"))},
        Invalid,
        "port 80/tcp of a service is given 2 times",
    ),
    (
        {"ports": tuple(ServicePort(port=p, target=1, name="a") for p in (1, 2))},
        Invalid,
        "the port name 'a' of a service is given 2 times",
    ),
    ({"addresses": (ip_address("192.0.2.7"),)}, Invalid, "not in a service subnet"),
    ({"addresses": (ip_address("10.223.0.0"),)}, Invalid, "the first or last of 10.223.0.0/16"),
    ({"addresses": (ip_address("10.223.255.255"),)}, Invalid, "the first or last of"),
    ({"addresses": (VIP,)}, Conflict, "the address of service 'first' of network 'default'"),
    ({"addresses": (VIP + 1, VIP + 2)}, Invalid, "more than one IPv4 address"),
    ({"addresses": (VIP + 1,), "families": (6,)}, Invalid, "of IPv4, which was not asked for"),
    ({"families": (4, 4)}, Invalid, "expected families 4 and 6, each once"),
    ({"families": (5,)}, Invalid, "expected families 4 and 6, each once"),
    ({"families": (4, 6), "single": True}, Invalid, "is to have one family, and both are named"),
    ({"headless": True, "addresses": (VIP + 1,)}, Invalid, "is headless"),
    ({"headless": True, "families": (4,)}, Invalid, "is headless"),
    ({"external_name": "db.example.org"}, Invalid, "it has no backends and no addresses"),
    ({"external_name": "not a name", "selector": {}}, Invalid, "'not a name' is no DNS name"),
    ({"external_name": "a" * 64 + ".org", "selector": {}}, Invalid, "aaa.org' is no DNS name"),
    ({"external_name": "a." * 127 + "org", "selector": {}}, Invalid, "is no DNS name"),
    ({"selector": {"": "x"}}, Invalid, "label"),
    ({"affinity": 86401}, Invalid, "expected 1 to 86400 s"),
    ({"affinity": -1}, Invalid, "an affinity of -1 s is out of range"),
    ({"drain": -1.0}, Invalid, "a drain of -1 s is out of range"),
    ({"drain": float("nan")}, Invalid, "a drain of nan s is out of range"),
]


@pytest.mark.parametrize(("request_", "kind", "words"), BAD, ids=lambda v: str(v)[:40])
def test_a_bad_service_is_told_in_one_line_and_changes_nothing(
    tmp_path: Path, request_: dict[str, Any], kind: type[SeawayError], words: str
) -> None:
    async def scenario(agent: Agent) -> None:
        subnet = ip_network("10.99.0.0/24")
        await agent.intents.create_network(NewNetwork(name="four", subnets=(subnet,)))
        await agent.intents.create_service(new("first", addresses=(VIP,)))
        before = agent.state(), (await agent.store.load()).items
        with pytest.raises(kind, match=words) as caught:
            await agent.intents.create_service(new(**request_))
        assert "\n" not in str(caught.value)
        assert caught.value.hint
        assert before == (agent.state(), (await agent.store.load()).items)

    run(tmp_path, scenario)


BAD_SLICES: list[tuple[EndpointSlice, type[SeawayError], str]] = [
    (slice_("127.0.0.1"), Invalid, "127.0.0.1 is a loopback address"),
    (slice_("169.254.1.1"), Invalid, "169.254.1.1 is a link-local address"),
    (slice_("fe80::1", family=6), Invalid, "fe80::1 is a link-local address"),
    (slice_("::1", family=6), Invalid, "::1 is a loopback address"),
    (slice_("224.0.0.1"), Invalid, "is a multicast address"),
    (slice_("0.0.0.0"), Invalid, "is an unspecified address"),
    (slice_("0.0.0.1"), Invalid, "0.0.0.1 is a reserved address"),
    (slice_("240.0.0.1"), Invalid, "is a reserved address"),
    (slice_("255.255.255.255"), Invalid, "is a reserved address"),
    (slice_("::ffff:192.0.2.1", family=6), Invalid, "192.0.2.1 is an IPv4 address, in a slice of"),
    (slice_("192.0.2.1", "2001:db8::1"), Invalid, "of IPv6, in a slice of IPv4"),
    (slice_(str(VIP)), Invalid, "a virtual address of service 'default/first'"),
    (slice_(str(VIP + 1)), Invalid, "a virtual address of services"),
    (slice_(family=5), Invalid, "is of no family"),
    (slice_(network="nowhere"), NotFound, "known: default"),
    (slice_(name="a/b"), Invalid, "no name of a slice"),
    (slice_(service="a/b"), Invalid, "no service name"),
    (slice_(ports=(SlicePort(port=0),)), Invalid, "port 0 of a slice is out of range"),
    (slice_(ports=(SlicePort(port=1), SlicePort(port=2))), Invalid, "the port name '' of a slice"),
    (slice_(ports=(SlicePort(port=1, protocol="sctp"),)), Unsupported, "SCTP"),
    (slice_(endpoints=(SliceEndpoint(addresses=()),)), Invalid, "has 0 addresses"),
    (
        slice_(endpoints=(SliceEndpoint(addresses=(ip_address("192.0.2.1"),), weight=65536),)),
        Invalid,
        "weight 65536",
    ),
    (
        slice_(endpoints=(SliceEndpoint(addresses=(ip_address("192.0.2.1"),)),) * 1001),
        Invalid,
        "1001 endpoints",
    ),
]


@pytest.mark.parametrize(("bad", "kind", "words"), BAD_SLICES, ids=lambda v: str(v)[:40])
def test_a_bad_slice_is_told_in_one_line_and_nothing_beside_it_is_done(
    tmp_path: Path, bad: EndpointSlice, kind: type[SeawayError], words: str
) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new("first", addresses=(VIP,)))
        before = (await agent.store.load()).items
        with pytest.raises(kind, match=words) as caught:
            await agent.intents.apply(Objects(services=(new("good"),), slices=(bad,)))
        assert "\n" not in str(caught.value)
        assert before == (await agent.store.load()).items

    run(tmp_path, scenario)


def test_inspect_says_of_each_why_it_is_chosen_or_is_not(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        port = ServicePort(port=80, target="http")
        await agent.intents.create_service(new(ports=(port,), families=(4,)))
        for name, asked in {
            "good": {"port_names": {"http": 8000}},
            "nameless": {},
            "heavy": {"port_names": {"http": 8001}, "weight": 0},
            "other": {"labels": {"app": "db"}},
        }.items():
            await agent.attach(name, **{"labels": {"app": "web"}, "name": name} | asked)

        detail = agent.intents.service("web")
        assert {
            "good": (True, 8000, "it is ready"),
            "nameless": (False, 0, "it has no port 'http' of tcp"),
            "heavy": (False, 8001, "its weight is 0"),
        } == {b.name: (b.chosen, b.target, b.why) for b in detail.backends}
        assert (3, 1, ()) == (detail.known, detail.chosen, detail.warnings)

    run(tmp_path, scenario)


def test_a_selector_that_matches_nothing_is_allowed_and_shown(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        report = await agent.intents.create_service(new())
        assert (0, 0, ("no endpoint has app=web",)) == (
            report.known,
            report.chosen,
            report.warnings,
        )
        await agent.attach("one", labels={"app": "web"}, weight=0)
        (report,) = agent.intents.services("default")
        assert ("its one backend is not chosen: its weight is 0",) == report.warnings
        await agent.intents.apply(Objects(slices=(slice_("192.0.2.1"),)))
        (report,) = agent.intents.services()
        assert "1 slices name it, and count for nothing: it has a selector" in report.warnings

    run(tmp_path, scenario)


def test_what_is_applied_again_is_unchanged_and_keeps_its_address(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        objects = Objects(services=(new(selector={}),), slices=(slice_("192.0.2.1"),))

        async def did(of: Objects) -> list[str]:
            return [outcome.did for outcome in await agent.intents.apply(of)]

        assert ["created", "created"] == await did(objects)
        had = agent.intents.service("web").service.addresses
        assert ["unchanged", "unchanged"] == await did(objects)
        assert ["changed"] == await did(Objects(services=(new(affinity=10),)))
        assert had == agent.intents.service("web").service.addresses
        with pytest.raises(Conflict, match="which stays"):
            await agent.intents.apply(Objects(services=(new(addresses=(VIP + 9,)),)))

        assert ["changed"] == await did(Objects(services=(new(families=(4,)),)))
        assert 1 == len(vips(agent))
        assert ["changed"] == await did(Objects(services=(new(headless=True),)))
        assert {} == vips(agent)

        gone = await agent.intents.remove_objects(
            Refs(services=("default/web",), slices=("default/s",))
        )
        assert ["removed", "removed"] == [outcome.did for outcome in gone]
        assert [] == agent.intents.slices()

    run(tmp_path, scenario)


def test_a_file_is_applied_whole_or_not_at_all(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        many = tuple(new(f"s{n}") for n in range(100))
        await agent.intents.apply(Objects(services=many))
        assert 200 == len(vips(agent))
        before = (await agent.store.load()).items
        for objects, words in (
            (Objects(services=(new("a"), new("a"))), "is given twice"),
            (Objects(services=(new("a", addresses=(VIP,)), new("b", addresses=(VIP,)))), "twice"),
            (Objects(services=(new("a"), new("b", ports=()))), "has no port"),
        ):
            with pytest.raises(SeawayError, match=words):
                await agent.intents.apply(objects)
        with pytest.raises(NotFound):
            await agent.intents.remove_objects(Refs(services=("default/s1", "default/nobody")))
        assert before == (await agent.store.load()).items

    run(tmp_path, scenario)


def test_a_service_is_changed_and_its_addresses_stay(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        made = (await agent.intents.create_service(new())).service
        change = ServiceChange(algorithm="least-connections", affinity=7)
        changed = (await agent.intents.update_service("web", change)).service
        assert replace(made, algorithm="least-connections", affinity=7) == changed
        before = (await agent.store.load()).items
        for bad, words in (
            (ServiceChange(), "nothing to change"),
            (ServiceChange(ports=()), "has no port"),
            (ServiceChange(affinity=-1), "out of range"),
        ):
            with pytest.raises(Invalid, match=words):
                await agent.intents.update_service("web", bad)
        assert before == (await agent.store.load()).items

    run(tmp_path, scenario)


def test_what_services_ask_of_an_endpoint_changes_who_is_chosen(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new(families=(4,)))
        for name in ("one", "two"):
            await agent.attach(name, labels={"app": "web"}, name=name)

        async def lost(**given: Any) -> list[tuple[bool, str]]:
            await agent.intents.update_endpoint("one", EndpointChange(**given))
            backends = agent.intents.service("web").backends
            return [(b.chosen, b.why) for b in backends if b.name == "one"]

        assert [(False, "it is not ready")] == await lost(ready=False)
        assert [(False, "it terminates, and does not serve")] == await lost(terminating=True)
        assert [(False, "it terminates")] == await lost(ready=True)
        assert [(True, "it is ready")] == await lost(terminating=False, port_names={"a": 1})
        assert [(False, "its weight is 0")] == await lost(weight=0)
        for bad in ({}, {"weight": -1}, {"port_names": {"A": 1}}, {"port_names": {"a": 0}}):
            before = agent.intents.endpoint("one").endpoint
            with pytest.raises(Invalid):
                await agent.intents.update_endpoint("one", EndpointChange(**bad))
            assert before == agent.intents.endpoint("one").endpoint

    run(tmp_path, scenario)


def test_a_host_that_drains_ends_what_is_on_it_and_its_zone_can_be_told(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_service(new(families=(4,)))
        await agent.attach("one", labels={"app": "web"}, name="one")
        await agent.intents.drain("h", draining=True)
        (backend,) = agent.intents.service("web").backends
        assert (True, "it ends, but there are no others") == (backend.chosen, backend.why)

        report = await agent.intents.update_host("h", HostChange(zone="a"))
        assert "a" == report.host.zone
        assert "" == (await agent.intents.update_host("h", HostChange(zone=""))).host.zone
        for bad in (HostChange(), HostChange(zone="a b")):
            with pytest.raises(Invalid):
                await agent.intents.update_host("h", bad)

    run(tmp_path, scenario)


def test_a_name_is_one_services_or_its_network_must_be_said(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_network(NewNetwork(name="db"))
        await agent.intents.create_service(new(network="db"))
        assert "db" == agent.intents.service("web").service.network
        await agent.intents.create_service(new())
        assert "db" == agent.intents.service("db/web").service.network
        with pytest.raises(Conflict, match="means several services: db/web, default/web"):
            agent.intents.service("web")
        with pytest.raises(NotFound, match="there is no service 'db/other'"):
            agent.intents.service("db/other")

    run(tmp_path, scenario)


def test_a_network_with_services_is_not_removed(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_network(NewNetwork(name="db"))
        await agent.intents.create_service(new(network="db"))
        with pytest.raises(Conflict, match="network 'db' has services: web"):
            await agent.intents.remove_network("db")
        await agent.intents.remove_service("db/web")
        await agent.intents.remove_network("db")

    run(tmp_path, scenario)


def test_the_last_free_address_is_found_and_then_there_is_none(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        cluster = agent.intents.facts.all(Cluster)[0]
        small = replace(cluster, service_subnets=(ip_network("10.223.0.0/28"),))
        await agent.intents.records.commit([small])
        for number in range(14):
            await agent.intents.create_service(new(f"s{number}"))
        assert {f"10.223.0.{n}" for n in range(1, 15)} == vips(agent).keys()
        with pytest.raises(Exhausted, match=r"no free IPv4 address left \(they are 10.223.0.0/28"):
            await agent.intents.create_service(new("more"))
        await agent.intents.remove_service("s3")
        await agent.intents.create_service(new("more"))

    run(tmp_path, scenario)


# Hosts that make and remove services at once, over a store that fails

NAMES = ("a", "b", "c")
SUBNET = ip_network("10.223.0.0/29")  # six addresses


async def cluster_of(path: Path, hosts: str) -> Crowd:
    crowd = await crowd_of(path, hosts, "10.9.0.0/24")
    (cluster,) = crowd.records(Cluster)
    host = crowd.hosts[hosts[0]]
    await host.intents.records.commit([replace(cluster, service_subnets=(SUBNET,))])
    await clock.passes(LONG)
    return crowd


def test_two_hosts_that_take_the_last_address_at_once_share_no_address(tmp_path: Path) -> None:
    async def scenario() -> None:
        crowd = await cluster_of(tmp_path, "ab")
        try:
            one, two = (host.intents for host in crowd.hosts.values())
            asked = [(one, f"x{n}") for n in range(4)] + [(two, f"y{n}") for n in range(4)]
            made = (host.create_service(new(name, network=NET)) for host, name in asked)
            found = await asyncio.gather(*made, return_exceptions=True)
            refused = [e for e in found if isinstance(e, BaseException)]
            assert [Exhausted, Exhausted] == [type(e) for e in refused]
            assert_vips_agree(crowd)
            assert 6 == len(crowd.records(Service))
        finally:
            await crowd.stop()

    clock.run(scenario())


@pytest.mark.parametrize("first", ["a", "b"])
def test_of_a_network_that_goes_and_a_service_that_comes_one_is_refused(
    tmp_path: Path, first: str
) -> None:
    async def scenario() -> None:
        crowd = await cluster_of(tmp_path, "ab")
        try:
            a, b = (host.intents for host in crowd.hosts.values())
            both = [a.remove_network(NET), b.create_service(new(network=NET))]
            order = both if first == "a" else both[::-1]
            done = await asyncio.gather(*order, return_exceptions=True)
            assert 1 == sum(isinstance(e, Conflict | NotFound) for e in done)
            assert len(crowd.records(Network)) == len(crowd.records(Service))
            assert_vips_agree(crowd)
        finally:
            await crowd.stop()

    clock.run(scenario())


def assert_vips_agree(crowd: Crowd) -> None:
    """Each address has one service, which has it."""
    had = [(a, s.name) for s in crowd.records(Service) for a in s.addresses]
    assert len({a for a, _ in had}) == len(had)
    assert dict(had) == {v.address: v.service for v in crowd.records(Vip)}
    assert all(a in SUBNET for a, _ in had)


class Hosts(RuleBasedStateMachine):
    """Each step is done, refused in words, or not answered; in the end the records agree."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner(loop_factory=clock.JumpingLoop)
        self.crowd = self.runner.run(cluster_of(Path(self.folder.name), "ab"))

    def attempt(self, asked: Coroutine[Any, Any, object]) -> None:
        with suppress(SeawayError):
            self.runner.run(asked)

    @rule(
        host=st.sampled_from("ab"),
        name=st.sampled_from(NAMES),
        wanted=st.one_of(st.none(), st.integers(1, 6)),
    )
    def create(self, host: str, name: str, wanted: int | None) -> None:
        addresses = () if wanted is None else (SUBNET[wanted],)
        request = new(name, network=NET, addresses=addresses)
        self.attempt(self.crowd.hosts[host].intents.create_service(request))

    @rule(host=st.sampled_from("ab"), names=st.sets(st.sampled_from(NAMES)), headless=st.booleans())
    def apply(self, host: str, names: set[str], headless: bool) -> None:
        wanted = tuple(new(name, network=NET, headless=headless) for name in sorted(names))
        self.attempt(self.crowd.hosts[host].intents.apply(Objects(services=wanted)))

    @rule(host=st.sampled_from("ab"), name=st.sampled_from(NAMES))
    def remove(self, host: str, name: str) -> None:
        self.attempt(self.crowd.hosts[host].intents.remove_service(f"{NET}/{name}"))

    @rule(one=st.sampled_from(NAMES), two=st.sampled_from(NAMES))
    def at_once(self, one: str, two: str) -> None:
        a, b = (self.crowd.hosts[host].intents for host in "ab")

        async def both() -> None:
            done = await asyncio.gather(
                a.create_service(new(one, network=NET)),
                b.create_service(new(two, network=NET)),
                a.remove_service(f"{NET}/{two}"),
                return_exceptions=True,
            )
            assert all(isinstance(e, SeawayError) for e in done if isinstance(e, BaseException))

        self.runner.run(both())

    @rule(host=st.sampled_from("ab"), fate=st.sampled_from(Fate))
    def fail(self, host: str, fate: Fate) -> None:
        self.crowd.hosts[host].link.fate = fate

    @rule()
    def time_passes(self) -> None:
        self.runner.run(clock.passes(LONG))

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "crowd"):
            assert_vips_agree(self.crowd)

    def teardown(self) -> None:
        if not hasattr(self, "crowd"):
            return
        for host in self.crowd.hosts.values():
            host.link.fate = Fate.DONE
        self.crowd.etcd.do_late()
        self.runner.run(clock.passes(LONG))
        assert_vips_agree(self.crowd)
        for host in self.crowd.living:
            known = {v.address for v in host.intents.facts.all(Vip)}
            assert {v.address for v in self.crowd.records(Vip)} == known
        self.runner.run(self.crowd.stop())
        self.runner.close()
        self.folder.cleanup()


TestHosts = Hosts.TestCase
TestHosts.settings = settings(
    max_examples=20,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
