"""Frames of random clients: valid each by itself, though written as columns."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from seaway.bench.clients import BATCH, NETWORKS, Clients
from seaway.bench.frames import End, checksum, frame

OWN, SERVERS = bytes(range(6)), bytes(range(6, 12))
SERVER = {4: "198.18.0.11", 6: "fd53:5759::11"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def batch(family: int) -> list[bytes]:
    clients = Clients(OWN, End(SERVERS, ip_address(SERVER[family]), 11114))
    clients.draw()
    size = clients.size
    return [bytes(clients.frames[n * size : (n + 1) * size]) for n in range(BATCH)]


def summed_anew(packet: Packet) -> bytes:
    for layer in (IP, UDP):
        if layer in packet:
            del packet[layer].chksum
    return bytes(packet)


@FAMILIES
def test_every_frame_has_fitting_checksums(family):
    for sent in batch(family):
        assert summed_anew(Ether(sent)) == sent


@FAMILIES
def test_every_frame_is_of_another_client_to_the_same_server(family):
    layer = IP if family == 4 else IPv6
    frames = [Ether(sent) for sent in batch(family)]

    assert {SERVER[family]} == {packet[layer].dst for packet in frames}
    assert {11114} == {packet[UDP].dport for packet in frames}
    assert all(ip_address(packet[layer].src) in NETWORKS[family] for packet in frames)
    assert BATCH - 2 < len({(packet[layer].src, packet[UDP].sport) for packet in frames})
    assert 16384 <= min(packet[UDP].sport for packet in frames)


@FAMILIES
def test_one_batch_is_not_like_the_next(family):
    clients = Clients(OWN, End(SERVERS, ip_address(SERVER[family]), 11114))
    clients.draw()
    first = bytes(clients.frames)
    clients.draw()

    assert first != bytes(clients.frames)


@FAMILIES
def test_a_single_frame_is_what_scapy_makes_of_it(family):
    addresses = [ip_address(f"{SERVER[family]}{n}") for n in (1, 2)]
    source, target = (End(mac, a, 7) for mac, a in zip((OWN, SERVERS), addresses, strict=True))
    sent = frame(source, target)

    assert summed_anew(Ether(sent)) == sent
    assert SERVERS + OWN == sent[:12]


def test_the_checksum_of_data_with_its_checksum_is_zero():
    data = bytes(range(40))

    assert 0 == checksum(data + checksum(data).to_bytes(2))
