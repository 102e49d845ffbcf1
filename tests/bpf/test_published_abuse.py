"""What must not be had by way of a published port, or of a flow that is remembered."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6DestUnreach
from scapy.packet import Packet, Raw

from cast import BERT, passed
from edge import ANY, OTHER, PROTOCOLS, PUBLIC, arrives, leaves, says

FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("kind", PROTOCOLS)
ASKING, PORT, BACKEND = 40000, 8080, 80
NOBODY = {  # that a router would carry
    4: ("127.0.0.1", "0.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.169.254", "169.254.1.1"),
    6: ("::1", "::", "ff02::1", "fe80::1"),
}


def error(family: int, head: Packet, about: Packet) -> Packet:
    told = ICMP(type=3, code=1) if family == 4 else ICMPv6DestUnreach(code=3)
    return head / told / Raw(bytes(about)[14:])


@FAMILIES
@KINDS
def test_a_client_on_the_wire_has_an_address_of_the_outside(edge, family, kind):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    for source in (*NOBODY[family], PUBLIC[family], OTHER[family]):
        frame = arrives(family, PUBLIC[family], source) / says(kind, ASKING, PORT)
        assert passed(frame) == edge.from_wire(frame)
    assert {} == edge.flows()


@FAMILIES
def test_who_tells_an_error_on_the_wire_has_an_address_of_the_outside(edge, family):
    edge.publish((ANY[family], PORT), (BERT, BACKEND))
    edge.from_wire(arrives(family, PUBLIC[family]) / says("udp", ASKING, PORT))
    answer = leaves(family, PUBLIC[family]) / says("udp", PORT, ASKING)
    for source in (*NOBODY[family], PUBLIC[family]):
        frame = error(family, arrives(family, PUBLIC[family], source), answer)
        assert passed(frame) == edge.from_wire(frame)
