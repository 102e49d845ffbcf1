"""What a trace tells of services: whom they lead to, by which way, and what refuses it where."""

from __future__ import annotations

import pytest
from tests.traced import VIP, VIP6, Hosts, asks, told, ways_of

from seaway.bpf import abi
from seaway.desired.transport.clients import CLIENTS
from seaway.desired.transport.limits import service_number
from seaway.model.addresses import parse_address
from seaway.model.facts import Endpoint
from seaway.model.services import EndpointSlice, ServicePort, SliceEndpoint, SlicePort
from seaway.model.trace import WORLDLY

WORLD, WORLD6 = map(str, WORLDLY)
SHOP = {"labels": {"app": "shop"}}
COOKIE = 77
NODE_PORT = (ServicePort(port=80, target=8080, node_port=30080),)


@pytest.fixture
def two():
    hosts = Hosts("ab")
    hosts["a"].attach("web", 2, netns_cookie=COOKIE)
    return hosts


def ada(hosts):
    """Who asks: an endpoint of a's, whose sockets the hooks see."""
    (found,) = hosts["a"].facts.where(Endpoint, "cookie", COOKIE)
    return found


# At connect time


@pytest.mark.parametrize(
    ("vip", "here", "there"),
    [(VIP, "10.208.1.3", "10.208.2.3"), (VIP6, "fd00:1::103", "fd00:1::203")],
)
def test_the_hook_leads_a_socket_to_one_of_the_backends_wherever_they_are(two, vip, here, there):
    two["a"].attach("web", 3, **SHOP)
    two["b"].attach("web", 3, **SHOP)
    two["b"].attach("web", 4, **SHOP)
    two.serve()
    steps = two.trace("a", asks(ada(two), vip))
    hook = f"connect{vip.version}"
    assert [f"a {hook} choose web/shop"] == told(steps)
    asked = steps[0].service
    assert "service web/shop leads to one of 3" == steps[0].why
    assert ("web/shop", "80/tcp", "random", False, 0, "") == (
        asked.name,
        asked.port,
        asked.algorithm,
        asked.weighted,
        asked.affinity,
        asked.limit,
    )
    assert {("a-web3", True, 1), ("b-web3", True, 1), ("b-web4", True, 1)} == {
        (c.name, c.chosen, c.weight) for c in asked.candidates
    }
    assert "raw sockets" in asked.others
    assert {
        "a": ["a from_endpoint deliver web/a-web3"],
        "b": ["a from_endpoint send b", "b from_wire deliver web/b-web3"],
    } == ways_of(steps)
    near, far = asked.ways
    assert ("a", "a-web3", here, 8080, 0) == (
        near.host,
        near.name,
        str(near.address),
        near.port,
        near.alike,
    )
    assert ("b", "b-web3", there, 8080, 1) == (
        far.host,
        far.name,
        str(far.address),
        far.port,
        far.alike,
    )
    assert (str(there), 8080) == (str(far.steps[-1].destination), far.steps[-1].port)


def test_who_is_not_seen_by_the_hooks_is_led_by_its_packets(two):
    two["a"].attach("web", 3, **SHOP)
    two["b"].attach("web", 3, **SHOP)
    two.serve()
    unseen = two["a"].attach("web", 9)
    steps = two.trace("a", asks(unseen, VIP))
    assert ["a from_endpoint choose web/shop"] == told(steps)
    assert "" == steps[0].service.others
    assert {
        "a": ["a from_endpoint deliver web/a-web3"],
        "b": ["a from_endpoint send b", "b from_wire deliver web/b-web3"],
    } == ways_of(steps)


def test_who_asks_itself_never_leaves_its_container_or_comes_by_the_vip(two):
    own = two["a"].attach("web", 3, netns_cookie=78, **SHOP)
    two.serve()
    (way,) = two.trace("a", asks(own, VIP))[0].service.ways
    assert ["a routes deliver web/a-web3"] == told(way.steps)
    assert "it asks itself: no program sees that" == way.steps[0].why

    del two["a"].lookups.targets[CLIENTS.name].objects[78]
    (way,) = two.trace("a", asks(own, VIP), settle=False)[0].service.ways
    assert ["a from_endpoint deliver web/a-web3"] == told(way.steps)
    assert VIP == way.steps[0].source


