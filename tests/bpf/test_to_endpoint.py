"""What the host's stack delivers: to whom, and in whose name."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from cast import (
    ANNA,
    ANNA2,
    BERT,
    CARL,
    HOST,
    OLGA,
    UNKNOWN,
    WORLD,
    Outcome,
    World,
    datagram,
    dropped,
    ip,
    segment,
)
from seaway.bpf import abi
from seaway.names import GATEWAY_MAC

FAMILIES = pytest.mark.parametrize("family", [4, 6])
UPLINK = 50


def routed(family: int, src: str, dst: str = "") -> Packet:
    """As the stack gives it to a device without ARP: both MACs are the device's."""
    frame = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC)
    return frame / ip(family, src, dst or ANNA.address(family)) / datagram()


def down(world: World, frame: Packet | bytes, came_by: int = 0) -> Outcome:
    return world.send(frame, program="to_endpoint", ingress_ifindex=came_by)


def delivered(frame: Packet) -> Outcome:
    expected = frame.copy()
    expected.dst = ANNA.mac
    return Outcome("host", bytes(expected), {})


@FAMILIES
def test_the_host_and_the_world_reach_an_endpoint(world, family):
    for source, came_by in ((HOST[family], 0), (WORLD[family], UPLINK), (WORLD[family], 0)):
        frame = routed(family, source)
        assert delivered(frame) == down(world, frame, came_by)


@FAMILIES
def test_an_endpoint_is_delivered_to_when_its_packet_came_by_its_device(world, family):
    frame = routed(family, BERT.address(family))

    assert delivered(frame) == down(world, frame, BERT.record.ifindex)
    for other in (0, UPLINK, CARL.record.ifindex):
        assert dropped("spoofed_address") == down(world, frame, other)


@FAMILIES
def test_a_packet_may_come_by_another_interface_of_the_same_container(world, family):
    world.enter(ANNA, flags=abi.ENDPOINT_OPEN)
    world.enter(OLGA, container=BERT.record.container)
    frame = routed(family, OLGA.address(family))

    assert delivered(frame) == down(world, frame, BERT.record.ifindex)
    assert dropped("spoofed_address") == down(world, frame, CARL.record.ifindex)


@FAMILIES
def test_isolation_holds_for_what_the_stack_delivers(world, family):
    for other in (CARL, OLGA):
        frame = routed(family, other.address(family))
        assert dropped("isolated") == down(world, frame, other.record.ifindex)
    world.connect(1, 3)
    frame = routed(family, CARL.address(family))
    assert delivered(frame) == down(world, frame, CARL.record.ifindex)


@FAMILIES
def test_an_unknown_address_of_ours_is_spoofed(world, family):
    assert dropped("spoofed_address") == down(world, routed(family, UNKNOWN[family]), UPLINK)
    assert dropped("spoofed_address") == down(world, routed(family, UNKNOWN[family]))


@FAMILIES
def test_what_is_for_somebody_else_is_not_delivered(world, family):
    destinations = (BERT, ANNA2, CARL)
    for dst in (*(a.address(family) for a in destinations), UNKNOWN[family], WORLD[family]):
        assert dropped("not_here") == down(world, routed(family, HOST[family], dst))


@pytest.mark.parametrize("dst", ["224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1"])
def test_groups_of_the_link_are_not_delivered(world, dst):
    family = 6 if ":" in dst else 4

    assert dropped("not_here") == down(world, routed(family, HOST[family], dst))


def test_what_is_no_ip_is_not_delivered(world):
    arp = Ether(src=GATEWAY_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=ANNA.v4)
    other = Ether(src=GATEWAY_MAC, dst=ANNA.mac, type=0x88CC) / Raw(b"x" * 60)

    assert dropped("protocol") == down(world, arp)
    assert dropped("protocol") == down(world, other)


@FAMILIES
def test_broken_packets_are_not_delivered(world, family):
    frame = bytes(routed(family, HOST[family]))
    shortest = 34 if family == 4 else 54
    for length in range(shortest, len(frame)):
        assert dropped("truncated") == down(world, frame[:length])


@FAMILIES
def test_size_and_ttl_are_the_business_of_the_stack(world, family):
    frame = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC)
    frame /= ip(family, WORLD[family], ANNA.address(family), ttl=1) / segment(1600)

    assert delivered(frame) == down(world, frame, UPLINK)
