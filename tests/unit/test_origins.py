"""What answers whose flow is forgotten look like, where services lead to the port."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace
from tests.unit.test_services import VIP, VIP6, endpoint, learn, service

from seaway.bpf import abi
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.facts import Facts
from seaway.model.addresses import unmapped
from seaway.model.facts import Host, Network, Peer, Uplinks
from seaway.model.publications import parse_mapping
from seaway.model.services import EndpointSlice, ServicePort, SliceEndpoint, SlicePort

ONE, TWO = "192.0.2.1", "192.0.2.2"
HTTP = ServicePort(port=80, target=8080, node_port=30080)
SEVERAL = ":: 0"
E = "10.0.0.1"


def facts_of(*known, here=(ONE, "2001:db8::1"), masquerade=True):
    facts = Facts(DERIVATIONS, INDEXES)
    subnets = ip_network("10.0.0.0/24"), ip_network("fd00::/64")
    learn(facts, Host(name="h", addresses=()))
    learn(facts, Network(name="n", number=1, subnets=subnets, masquerade=masquerade))
    facts.change(Uplinks, "host", Uplinks(ipv6=True, addresses=frozenset(map(ip_address, here))))
    learn(facts, *known)
    return facts


def origins(facts):
    """In words, by the backend's port."""
    found = facts.derive().get("origins", {})
    return {
        f"{unmapped(key.addr)} {port(key.port)}/{key.protocol}": said(origin)
        for of in found.values()
        for key, origin in of or ()
    }


def port(octets):
    return int.from_bytes(octets, "big")


def said(origin: abi.Origin):
    return f"{unmapped(origin.addr)} {port(origin.port)}"


@pytest.mark.parametrize(
    ("how", "here", "expected"),
    [
        ({}, (ONE,), {f"{E} 8080/6": f"{ONE} 30080"}),
        ({}, (ONE, TWO), {f"{E} 8080/6": SEVERAL}),
        ({}, ("2001:db8::1",), {f"{E} 8080/6": SEVERAL}),
        (
            {"addresses": (VIP, VIP6)},
            (ONE, "2001:db8::1"),
            {f"{E} 8080/6": f"{ONE} 30080", "fd00::1 8080/6": "2001:db8::1 30080"},
        ),
        ({"ports": (ServicePort(port=80, target=8080),)}, (ONE,), {}),
        ({"ports": (replace(HTTP, protocol="udp"),)}, (ONE,), {f"{E} 8080/17": f"{ONE} 30080"}),
        ({"ports": (replace(HTTP, target="web"),)}, (ONE,), {f"{E} 7000/6": f"{ONE} 30080"}),
        ({"ports": (replace(HTTP, target="other"),)}, (ONE,), {}),
        (
            {"ports": (replace(HTTP, name="a"), replace(HTTP, name="b", port=81, node_port=30081))},
            (ONE,),
            {f"{E} 8080/6": SEVERAL},
        ),
        ({"selector": {"app": "other"}}, (ONE,), {}),
    ],
)
def test_a_port_that_one_port_of_hosts_leads_to_answers_as_that(how, here, expected):
    given = {"ports": (HTTP,)} | how
    backend = endpoint(1, port_names={"web": 7000})
    assert expected == origins(facts_of(backend, service(**given), here=here))


@pytest.mark.parametrize(("policy", "expected"), [("Local", f"{ONE} 30080"), ("Cluster", SEVERAL)])
def test_where_other_hosts_lead_there_too_nothing_tells_which_was_asked(policy, expected):
    other = Peer(name="far", number=2, addresses=())
    asked = service(ports=(HTTP,), external_policy=policy)
    facts = facts_of(endpoint(1), asked, other, here=(ONE,))
    assert {f"{E} 8080/6": expected} == origins(facts)


def test_it_changes_with_the_hosts_of_the_cluster_the_service_and_the_endpoint():
    other = Peer(name="far", number=2, addresses=())
    facts = facts_of(endpoint(1), service(ports=(HTTP,)), here=(ONE,))
    assert {f"{E} 8080/6": f"{ONE} 30080"} == origins(facts)
    learn(facts, other)
    assert {f"{E} 8080/6": SEVERAL} == origins(facts)
    facts.change(Peer, "far", None)
    learn(facts, service(ports=(replace(HTTP, node_port=30081),)))
    assert {f"{E} 8080/6": f"{ONE} 30081"} == origins(facts)
    learn(facts, endpoint(1, labels={}))
    assert {} == origins(facts)


def test_a_port_of_the_endpoint_and_one_of_a_service_are_several():
    ports = parse_mapping("9090:8080")
    backend = endpoint(1, ports=tuple(ports))
    facts = facts_of(backend, service(ports=(HTTP,)), here=(ONE,))
    assert {f"{E} 8080/6": SEVERAL, "fd00::1 8080/6": SEVERAL} == origins(facts)
    assert {f"{E} 8080/6": f"{ONE} 9090", "fd00::1 8080/6": SEVERAL} == origins(
        facts_of(backend, here=(ONE,))
    )


def test_two_services_of_one_backend_are_several():
    both = (
        service(ports=(HTTP,)),
        replace(
            service(ports=(replace(HTTP, node_port=30081),), addresses=(ip_address("10.223.0.8"),)),
            name="other",
        ),
    )
    assert {f"{E} 8080/6": SEVERAL} == origins(facts_of(endpoint(1), *both, here=(ONE,)))


def test_a_backend_that_a_slice_names_answers_alike():
    named = EndpointSlice(
        name="s",
        network="n",
        service="web",
        family=4,
        ports=(SlicePort(port=9000),),
        endpoints=(SliceEndpoint(addresses=(ip_address(E),)),),
    )
    asked = service(selector={}, ports=(HTTP,))
    assert {f"{E} 9000/6": f"{ONE} 30080"} == origins(
        facts_of(endpoint(1), asked, named, here=(ONE,))
    )


def test_a_network_that_does_not_masquerade_may_be_spoken_to_directly():
    facts = facts_of(endpoint(1), service(ports=(HTTP,)), masquerade=False)
    assert {} == origins(facts)