@pytest.mark.parametrize("how", [{}, {"algorithm": "round-robin", "affinity": 60}])
def test_why_each_is_not_chosen_is_told(two, how):
    two["a"].attach("web", 3, ready=False, **SHOP)
    two["a"].attach("web", 4, weight=0, **SHOP)
    two["b"].attach("web", 3, terminating=True, **SHOP)
    two["b"].attach("web", 4, weight=3, **SHOP)
    two["b"].attach("web", 5, **SHOP)
    two.serve(**how)
    asked = two.trace("a", asks(ada(two), VIP))[0].service
    lost = {c.name: c.why for c in asked.candidates if not c.chosen}
    assert {"a-web3", "a-web4", "b-web3"} == lost.keys()
    assert all(lost.values())
    assert asked.weighted
    assert (how.get("algorithm", "random"), how.get("affinity", 0)) == (
        asked.algorithm,
        asked.affinity,
    )
    assert [("b", 1)] == [(way.host, way.alike) for way in asked.ways]


def test_what_the_maps_say_goes_before_the_records(two):
    one = two["a"].attach("web", 3, **SHOP)
    two.serve()
    two["a"].settle()
    two["a"].attach("web", 4, **SHOP)
    asked = two.trace("a", asks(ada(two), VIP), settle=False)[0].service
    by_name = {c.name: c for c in asked.candidates}
    assert (True, False) == (by_name["a-web3"].chosen, by_name["a-web4"].chosen)
    assert by_name["a-web4"].why.startswith("the kernel's maps do not have it, though ")

    two["a"].facts.change(type(one), one.id, None)
    (way,) = two.trace("a", asks(ada(two), VIP), settle=False)[0].service.ways
    assert ("", "10.208.1.3") == (way.name, str(way.address))


# What refuses it where


def test_a_service_without_a_backend_refuses_at_once(two):
    two.serve()
    (step,) = two.trace("a", asks(ada(two), VIP))
    assert ("connect4", "refuse", "refused") == (step.at, step.decision, step.reason)
    assert "service web/shop has no backend: nothing is selected or named" == step.why
    assert "answered by from_endpoint" in step.service.others

    two["a"].attach("web", 3, ready=False, **SHOP)
    (step,) = two.trace("a", asks(ada(two), VIP))
    assert step.why.startswith("service web/shop has no backend: a-web3: ")

    unseen = two["a"].attach("web", 9)
    assert ["a from_endpoint drop refused"] == told(two.trace("a", asks(unseen, VIP)))
    assert ["a connect4 refuse refused"] == told(two.trace("a", asks("10.223.0.1", VIP)))


def test_a_silent_service_is_left_alone_by_the_hook_and_dropped_on_its_way(two):
    two["b"].attach("web", 3, **SHOP)
    two.serve(internal_policy="Local")
    steps = two.trace("a", asks(ada(two), VIP))
    assert ["a connect4 pass", "a from_endpoint drop silent"] == told(steps)
    assert steps[1].why.startswith("service web/shop is silent, as its policy is Local: b-web3: ")
    steps = two.trace("a", asks("10.223.0.1", VIP))
    assert ["a connect4 pass", "a routes drop"] == told(steps)


def test_over_a_limit_connect_is_refused(two):
    two["a"].attach("web", 3, **SHOP)
    service = two.serve(limit_connections=10)
    uses, number = two["a"].lookups.uses, service_number(service)

    def asked(taken, own):
        uses[abi.UseKey(number, 0)] = abi.Use(open=taken)
        uses[abi.UseKey(number, COOKIE)] = abi.Use(open=own)
        (step,) = two.trace("a", asks(ada(two), VIP))
        return step

    assert "choose" == asked(5, 5).decision
    assert "5 of 10 connections from this host are open" == asked(5, 5).service.limit
    full = asked(10, 0)
    assert ("refuse", "limited") == (full.decision, full.reason)
    assert (
        "of the 10 connections from this host that the service may have at once, 10 are open"
        == (full.why)
    )
    greedy = asked(8, 8)
    assert "limited" == greedy.reason
    assert greedy.why.endswith("8 of them this client's: what is left is for others")
    assert "choose" == asked(8, 0).decision
    uses[abi.UseKey(number, abi.USE_GIVEN)] = abi.Use(open=3)  # of clients that are gone
    assert "7 of 10 connections from this host are open" == asked(10, 0).service.limit
    assert "limited" == asked(13, 0).reason


def test_over_its_own_limit_an_endpoint_connects_nowhere(two):
    two["a"].attach("web", 3, **SHOP)
    greedy = two["a"].attach("web", 4, netns_cookie=78, limit_connections=3)
    two.serve()
    two["a"].settle()
    number = two["a"].lookups.find("clients", 78).limit
    two["a"].lookups.uses[abi.UseKey(number, 0)] = abi.Use(open=3)
    for there in (VIP, "10.208.1.3", WORLD):
        assert ["a connect4 refuse limited"] == told(two.trace("a", asks(greedy, there)))


