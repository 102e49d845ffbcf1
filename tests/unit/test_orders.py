"""What the agent tells `routed`: derived from facts, and kept in a file."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace
from tests import contracts

from seaway.desired.network.orders import ORDERS
from seaway.facts import Facts
from seaway.model.facts import Cluster, Host, Network, Peer, Probing, Uplinks
from seaway.model.routing import ORDERS_KEY, Member, Orders
from seaway.routed.orders_file import OrdersFile, OrdersTarget

HOST = Host(name="a", addresses=(), number=1, underlay=(ip_address("192.0.2.1"),))
PEER = Peer(name="b", addresses=(), number=2, underlay=(ip_address("192.0.2.2"),), key="k")
ORDERED = Orders(
    host="a",
    number=1,
    underlay=HOST.underlay,
    members=(Member(name="b", number=2, underlay=PEER.underlay, key="k"),),
)


@pytest.fixture
def facts():
    known = Facts([ORDERS])
    known.change(Host, "a", HOST)
    known.change(Network, "default", Network(name="default", number=1, subnets=()))
    return known


def derived(facts: Facts) -> Orders | None:
    return facts.derive()["orders"][ORDERS_KEY]


def test_a_host_alone_orders_nothing_and_one_that_is_alone_again_takes_back(facts):
    assert {} == facts.derive()
    facts.change(Peer, "b", PEER)
    assert ORDERED == derived(facts)
    facts.change(Peer, "b", None)
    assert None is derived(facts)


def test_members_are_the_other_hosts_by_name(facts):
    facts.change(Peer, "c", replace(PEER, name="c", number=3))
    facts.change(Peer, "b", PEER)
    assert ["b", "c"] == [member.name for member in derived(facts).members]


def test_the_routings_are_those_of_the_networks(facts):
    facts.change(Peer, "b", PEER)
    video = Network(name="video", number=2, subnets=(), routing="latency")
    facts.change(Network, "video", video)
    assert ("hops", "latency") == derived(facts).routings
    facts.change(Network, "default", None)
    assert ("hops", "latency") == derived(facts).routings  # hosts themselves meet by hops


def test_a_segment_is_one_in_which_others_reach_this_host(facts):
    facts.change(Peer, "b", PEER)
    found = frozenset(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/64")))
    facts.change(Uplinks, "host", Uplinks(ipv6=True, segments=found))
    assert (ip_network("192.0.2.0/24"),) == derived(facts).segments


def test_a_host_that_drains_is_no_relay_and_one_that_is_to_be_fast_probes_fast(facts):
    facts.change(Peer, "b", PEER)
    facts.change(Host, "a", replace(HOST, draining=True))
    facts.change(Probing, "host", Probing(preset="fast"))
    orders = derived(facts)
    assert (False, "fast") == (orders.relay, orders.probes)


@pytest.mark.parametrize(("encapsulation", "relay"), [("never", False), ("auto", True)])
def test_where_nothing_is_encapsulated_nobody_relays(facts, encapsulation, relay):
    facts.change(Peer, "b", PEER)
    cluster = Cluster(id="c", pools=(), service_subnets=(), host_subnets=())
    facts.change(Cluster, "cluster", cluster)
    assert derived(facts).relay
    facts.change(Cluster, "cluster", replace(cluster, encapsulation=encapsulation))
    assert relay == facts.derive()["orders"].get(ORDERS_KEY, ORDERED).relay


def test_the_file_keeps_the_contract_of_targets(tmp_path):
    path = tmp_path / "orders"
    objects, changed = {ORDERS_KEY: ORDERED}, {ORDERS_KEY: replace(ORDERED, relay=False)}
    contracts.puts_and_deletes(OrdersTarget(path), objects)
    contracts.changes_what_is_there(OrdersTarget(path), objects, changed)
    contracts.finds_and_repairs_drift(OrdersTarget(path), objects, lambda: path.write_text("{"))
    contracts.finds_and_repairs_drift(OrdersTarget(path), objects, path.unlink)


def test_who_obeys_sees_that_orders_are_taken_back(tmp_path):
    target, file = OrdersTarget(tmp_path / "orders"), OrdersFile(tmp_path / "orders")
    assert (None, False) == (file.read(), file.taken_back)
    target.put({ORDERS_KEY: ORDERED})
    assert (ORDERED, False) == (file.read(), file.taken_back)
    target.delete({ORDERS_KEY})
    assert (None, True) == (file.read(), file.taken_back)
