"""What the kernel answers about filters is read without I/O, and nonsense is refused."""

from __future__ import annotations

import struct
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.bpf.classifier import new_filter, new_qdisc, parse_filter
from seaway.bpf.maps import ADDRESS, NUMBER, PAIR, PREFIX
from seaway.bpf.objects import Program
from seaway.kernel.rtnl import attribute, nested

PROGRAM = Program("from_endpoint", fd=7, id=42, tag="", pin="")


def told(handle: int, options: bytes) -> bytes:
    head = struct.pack("=BxxxiIII", 0, 5, handle, 0xFFFFFFF2, 1 << 16 | 0x0300)
    return head + attribute(1, b"bpf\0") + options


def test_a_filter_tells_its_handle_and_the_id_of_its_program():
    options = nested(2, attribute(7, b"from_endpoint\0"), attribute(11, struct.pack("=I", 42)))

    assert (1, 42) == parse_filter(told(1, options))


def test_a_filter_without_a_program_has_number_zero():
    assert (0, 0) == parse_filter(told(0, b""))


@given(st.binary(max_size=80))
def test_other_bytes_are_refused_or_read_and_never_anything_else(data):
    try:
        handle, program = parse_filter(data)
    except ValueError:
        return
    assert handle >= 0
    assert program >= 0


def test_a_filter_names_device_hook_and_program():
    request = new_filter(5, "egress", PROGRAM)

    assert (5, 1, 0xFFFFFFF3) == struct.unpack_from("=iII", request.body, 4)
    assert b"from_endpoint\0" in request.body
    assert b"clsact\0" in new_qdisc(5).body


@given(st.ip_addresses())
def test_an_address_comes_back_from_a_map_as_it_went_in(address):
    mapped = address.version == 6 and address.ipv4_mapped

    assert (mapped or address) == ADDRESS.unpack(ADDRESS.pack(address))


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_prefix_comes_back_from_a_map_as_it_went_in(address, length):

    if address.version == 6 and address.ipv4_mapped:
        return
    prefix = ip_network((address, min(length, address.max_prefixlen)), strict=False)

    assert prefix == PREFIX.unpack(PREFIX.pack(prefix))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_numbers_come_back_from_a_map_as_they_went_in(one, other):
    assert one == NUMBER.unpack(NUMBER.pack(one))
    assert (one, other) == PAIR.unpack(PAIR.pack((one, other)))


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(struct.error):
        NUMBER.pack(1 << 32)