def test_a_backend_whose_address_is_closed_to_who_asks_is_told_by_its_way(two):
    two["a"].attach("web", 3, **SHOP)
    two["b"].attach("web", 3, **SHOP)
    two.serve()
    other = two["a"].attach("db", 2, netns_cookie=78)
    steps = two.trace("a", asks(other, VIP))
    assert {
        "a": ["a from_endpoint drop isolated"],
        "b": ["a from_endpoint drop isolated"],
    } == ways_of(steps)


def test_a_port_that_no_service_has_and_an_address_that_none_has(two):
    two["a"].attach("web", 3, **SHOP)
    two.serve()
    (step,) = two.trace("a", asks(ada(two), VIP, 81))
    assert ("drop", "refused") == (step.decision, step.reason)
    assert "service web/shop has other ports: 80/tcp" == step.why
    (step,) = two.trace("a", asks(ada(two), VIP, 80, protocol="udp"))
    assert "no_endpoint" == step.reason
    (step,) = two.trace("a", asks(ada(two), "10.222.9.9"))
    assert ("refused", "no service has this address") == (step.reason, step.why)


def test_a_backend_that_is_no_endpoint_is_asked_by_the_hosts_routes(two):
    two.serve(selector={})
    made = EndpointSlice(
        name="shop-1",
        network="web",
        service="shop",
        family=4,
        ports=(SlicePort(port=8080),),
        endpoints=(SliceEndpoint(addresses=(parse_address("198.51.100.7"),)),),
    )
    two["a"].learn(made, "web/shop-1")
    unseen = two["a"].attach("web", 9)
    for who in (ada(two), unseen):
        assert {
            "": [
                "a from_endpoint pass",
                "a nftables masquerade 192.0.2.1",
                "a routes leave 192.0.2.254",
            ]
        } == ways_of(two.trace("a", asks(who, VIP)))
    assert {"": ["a routes leave 192.0.2.254"]} == ways_of(two.trace("a", asks("10.223.0.1", VIP)))


# The host's own sockets


def test_the_host_asks_a_service_by_its_address_and_by_its_own_ports(two):
    two["a"].attach("web", 3, **SHOP)
    two["b"].attach("web", 3, **SHOP)
    two.serve(ports=NODE_PORT)
    expected = {
        "a": ["a to_endpoint deliver web/a-web3"],
        "b": ["a to_overlay send b", "b from_wire deliver web/b-web3"],
    }
    for source, there, port in (
        ("10.223.0.1", VIP, 80),
        ("192.0.2.1", VIP, 80),
        ("127.0.0.1", "127.0.0.1", 30080),
        ("192.0.2.1", "192.0.2.1", 30080),
    ):
        steps = two.trace("a", asks(source, there, port))
        assert ["a connect4 choose web/shop"] == told(steps)
        assert expected == ways_of(steps)
        assert "" == steps[0].service.others
    unknown = two.trace("a", asks("127.0.0.1", "127.0.0.1", 30081))
    assert ["a connect4 host"] == told(unknown)


# A port of every host


@pytest.mark.parametrize(("source", "asked"), [(WORLD, "192.0.2.1"), (WORLD6, "2001:db8::1")])
def test_who_asks_a_port_of_a_host_from_outside_keeps_its_address(source, asked):
    three = Hosts("abc", families=(4, 6))
    for node in three.values():
        node.attach("web", 3, **SHOP)
    three.serve(ports=NODE_PORT)
    three["a"].path("c", "b")
    steps = three.trace("a", asks(source, asked, 30080, carried="wire"))
    assert ["a from_wire choose web/shop"] == told(steps)
    assert ("maglev", "") == (steps[0].service.algorithm, steps[0].service.others)
    assert {
        "a": ["a from_wire deliver web/a-web3"],
        "b": ["a from_wire send b", "b from_overlay deliver web/b-web3"],
        "c": ["a from_wire send b", "b from_wire send c", "c from_overlay deliver web/c-web3"],
    } == ways_of(steps)
    for way in steps[0].service.ways:
        assert source == str(way.steps[-1].source)
    assert "it is a backend, and a was asked" == steps[0].service.ways[2].steps[-1].why


def test_a_port_of_hosts_that_leads_to_nobody(two):
    two.serve(ports=NODE_PORT)
    asked = asks(WORLD, "192.0.2.1", 30080, carried="wire")
    assert ["a from_wire drop refused"] == told(two.trace("a", asked))
    two["b"].attach("web", 3, **SHOP)
    two.serve(ports=NODE_PORT, external_policy="Local")
    assert ["a from_wire drop silent"] == told(two.trace("a", asked))
    there = asks(WORLD, "192.0.2.2", 30080, carried="wire")
    assert {"b": ["b from_wire deliver web/b-web3"]} == ways_of(two.trace("b", there))


