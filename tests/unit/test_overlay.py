"""What a host has in its kernel because of others: nothing of it where it is alone."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from msgspec.structs import replace

from seaway.bpf import abi
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.desired.network.overlay import overhead
from seaway.facts import Facts
from seaway.model.addresses import mapped
from seaway.model.facts import (
    Barrier,
    Block,
    Cluster,
    Firewalls,
    Host,
    Network,
    Overlay,
    Path,
    Peer,
    Uplinks,
    path_key,
)
from seaway.model.kernel import Attachment, Route, Vxlan
from seaway.names import OVERLAY_DEVICE, OVERLAY_ID, OVERLAY_PORT

DEVICE = 7  # the number of the overlay's device
SUBNET, BLOCK, OTHERS = (
    ip_network(p) for p in ("10.208.0.0/18", "10.208.0.0/26", "10.208.0.64/26")
)
HERE = Host(name="a", addresses=(IPv4Address("10.223.0.1"),), underlay=(ip_address("192.0.2.1"),))
ADDRESS6 = IPv6Address("2001:db8::2")
PEER = Peer(
    name="b",
    number=2,
    addresses=(IPv4Address("10.223.0.2"),),
    underlay=(ip_address("192.0.2.2"), ADDRESS6),
)
THIRD = replace(PEER, name="c", number=3, addresses=(), underlay=(ip_address("192.0.2.3"),))
CLUSTER = Cluster(id="x", pools=(), service_subnets=(), host_subnets=())


def alone() -> Facts:
    facts = Facts(DERIVATIONS, INDEXES)
    learn(facts, CLUSTER, "cluster")
    learn(facts, HERE, "a")
    learn(facts, Uplinks(ipv6=True, mtu=1500), "host")
    learn(facts, Network(name="n", number=5, subnets=(SUBNET,), open=True), "n")
    learn(facts, Block(prefix=BLOCK, network="n", host="a"), str(BLOCK))
    return facts


def together() -> Facts:
    facts = alone()
    learn(facts, PEER, "b")
    learn(facts, Block(prefix=OTHERS, network="n", host="b"), str(OTHERS))
    learn(facts, Overlay(ifindex=DEVICE), "host")
    return facts


def learn(facts: Facts, fact: Any, key: str) -> None:
    facts.change(type(fact), key, fact)


def forget(facts: Facts, kind: type, key: str) -> None:
    facts.change(kind, key, None)


def derived(facts: Facts) -> dict[str, dict[Any, Any]]:
    """All of it that is there, by target."""
    return {
        name: found
        for name, desired in facts.derive().items()
        if (found := {k: v for k, v in desired.items() if v is not None})
    }


NEW = ("vxlan", "tunnels", "underlays", "members", "next_hops", "paths", "remotes")


def test_a_host_alone_has_nothing_of_it():
    found = derived(alone())

    assert set() == found.keys() & set(NEW)
    assert {SUBNET: Route(SUBNET, "")} == found["routes"]
    assert 0 == found["nft"]["table"].untracked


def test_with_another_host_come_its_device_its_addresses_and_the_ways():
    found, address = derived(together()), ip_network("10.223.0.2/32")

    assert {OVERLAY_DEVICE: Vxlan(OVERLAY_DEVICE, 1450, OVERLAY_PORT)} == found["vxlan"]
    assert {DEVICE: 1} == found["tunnels"]
    (here,) = found["underlays"].values()
    port = OVERLAY_PORT.to_bytes(2)
    own = mapped(HERE.underlay[0])
    assert abi.Underlay(own, bytes(16), OVERLAY_ID, port, host=HERE.number) == here
    assert dict.fromkeys(PEER.underlay, abi.Member(2)) == found["members"]
    hop = abi.NextHop(mapped(PEER.underlay[0]), 2, abi.NEXT_HOP_OVERLAY, DEVICE)
    assert {2: hop} == found["next_hops"]
    assert {2: abi.Path(via=2)} == found["paths"]
    assert {
        OTHERS: abi.Remote(2, 5, abi.REMOTE_OPEN),
        address: abi.Remote(2, 0, abi.REMOTE_HOST),
    } == found["remotes"]
    assert {
        SUBNET: Route(SUBNET, ""),
        OTHERS: Route(OTHERS, OVERLAY_DEVICE, HERE.addresses[0]),
        address: Route(address, OVERLAY_DEVICE, HERE.addresses[0]),
    } == found["routes"]
    programs = {hook: a.program for (_, hook), a in found["attachments"].items()}
    assert {"ingress": "from_overlay", "egress": "to_overlay"} == programs
    assert Attachment(OVERLAY_DEVICE, DEVICE, "ingress", "from_overlay") in [
        *found["attachments"].values()
    ]
    assert OVERLAY_PORT == found["nft"]["table"].untracked


def test_with_the_other_host_all_of_it_goes():
    facts = together()
    derived(facts)
    forget(facts, Peer, "b")
    forget(facts, Overlay, "host")
    gone = facts.derive()

    assert all(value is None for name in NEW for value in gone[name].values())
    assert {None} == {gone["routes"][OTHERS]}  # its addresses are those of the subnet again


def test_a_block_whose_host_is_gone_is_nobodys():
    facts = alone()
    learn(facts, Block(prefix=OTHERS, network="n", host="lost"), str(OTHERS))

    assert "remotes" not in derived(facts)


def test_a_block_that_is_a_whole_subnet_leads_to_its_host():
    facts = together()
    learn(facts, Network(name="m", number=6, subnets=(OTHERS,)), "m")
    learn(facts, Block(prefix=OTHERS, network="m", host="b"), str(OTHERS))
    found = derived(facts)

    assert OVERLAY_DEVICE == found["routes"][OTHERS].device
    assert abi.Remote(2, 6) == found["remotes"][OTHERS]


def test_where_others_reach_this_host_may_change_while_it_runs():
    facts = together()
    derived(facts)
    learn(facts, replace(HERE, underlay=(ADDRESS6,)), "a")
    (here,) = derived(facts)["underlays"].values()

    assert (bytes(16), mapped(ADDRESS6)) == (here.v4, here.v6)


def test_a_host_of_which_no_path_is_told_is_its_own_next_hop():
    facts = together()
    learn(facts, THIRD, "c")
    assert {2: abi.Path(2), 3: abi.Path(3)} == derived(facts)["paths"]

    learn(facts, Path(host="c", via="b"), "c")
    assert {3: abi.Path(2)} == derived(facts)["paths"]
    forget(facts, Path, "c")
    assert {3: abi.Path(3)} == derived(facts)["paths"]


def test_a_path_names_its_next_hop_and_its_backup_by_number():
    facts = together()
    learn(facts, THIRD, "c")
    learn(facts, Path(host="c", via="b", backup="c"), "c")

    assert {2: abi.Path(2), 3: abi.Path(2, 3)} == derived(facts)["paths"]


def test_a_path_names_those_that_are_as_near():
    facts = together()
    learn(facts, THIRD, "c")
    learn(facts, Path(host="b", via="c"), "b")
    learn(facts, Path(host="c", via="c", equal=("gone", "b")), "c")

    assert {2: abi.Path(3), 3: abi.Path(3, 0, 2)} == derived(facts)["paths"]


def test_a_peer_is_reached_by_the_first_of_our_families_that_it_has():
    facts = together()
    learn(facts, replace(HERE, underlay=(ip_address("2001:db8::1"), *HERE.underlay)), "a")
    learn(facts, THIRD, "c")
    found = derived(facts)

    assert mapped(ADDRESS6) == found["next_hops"][2].underlay
    assert mapped(THIRD.underlay[0]) == found["next_hops"][3].underlay
    assert 1430 == found["vxlan"][OVERLAY_DEVICE].mtu


def test_a_peer_without_a_family_of_ours_has_no_way():
    facts = alone()
    learn(facts, replace(PEER, underlay=(ADDRESS6,)), "b")
    learn(facts, Overlay(ifindex=DEVICE), "host")
    found = derived(facts)

    assert set() == found.keys() & {"vxlan", "next_hops"}


@pytest.mark.parametrize(
    ("encapsulation", "flags", "mtu"),
    [
        ("always", abi.NEXT_HOP_OVERLAY, 1450),
        ("auto", abi.NEXT_HOP_OVERLAY | abi.NEXT_HOP_DIRECT, 1450),
        ("never", abi.NEXT_HOP_DIRECT, 1500),
    ],
)
def test_the_cluster_says_whether_packets_go_as_they_are(encapsulation, flags, mtu):
    facts = together()
    learn(facts, replace(CLUSTER, encapsulation=encapsulation), "cluster")
    found = derived(facts)

    assert flags == found["next_hops"][2].flags
    assert mtu == found["vxlan"][OVERLAY_DEVICE].mtu


def test_a_firewall_that_refuses_lets_in_what_other_hosts_send():
    facts = together()
    barrier = Barrier(program="iptables-nft", chain="INPUT")
    learn(facts, Firewalls(barriers=frozenset({barrier})), "host")
    accepts = derived(facts)["accepts"]

    rules = ("-i swy+", f"-p udp -m udp --dport {OVERLAY_PORT}")
    assert rules == accepts["iptables-nft", "INPUT"].rules[:2]


@pytest.mark.parametrize(
    ("underlay", "encapsulation", "added"),
    [
        ((), "always", 0),
        (("192.0.2.1",), "always", 50),
        (("192.0.2.1", "2001:db8::1"), "auto", 70),
        (("2001:db8::1",), "never", 0),
    ],
)
def test_a_packet_grows_by_what_carries_it(underlay, encapsulation, added):
    addresses = [ip_address(address) for address in underlay]

    assert added == overhead(addresses, encapsulation)


def test_a_network_that_goes_by_the_least_time_has_paths_of_its_own():
    facts = together()
    network = Network(name="n", number=5, subnets=(SUBNET,), routing="latency")
    learn(facts, network, "n")
    learn(facts, THIRD, "c")
    learn(facts, Path(host="b", via="c", routing="latency"), path_key("b", "latency"))
    learn(facts, Path(host="c", via="c"), "c")
    found, least = derived(facts), abi.PATH_LATENCY

    assert {
        2: abi.Path(via=2),
        3: abi.Path(via=3),
        2 | least: abi.Path(via=3),
        3 | least: abi.Path(via=3),  # none is told yet by the least time
    } == found["paths"]
    assert abi.Remote(2, 5, abi.REMOTE_LATENCY) == found["remotes"][OTHERS]

    learn(facts, replace(network, routing="hops"), "n")
    assert {2, 3} == derived_whole(facts, "paths").keys()


def derived_whole(facts: Facts, name: str) -> dict[Any, Any]:
    fresh = Facts(DERIVATIONS, INDEXES)
    for kind in (Cluster, Host, Uplinks, Network, Block, Peer, Path, Overlay):
        for fact in facts.all(kind):
            fresh.change(kind, key_of(fact), fact)
    return derived(fresh)[name]


def key_of(fact: Any) -> str:
    match fact:
        case Path(host=host, routing=routing):
            return path_key(host, routing)
        case Block(prefix=prefix):
            return str(prefix)
        case Cluster():
            return "cluster"
        case Host(name=name) | Network(name=name):
            return name
    return "host"
