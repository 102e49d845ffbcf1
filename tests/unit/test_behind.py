"""Endpoints behind published ports of services: known by a flag, and by the ports that other hosts
may ask, as long as connections may go on.
"""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.test_node_ports import DNS, WEB, exposed
from tests.unit.test_node_ports_derived import THERE
from tests.unit.test_services import (
    VIP,
    endpoint,
    learn,
    service,
)

from seaway.bpf import abi
from seaway.desired.indexes import INDEXES
from seaway.desired.network.endpoints import ENDPOINTS
from seaway.desired.transport.node_ports import BEHIND
from seaway.draining import Lingering
from seaway.facts import Facts
from seaway.model.facts import (
    Attached,
    Host,
    Network,
)
from seaway.model.services import (
    EndpointSlice,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)

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