def test_over_a_limit_a_port_of_hosts_gives_no_connection_and_datagrams_pass(two):
    two["a"].attach("web", 3, **SHOP)
    ports = (*NODE_PORT, ServicePort(port=80, target=8080, node_port=30080, protocol="udp"))
    number = service_number(two.serve(ports=ports, limit_connections=10))
    uses, asked = two["a"].lookups.uses, asks(WORLD, "192.0.2.1", 30080, carried="wire")
    for taken, expected in ((9, "choose web/shop"), (10, "drop limited")):
        uses[abi.UseKey(number, 0)] = abi.Use(open=taken)
        assert [f"a from_wire {expected}"] == told(two.trace("a", asked))[:1]
    datagram = asks(WORLD, "192.0.2.1", 30080, carried="wire", protocol="udp")
    assert "a from_wire choose web/shop" == told(two.trace("a", datagram))[0]


def test_an_endpoint_that_another_host_knows_as_published_and_its_own_does_not(two):
    two["b"].attach("web", 3, **SHOP)
    service = two.serve(ports=NODE_PORT)
    two["a"].settle()
    two["b"].facts.change(type(service), "web/shop", None)
    steps = two.trace("a", asks(WORLD, "192.0.2.1", 30080, carried="wire"))
    assert {"b": ["a from_wire send b", "b from_overlay drop not_published"]} == ways_of(steps)


def test_who_asks_from_inside_comes_to_another_hosts_backend_as_the_host_that_was_asked(two):
    two["a"].attach("web", 3, **SHOP)
    two["b"].attach("web", 3, **SHOP)
    two.serve(ports=NODE_PORT)
    steps = two.trace("a", asks(ada(two), "10.223.0.1", 30080))
    assert ["a from_endpoint choose web/shop"] == told(steps)
    assert {
        "a": ["a from_endpoint deliver web/a-web3"],
        "b": ["a to_overlay send b", "b from_wire deliver web/b-web3"],
    } == ways_of(steps)
    near, far = steps[0].service.ways
    assert ("10.208.1.2", "10.223.0.1") == (
        str(near.steps[-1].source),
        str(far.steps[-1].source),
    )
    away = two.trace("a", asks(ada(two), "10.223.0.2", 30080))
    assert ["a from_endpoint send b", "b from_overlay choose web/shop"] == told(away)
    assert {
        "b": ["b from_overlay deliver web/b-web3"],
        "a": ["b to_overlay send a", "a from_wire deliver web/a-web3"],
    } == ways_of(away)


def test_where_nothing_is_encapsulated_no_port_leads_to_another_host():
    two = Hosts("ab", "never")
    two["b"].attach("web", 3, **SHOP)
    two.serve(ports=NODE_PORT)
    steps = two.trace("a", asks(WORLD, "192.0.2.1", 30080, carried="wire"))
    assert {"b": ["a from_wire drop no_path"]} == ways_of(steps)
    last = steps[0].service.ways[0].steps[-1]
    assert "nothing is encapsulated here, so no port of services leads to another host" == last.why


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"ingress": 9}, "other_overlay"),
        ({"ingress": 1, "carrier": parse_address("192.0.2.9")}, "unknown_host"),
        ({"ingress": 2}, "spoofed_address"),
        ({"ingress": 1, "source": "10.208.1.3"}, "spoofed_address"),
        ({"ingress": 1}, ""),
        ({"ingress": 1, "ttl": 1}, "ttl_exceeded"),
        ({"ingress": 1, "destination": "10.208.2.9"}, "refused"),
        ({"ingress": 1, "destination": "198.51.100.1"}, "not_here"),
    ],
)
def test_of_whom_a_host_believes_that_another_was_asked(two, more, reason):
    two["b"].attach("web", 3, **SHOP)
    two.serve(ports=NODE_PORT)
    usual = {
        "source": WORLD,
        "destination": "10.208.2.3",
        "carried": "overlay",
        "carrier": parse_address("192.0.2.1"),
    }
    given = usual | more
    (step,) = two.trace("b", asks(given.pop("source"), given.pop("destination"), 8080, **given))
    assert ("from_overlay", reason) == (step.at, step.reason)


def test_the_world_reaches_no_virtual_address(two):
    two["a"].attach("web", 3, **SHOP)
    two.serve()
    steps = two.trace("a", asks(WORLD, VIP, carried="wire"))
    assert ["a from_wire pass", "a routes drop"] == told(steps)


def test_of_many_hosts_some_are_followed():
    names = [f"h{n:02}" for n in range(19)]
    many = Hosts(names)
    for node in many.values():
        node.attach("web", 3, **SHOP)
    many.serve()
    asker = many["h00"].attach("web", 9)
    asked = many.trace("h00", asks(asker, VIP))[0].service
    assert (names[:16], 3) == ([way.host for way in asked.ways], asked.beyond)
    assert 19 == len(asked.candidates)
