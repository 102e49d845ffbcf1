"""Published ports: read, checked, and what they put into the maps."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from seaway.bpf import abi
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.errors import Invalid, Unsupported
from seaway.facts import Facts
from seaway.model import codec
from seaway.model.addresses import mapped, unmapped
from seaway.model.facts import Attached, Endpoint, Host, Network, Publication, Uplinks
from seaway.model.publications import PORT_MOST, in_ranges, parse_mapping


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", ["8080:80/tcp"]),
        ("53:5353/udp", ["53:5353/udp"]),
        ("53:5353/UDP", ["53:5353/udp"]),
        ("192.0.2.1:8080:80", ["192.0.2.1:8080:80/tcp"]),
        ("0.0.0.0:1:65535", ["0.0.0.0:1:65535/tcp"]),
        ("[::1]:8080:80/tcp", ["[::1]:8080:80/tcp"]),
        ("[::ffff:192.0.2.1]:8080:80", ["192.0.2.1:8080:80/tcp"]),
        ("8000-8002:80-82", ["8000:80/tcp", "8001:81/tcp", "8002:82/tcp"]),
        ("[::]:7-8:7-8/udp", ["[::]:7:7/udp", "[::]:8:8/udp"]),
        ("7-7:8", ["7:8/tcp"]),
    ],
)
def test_a_mapping_is_read_as_one_publication_for_each_port(text: str, expected: list[str]) -> None:
    assert expected == [str(port) for port in parse_mapping(text)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' is no port mapping (expected [HOSTIP:]HOSTPORT"),
        ("80", "'80' is no port mapping"),
        ("80:", "'80:' is no port mapping"),
        (":80", "':80' is no port mapping"),
        ("::1:80:80", "'::1:80:80' is no port mapping"),
        ("80:80:80:80", "'80:80:80:80' is no port mapping"),
        ("80:80/", "'80:80/' is no port mapping"),
        ("-1:80", "'-1:80' is no port mapping"),
        ("80:+80", "'80:+80' is no port mapping"),
        ("٨٠:80", "'٨٠:80' is no port mapping"),  # digits that the kernel does not know
        ("80:80\n", "'80:80\n' is no port mapping"),
        ("1-2-3:80", "'1-2-3:80' is no port mapping"),
        ("0:80", "port 0 of '0:80' is out of range (expected 1 to 65535)"),
        ("80:65536", "port 65536 of '80:65536' is out of range"),
        ("65530-65540:1-11", "port 65540 of"),
        ("9-8:1-2", "the range 9-8 of '9-8:1-2' is reversed (expected the lower port first)"),
        ("1-2:9-8", "the range 9-8 of"),
        ("1-3:1-2", "the ranges of '1-3:1-2' are of 3 and 2 ports (expected as many ports of"),
        ("1-2:1", "the ranges of '1-2:1' are of 2 and 1 ports"),
        ("80:80/icmp", "'icmp' is no protocol of ports (expected tcp or udp)"),
        ("here:80:80", "'here' is no IP address"),
        ("[192.0.2]:80:80", "'192.0.2' is no IP address"),
    ],
)
def test_a_bad_mapping_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_mapping(text)
    assert str(caught.value).startswith(told)


def test_sctp_is_refused_with_the_reason() -> None:
    with pytest.raises(Unsupported, match="the data plane does not translate"):
        parse_mapping("80:80/sctp")


ports = st.builds(
    Publication,
    host_port=st.integers(1, PORT_MOST),
    container_port=st.integers(1, PORT_MOST),
    protocol=st.sampled_from(("tcp", "udp")),
    host_ip=st.one_of(
        st.none(),
        st.ip_addresses(v=4),
        st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None),
    ),
)


@given(st.frozensets(ports, max_size=20))
def test_what_is_listed_in_ranges_is_read_again_as_the_same(had: frozenset[Publication]) -> None:
    read = [port for text in in_ranges(had) for port in parse_mapping(text)]

    assert sorted(had, key=str) == sorted(read, key=str)


def test_neighbours_are_listed_as_one_range() -> None:
    had = [*parse_mapping("8000-8999:80-1079"), *parse_mapping("9000:80"), *parse_mapping("1:2")]

    assert ["1:2/tcp", "8000-8999:80-1079/tcp", "9000:80/tcp"] == in_ranges(reversed(had))


def test_an_endpoint_that_was_recorded_before_there_were_ports_has_none() -> None:
    recorded = codec.to_builtins(ENDPOINT)
    del recorded["ports"]

    assert ENDPOINT == codec.from_builtins(recorded, Endpoint)


# ── What stands in the maps ──

ENDPOINT = Endpoint(
    id="0" * 16,
    name="web",
    container="c",
    interface="eth0",
    host="h",
    network="default",
    netns="/run/netns/web",
    netns_inode=1,
    addresses=(ip_interface("10.208.0.1/32"), ip_interface("fd00::1/128")),
    mac="02:00:00:00:00:01",
    mtu=1500,
)
HERE = ("192.0.2.1", "2001:db8::1")  # by which others know it


def publishing(*mappings: str, **fields: Any) -> Endpoint:
    found = tuple(port for text in mappings for port in parse_mapping(text))
    return replace(ENDPOINT, ports=found, **fields)


def derived(
    *endpoints: Endpoint, here: tuple[str, ...] = HERE, masquerade: bool = True
) -> dict[str, dict[Any, Any]]:
    facts = Facts(DERIVATIONS, INDEXES)
    subnets = ip_network("10.208.0.0/18"), ip_network("fd00::/64")
    default = Network(name="default", number=1, subnets=subnets, masquerade=masquerade)
    facts.change(Network, "default", default)
    facts.change(Host, "h", Host(name="h", addresses=(ip_address("10.222.0.1"),)))
    found = Uplinks(ipv6=True, addresses=frozenset(map(ip_address, here)))
    facts.change(Uplinks, "host", found)
    for endpoint in endpoints:
        facts.change(Endpoint, endpoint.id, endpoint)
        facts.change(Attached, endpoint.id, Attached(endpoint=endpoint.id, ifindex=7))
    everything = facts.derive()
    return {n: {k: v for k, v in of.items() if v is not None} for n, of in everything.items()}


def place(addr: bytes, port: bytes) -> str:
    return f"{unmapped(addr)} {int.from_bytes(port, 'big')}"


def publications(found: dict[str, dict[Any, Any]]) -> dict[str, str]:
    """In words: `sole` where an answer shows without a flow where it comes from."""
    return {
        f"{place(k.addr, k.port)}/{k.protocol}": place(v.backend, v.port)
        + (" sole" if v.flags & abi.PUBLICATION_SOLE else "")
        for k, v in found.get("publications", {}).items()
    }


def origins(found: dict[str, dict[Any, Any]]) -> dict[str, str]:
    return {
        f"{place(k.addr, k.port)}/{k.protocol}": place(v.addr, v.port)
        for of in found.get("origins", {}).values()
        for k, v in of
    }


BACKEND4, BACKEND6 = "10.208.0.1 80", "fd00::1 80"
UNCERTAIN = ":: 0"


@pytest.mark.parametrize(
    ("mappings", "leads", "from_"),
    [
        (
            ["8080:80"],
            {"0.0.0.0 8080/6": f"{BACKEND4} sole", ":: 8080/6": f"{BACKEND6} sole"},
            {f"{BACKEND4}/6": "192.0.2.1 8080", f"{BACKEND6}/6": "2001:db8::1 8080"},
        ),
        (
            ["0.0.0.0:8080:80/udp"],
            {"0.0.0.0 8080/17": f"{BACKEND4} sole"},
            {f"{BACKEND4}/17": "192.0.2.1 8080"},
        ),
        (["[::]:1:80"], {":: 1/6": f"{BACKEND6} sole"}, {f"{BACKEND6}/6": "2001:db8::1 1"}),
        (
            ["192.0.2.1:8080:80"],
            {"192.0.2.1 8080/6": f"{BACKEND4} sole"},
            {f"{BACKEND4}/6": "192.0.2.1 8080"},
        ),
        (
            ["127.0.0.1:8080:80"],
            {"127.0.0.1 8080/6": BACKEND4},
            {f"{BACKEND4}/6": UNCERTAIN},
        ),
        (
            ["192.0.2.1:8080:80", "192.0.2.1:8081:80"],
            {"192.0.2.1 8080/6": BACKEND4, "192.0.2.1 8081/6": BACKEND4},
            {f"{BACKEND4}/6": UNCERTAIN},
        ),
        (
            ["8080:80", "[::1]:8081:80"],
            {
                "0.0.0.0 8080/6": f"{BACKEND4} sole",
                ":: 8080/6": BACKEND6,
                "::1 8081/6": BACKEND6,
            },
            {f"{BACKEND4}/6": "192.0.2.1 8080", f"{BACKEND6}/6": UNCERTAIN},
        ),
        (
            ["192.0.2.1:8080:80", "192.0.2.1:8080:80/udp"],
            {"192.0.2.1 8080/6": f"{BACKEND4} sole", "192.0.2.1 8080/17": f"{BACKEND4} sole"},
            {f"{BACKEND4}/6": "192.0.2.1 8080", f"{BACKEND4}/17": "192.0.2.1 8080"},
        ),
    ],
)
def test_a_published_port_leads_to_its_backend_and_its_answers_back(
    mappings: list[str], leads: dict[str, str], from_: dict[str, str]
) -> None:
    found = derived(publishing(*mappings))

    assert leads == publications(found)
    assert from_ == origins(found)


def test_the_keys_are_those_of_the_programs() -> None:
    found = derived(publishing("8080:80"))["publications"]

    assert {
        abi.PortKey(b"\0" * 10 + b"\xff\xff" + b"\0" * 4, b"\x1f\x90", 6),
        abi.PortKey(b"\0" * 16, b"\x1f\x90", 6),
    } == found.keys()


def test_an_endpoint_of_one_family_publishes_in_that_one() -> None:
    only4 = publishing("8080:80", addresses=ENDPOINT.addresses[:1])

    assert {"0.0.0.0 8080/6": f"{BACKEND4} sole"} == publications(derived(only4))


@pytest.mark.parametrize(
    ("here", "expected"),
    [
        (("2001:db8::1",), UNCERTAIN),
        (("192.0.2.1", "2001:db8::1", "2001:db8::2"), "192.0.2.1 8080"),
        (("192.0.2.1", "192.0.2.2"), UNCERTAIN),
    ],
)
def test_the_answers_address_is_certain_where_the_host_has_one_alone(
    here: tuple[str, ...], expected: str
) -> None:
    found = derived(publishing("0.0.0.0:8080:80"), here=here)

    assert {f"{BACKEND4}/6": expected} == origins(found)


def test_ports_of_a_network_that_does_not_masquerade_may_be_spoken_to_directly() -> None:
    found = derived(publishing("8080:80"), masquerade=False)

    assert 2 == len(publications(found))
    assert {} == origins(found)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [(publishing("8080:80"), abi.ENDPOINT_PUBLISHED), (ENDPOINT, 0)],
    ids=["published", "not published"],
)
def test_an_endpoint_with_ports_is_marked_so(endpoint: Endpoint, expected: int) -> None:
    found = derived(endpoint)

    for records in (found["endpoints"], found["interfaces"]):
        assert {expected} == {record.flags for record in records.values()}


def test_a_key_is_told_as_people_write_it() -> None:
    key = abi.PortKey(mapped(ip_address("192.0.2.1")), b"\x1f\x90", 6)

    assert "192.0.2.1 port 8080 protocol 6" == str(key)
