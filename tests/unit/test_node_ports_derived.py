"""Published ports of services: whom they lead to, and what load balancers are told."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest
from tests.unit.test_node_ports import exposed, node_key
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
)

from seaway.bpf import abi
from seaway.desired.indexes import INDEXES
from seaway.desired.network.firewalls import ACCEPTS
from seaway.desired.transport.maglev import table
from seaway.desired.transport.node_ports import HEALTH_PORTS
from seaway.facts import Facts
from seaway.model.facts import (
    Barrier,
    Cluster,
    Endpoint,
    Firewalls,
    Host,
)
from seaway.model.node_ports import HealthPort
from seaway.model.services import (
    Service,
)


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
