"""Results of every CNI version: what each may hold, and conversion from any to any."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.doors.cni_result import (
    SUPPORTED,
    Dns,
    Ip,
    Link,
    Result,
    Route,
    at_least,
    merged,
    parse_result,
    render_error,
    render_result,
    render_versions,
)
from seaway.errors import Conflict, SeawayError, Undecodable

WHOLE = Result(
    links=(
        Link(name="swy0123456789a", mac="02:53:57:59:00:01", mtu=1500),
        Link(
            name="eth0",
            mac="02:53:0a:d0:00:01",
            mtu=1500,
            sandbox="/run/netns/c",
            socket_path="/run/s",
            pci_id="0000:01:00.0",
        ),
    ),
    ips=(
        Ip(address=ip_interface("10.1.0.5/32"), gateway=ip_address("169.254.1.1"), link=1),
        Ip(address=ip_interface("fd00::5/128"), link=1),
    ),
    routes=(
        Route(dst=ip_network("0.0.0.0/0"), gw=ip_address("169.254.1.1")),
        Route(
            dst=ip_network("fd00:1::/64"), mtu=1400, advmss=1300, priority=10, table=0, scope=253
        ),
    ),
    dns=Dns(nameservers=("10.1.0.2",), domain="d", search=("s",), options=("ndots:1",)),
)


def rendered(result: Result, version: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(render_result(result, version))
    return told


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_version_tells_its_own_number_links_addresses_routes_and_dns(version: str) -> None:
    told = rendered(WHOLE, version)

    assert version == told["cniVersion"]
    assert ["swy0123456789a", "eth0"] == [i["name"] for i in told["interfaces"]]
    assert "sandbox" not in told["interfaces"][0]
    assert "/run/netns/c" == told["interfaces"][1]["sandbox"]
    assert ["10.1.0.5/32", "fd00::5/128"] == [ip["address"] for ip in told["ips"]]
    assert ["169.254.1.1", None] == [ip.get("gateway") for ip in told["ips"]]
    assert [1, 1] == [ip["interface"] for ip in told["ips"]]
    assert {"dst": "0.0.0.0/0", "gw": "169.254.1.1"} == told["routes"][0]
    assert {
        "nameservers": ["10.1.0.2"],
        "domain": "d",
        "search": ["s"],
        "options": ["ndots:1"],
    } == told["dns"]


@pytest.mark.parametrize("version", SUPPORTED)
def test_only_0_x_names_the_family_of_an_address(version: str) -> None:
    expected = ["4", "6"] if version.startswith("0.") else [None, None]
    assert expected == [ip.get("version") for ip in rendered(WHOLE, version)["ips"]]


@pytest.mark.parametrize("version", SUPPORTED)
def test_only_1_1_knows_mtu_socket_pci_and_the_finer_points_of_routes(version: str) -> None:
    told = rendered(WHOLE, version)
    link = {k: v for k, v in told["interfaces"][1].items() if k not in ("name", "mac", "sandbox")}
    route = {k: v for k, v in told["routes"][1].items() if k != "dst"}

    if version == "1.1.0":
        assert {"mtu": 1500, "socketPath": "/run/s", "pciID": "0000:01:00.0"} == link
        fine = {"mtu": 1400, "advmss": 1300, "priority": 10, "table": 0, "scope": 253}
        assert fine == route
    else:
        assert {} == link
        assert {} == route


@pytest.mark.parametrize("version", SUPPORTED)
def test_an_empty_result_has_nothing_but_its_version(version: str) -> None:
    assert {"cniVersion": version} == rendered(Result(), version)


def stripped(result: Result, version: str) -> Result:
    """What is left of a result that only has what every version knows."""
    if at_least(version, "1.1.0"):
        return result
    links = tuple(Link(name=n.name, mac=n.mac, sandbox=n.sandbox) for n in result.links)
    routes = tuple(Route(dst=r.dst, gw=r.gw) for r in result.routes)
    return Result(links=links, ips=result.ips, routes=routes, dns=result.dns)


words = st.text("abcdef.:-", max_size=8)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
numbers = st.integers(0, 2**31 - 1)
links = st.lists(
    st.builds(
        Link,
        name=words,
        mac=words,
        mtu=numbers,
        sandbox=words,
        socket_path=words,
        pci_id=words,
    ),
    min_size=1,
    max_size=3,
).map(tuple)
interfaces = st.builds(ip_interface, addresses)
networks = st.builds(
    lambda a, n: ip_network((a, min(n, a.max_prefixlen)), strict=False),
    addresses,
    st.integers(0, 128),
)
ips = st.builds(Ip, address=interfaces, gateway=st.none() | addresses, link=st.none() | st.just(0))
routes = st.builds(
    Route,
    dst=networks,
    gw=st.none() | addresses,
    mtu=numbers,
    advmss=numbers,
    priority=numbers,
    table=st.none() | numbers,
    scope=st.none() | st.integers(0, 255),
)
lists = st.lists(words, max_size=2).map(tuple)
dns = st.builds(Dns, nameservers=lists, domain=words, search=lists, options=lists)
results = st.builds(
    Result,
    links=links,
    ips=st.lists(ips, max_size=3).map(tuple),
    routes=st.lists(routes, max_size=3).map(tuple),
    dns=dns,
)


@given(results, st.sampled_from(SUPPORTED))
def test_what_is_rendered_parses_to_what_that_version_can_say(result: Result, version: str) -> None:
    assert stripped(result, version) == parse_result(rendered(result, version))


@given(results, st.sampled_from(SUPPORTED), st.sampled_from(SUPPORTED))
def test_a_result_of_any_version_converts_to_any_other(result: Result, one: str, two: str) -> None:
    there = parse_result(rendered(result, one))
    expected = rendered(stripped(stripped(result, one), two), two)
    assert expected == rendered(there, two)


@pytest.mark.parametrize("version", ["0.3.0", *SUPPORTED])
def test_null_and_unknown_keys_of_others_are_no_error(version: str) -> None:
    told = {"cniVersion": version, "interfaces": None, "ips": [], "dns": None, "theirs": 1}
    assert Result() == parse_result(told)


@pytest.mark.parametrize(
    "raw",
    [
        {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/24"}},
        {"cniVersion": "2.0.0"},
        {"ips": "10.0.0.1"},
        {"ips": [{"address": "10.0.0.x/24"}]},
        {"ips": [{"address": "10.0.0.1/33"}]},
        {"ips": [{"address": "10.0.0.1/24", "interface": 3}]},
        {"ips": [{"address": "10.0.0.1/24", "interface": -1}]},
        {"ips": [{"address": "10.0.0.1/24", "gateway": "x"}]},
        {"routes": [{"dst": "anywhere"}]},
        {"routes": [{"gw": "10.0.0.1"}]},
        {"interfaces": [{"mtu": "1500"}]},
        [],
        "result",
    ],
)
def test_a_malformed_result_is_refused_by_name(raw: object) -> None:
    with pytest.raises(SeawayError):
        parse_result(raw)


def test_a_route_may_be_written_with_host_bits() -> None:
    result = parse_result({"routes": [{"dst": "10.1.2.3/8"}]})
    assert ip_network("10.0.0.0/8") == result.routes[0].dst


def test_a_chain_keeps_what_came_before_and_points_at_its_own_links() -> None:
    before = Result(
        links=(Link(name="dummy0", sandbox="/run/netns/c"),),
        ips=(Ip(address=ip_interface("192.0.2.1/24"), link=0),),
        dns=Dns(domain="before"),
    )

    whole = merged(before, WHOLE)

    assert ["dummy0", "swy0123456789a", "eth0"] == [link.name for link in whole.links]
    assert [0, 2, 2] == [ip.link for ip in whole.ips]
    assert "d" == whole.dns.domain
    assert "before" == merged(before, Result()).dns.domain
    assert before == merged(before, Result())


@pytest.mark.parametrize("version", SUPPORTED)
def test_an_error_has_its_code_and_what_to_do(version: str) -> None:
    told = json.loads(render_error(Conflict("it is there", "remove it"), version))
    expected = {"cniVersion": version, "code": 101, "msg": "it is there", "details": "remove it"}
    assert expected == told


def test_versions_are_those_of_the_specification() -> None:
    told = json.loads(render_versions("1.0.0"))
    expected = {"cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}
    assert expected == told


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(Undecodable):
        parse_result({"cniVersion": "x"})
