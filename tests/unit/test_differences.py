"""What `seaway status` says of a drift."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from seaway.bpf import abi
from seaway.model.addresses import mapped
from seaway.model.differences import differing, named
from seaway.model.kernel import Accept, Link, Route

MAC = "02:00:00:00:00:01"
LINK = Link("swy1", MAC, 1500)
RECORD = abi.Endpoint(7, 9, 1, 256, 0, 1500, bytes.fromhex("020000000001"))


@pytest.mark.parametrize(
    ("found", "expected", "told"),
    [
        (LINK, Link("swy1", MAC, 1300), ("mtu 1500", "mtu 1300")),
        (LINK, Link("swy1", MAC, 1500, arp=True), ("arp no", "arp yes")),
        (None, LINK, ("missing", f"name swy1, mac {MAC}, mtu 1500, arp no")),
        (Accept(("-i swy+", "-o swy+")), None, ("rules -i swy+, -o swy+", "nothing")),
        (3, 4, ("3", "4")),
        (abi.LinkNumber(7, 1), abi.LinkNumber(8, 1), ("number (secret)", "number (secret)")),
        (None, abi.LinkNumber(8, 1), ("missing", "number (secret), to 1")),
        ("ours", None, ("ours", "nothing")),
        (
            RECORD,
            abi.Endpoint(7, 10, 1, 256, 0, 1500, bytes.fromhex("020000000002")),
            ("ifindex 9, mac 02:00:00:00:00:01", "ifindex 10, mac 02:00:00:00:00:02"),
        ),
        (
            Route(ip_network("10.1.0.0/16"), "swy1", ip_address("10.0.0.1")),
            Route(ip_network("10.1.0.0/16"), ""),
            ("device swy1, source 10.0.0.1", "device none, source none"),
        ),
    ],
)
def test_only_what_differs_is_told(found, expected, told):
    assert told == differing(found, expected)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (("swy1", "ingress"), "swy1 ingress"),
        (ip_network("10.1.0.0/16"), "10.1.0.0/16"),
        (
            abi.PortKey(mapped(ip_address("192.0.2.1")), b"\x1f\x90", 6),
            "addr 192.0.2.1, port 8080, protocol 6",
        ),
    ],
)
def test_a_key_is_told_in_words(key, told):
    assert told == named(key)
