"""Which network namespaces may ask services."""

from __future__ import annotations

from ipaddress import ip_interface

from seaway.bpf import abi
from seaway.bpf.maps import CODECS
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.desired.network.endpoints import container_number
from seaway.facts import Facts
from seaway.model.facts import Endpoint


def endpoint(id_: str, cookie: int, container: str = "c") -> Endpoint:
    return Endpoint(
        id=id_,
        name=id_,
        container=container,
        interface=f"eth{id_}",
        host="h",
        network="default",
        netns="/run/netns/x",
        netns_inode=7,
        netns_cookie=cookie,
        addresses=(ip_interface("10.208.0.1/32"),),
        mac="02:00:00:00:00:01",
        mtu=1500,
    )


def clients(facts: Facts) -> dict[object, object]:
    return dict(facts.derive().get("clients", {}))


def test_each_namespace_of_an_endpoint_is_a_client_until_its_last_endpoint_goes() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    first, second, third = endpoint("a", 77), endpoint("b", 77), endpoint("c", 78, "other")
    for known in (first, second, third):
        facts.change(Endpoint, known.id, known)
    half = 1 << 32
    expected = {
        77: abi.Client(container_number(first) % half),
        78: abi.Client(container_number(third) % half),
    }
    assert expected == clients(facts)

    facts.change(Endpoint, "a", None)
    assert clients(facts).get(77) in {None, expected[77]}
    facts.change(Endpoint, "b", None)
    assert {77: None} == clients(facts)


def test_an_endpoint_whose_cookie_is_not_known_is_none() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    facts.change(Endpoint, "a", endpoint("a", 0))
    assert {} == clients(facts)


def test_a_cookie_may_have_all_its_bits() -> None:
    key, _ = CODECS["clients"]
    assert (1 << 64) - 1 == key.unpack(key.pack((1 << 64) - 1))
