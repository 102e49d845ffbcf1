"""Netlink messages: as we write them, as a kernel wrote them, and as nobody should."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import struct
import sys
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.kernel.messages import address, link, neighbour, route, sockets
from seaway.kernel.rtnl import (
    Frame,
    Request,
    _encoded,
    attribute,
    attributes,
    error_of,
    frames,
    nested,
)
from seaway.names import GATEWAY_MAC, ROUTE_PROTOCOL

RECORDED = {
    name: bytes.fromhex(text)
    for name, text in json.loads(
        (Path(__file__).parent / "recorded" / "rtnetlink.json").read_text()
    ).items()
}
PARSERS = [
    link.parse_link,
    link.parse_name,
    link.parse_master,
    address.parse_address,
    neighbour.parse_neighbour,
    route.parse_route,
    route.parse_protocol,
    route.is_default,
    sockets.parse_socket,
    attributes,
]

ports = st.integers(0, 2**31 - 1)
ipv4 = st.ip_addresses(v=4)
ipv6 = st.ip_addresses(v=6)
addresses = st.one_of(ipv4, ipv6)


def bodies(name: str, kind: int) -> list[bytes]:
    return [frame.body for frame in frames(RECORDED[name]) if frame.kind == kind]


@given(
    st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), unique_by=lambda p: p[0])
)
def test_attributes_that_were_written_are_read_again(pairs):
    data = b"".join(attribute(kind, payload) for kind, payload in pairs)

    assert dict(pairs) == attributes(data)
    assert dict(pairs) == attributes(attributes(nested(7, data))[7])


@given(st.lists(st.tuples(st.integers(16, 100), st.binary(max_size=60)), max_size=8))
def test_messages_sent_together_are_cut_apart_again(sent):
    data = b"".join(_encoded(Request(kind, 0, body), 5, 0) for kind, body in sent)

    assert sent == [(frame.kind, frame.body) for frame in frames(data)]


def _interfaces() -> st.SearchStrategy[IPv4Interface | IPv6Interface]:
    return st.one_of(
        st.builds(lambda a, n: ip_interface((a, n)), ipv4, st.integers(0, 32)),
        st.builds(lambda a, n: ip_interface((a, n)), ipv6, st.integers(0, 128)),
    )


@given(ports, _interfaces(), st.integers(0, 255))
def test_an_address_is_read_as_it_was_written(ifindex, interface, protocol):
    body = address.put_address(ifindex, interface, protocol).body

    assert address.AddressEntry(ifindex, interface, protocol) == address.parse_address(body)


@given(ports, addresses)
def test_a_neighbour_is_read_as_it_was_written(ifindex, ip):
    body = neighbour.permanent_neighbour(ifindex, ip, GATEWAY_MAC).body

    assert neighbour.NeighbourEntry(ip, GATEWAY_MAC, permanent=True) == neighbour.parse_neighbour(
        body
    )


@st.composite
def _routes(draw: st.DrawFn) -> route.RouteEntry:
    ips, longest = draw(st.sampled_from([(ipv4, 32), (ipv6, 128)]))
    dst = ip_network((draw(ips), draw(st.integers(0, longest))), strict=False)
    return route.RouteEntry(
        dst=dst,
        ifindex=draw(ports),
        gateway=draw(st.none() | ips),
        source=draw(st.none() | ips),
        type=draw(st.sampled_from([route.UNICAST, route.UNREACHABLE])),
        protocol=draw(st.integers(0, 255)),
        scope=draw(st.sampled_from([route.UNIVERSE, route.LINK])),
        table=draw(st.integers(1, 2**32 - 1)),
        priority=draw(ports),
        mtu=draw(st.integers(0, 9000)),
        advmss=draw(st.integers(0, 9000)),
    )


@given(_routes())
def test_a_route_is_read_as_it_was_written(entry):
    for request in (route.new_route(entry), route.replace_route(entry), route.delete_route(entry)):
        assert entry == route.parse_route(request.body)
        assert entry.protocol == route.parse_protocol(request.body)
        assert (entry.dst.prefixlen == 0) == route.is_default(request.body)


@given(st.text("abcz0189.-", min_size=1, max_size=15), st.integers(68, 65535))
def test_a_pair_is_read_as_it_was_written(name, mtu):
    end = link.VethEnd(name, GATEWAY_MAC, mtu, link.NOARP)
    body = link.new_veth(end, link.VethEnd("eth0", "02:00:00:00:00:01", mtu), 3).body

    assert link.LinkEntry(0, link.NOARP, name, GATEWAY_MAC, mtu, 0, "veth") == link.parse_link(body)
    assert name == link.parse_name(body)


@given(addresses, st.integers(1, 65535), ports, st.binary(min_size=12, max_size=12))
def test_a_socket_that_is_listed_is_ended_by_the_same_name(target, port, inode, rest):
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    which = b"\x1f\x90" + port.to_bytes(2, "big") + bytes(16) + target.packed.ljust(16, b"\0")
    body = struct.pack("=B3x48s16xI", family, which + rest, inode)
    expected = getattr(target, "ipv4_mapped", None) or target

    found = sockets.parse_socket(body)
    assert (expected, port, inode) == (found.target, found.port, found.inode)
    assert sockets.destroy(found).body.endswith(which + rest)


def test_links_that_the_kernel_listed_are_understood():
    lo, ours = map(link.parse_link, bodies("links of a host", link.RTM_NEWLINK))

    assert [0, 0] == [link.parse_master(b) for b in bodies("links of a host", link.RTM_NEWLINK)]
    assert ("lo", 65536, "", 0) == (lo.name, lo.mtu, lo.kind, lo.peer)
    assert ("swy0123456789a", GATEWAY_MAC, 1500, "veth") == (
        ours.name,
        ours.mac,
        ours.mtu,
        ours.kind,
    )
    assert link.UP | link.NOARP == ours.flags & (link.UP | link.NOARP)
    assert 2 == ours.peer
    assert ["lo", "swy0123456789a"] == [
        link.parse_name(body) for body in bodies("links of a host", link.RTM_NEWLINK)
    ]


def test_addresses_that_the_kernel_listed_are_understood():
    found = map(address.parse_address, bodies("addresses of a container", address.RTM_NEWADDR))
    assert {
        (1, "127.0.0.1/8"),
        (1, "::1/128"),
        (2, "10.208.0.7/32"),
        (2, "fd00::7/128"),
        (2, "fe80::ff:fe00:7/64"),
    } == {(entry.ifindex, str(entry.address)) for entry in found if entry}


def test_routes_that_the_kernel_listed_are_understood():
    found = [
        route.parse_route(body)
        for name in ("IPv4 routes of a host", "IPv6 routes of a host")
        for body in bodies(name, route.RTM_NEWROUTE)
    ]
    ours = {"protocol": ROUTE_PROTOCOL, "table": route.MAIN}
    assert [
        route.RouteEntry(ip_network("10.208.0.0/18"), type=route.UNREACHABLE, **ours),
        route.RouteEntry(ip_network("10.208.0.7/32"), ifindex=2, scope=route.LINK, **ours),
        route.RouteEntry(
            ip_network("fd00::/64"), ifindex=1, type=route.UNREACHABLE, priority=1024, **ours
        ),
    ] == found


def test_a_default_route_and_one_with_metrics_are_understood():
    listed = bodies("IPv4 routes of a container", route.RTM_NEWROUTE)
    found = {entry.dst: entry for entry in map(route.parse_route, listed) if entry}

    assert ip_address("169.254.1.1") == found[ip_network("0.0.0.0/0")].gateway
    assert 1300 == found[ip_network("192.0.2.0/24")].mtu


def test_neighbours_that_the_kernel_listed_are_understood():
    found = map(
        neighbour.parse_neighbour, bodies("neighbours of a container", neighbour.RTM_NEWNEIGH)
    )
    assert {("169.254.1.1", GATEWAY_MAC, True), ("fe80::1", GATEWAY_MAC, True)} == {
        (str(entry.address), entry.mac, entry.permanent) for entry in found if entry
    }


def test_a_refusal_is_told_with_the_kernels_own_words():
    (frame,) = frames(RECORDED["a refusal with words"])
    error = error_of(frame)

    assert error is not None
    assert errno.ERANGE == error.errno
    assert "Attribute failed policy validation" in str(error)


def test_an_acknowledgement_is_no_error():
    (frame,) = frames(RECORDED["an acknowledgement"])

    assert error_of(frame) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_value_error(data):
    _parse_all(data)


@settings(max_examples=400)
@given(st.sampled_from(sorted(RECORDED)), st.data())
def test_damaged_answers_are_understood_or_a_value_error(name, data):
    damaged = bytearray(RECORDED[name])
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    _parse_all(bytes(damaged))


def _parse_all(data: bytes) -> None:
    """Every parser, on every message and on the bytes themselves."""
    found = [Frame(0, 0x200, 0, data)]
    with contextlib.suppress(ValueError):
        found += frames(data)
    for frame in found:
        for parser in (*PARSERS, lambda _body, frame=frame: error_of(frame)):
            with contextlib.suppress(ValueError):
                parser(frame.body)


@pytest.mark.parametrize("number", [1, -4096, -(2**31)])
def test_an_error_number_that_no_kernel_gives_is_refused(number):
    with pytest.raises(ValueError, match="error number"):
        error_of(Frame(2, 0, 0, number.to_bytes(4, sys.byteorder, signed=True)))


@pytest.mark.parametrize("size", [0, 1, 3])
def test_an_attribute_that_claims_less_than_its_head_is_refused(size):
    with pytest.raises(ValueError, match=f"claims {size} of"):
        attributes(bytes([size, 0, 1, 0, 0, 0, 0, 0]))


@pytest.mark.parametrize("size", [0, 15])
def test_a_message_that_claims_less_than_its_head_is_refused(size):
    with pytest.raises(ValueError, match=f"claims {size} of"):
        list(frames(bytes([size]) + bytes(31)))
