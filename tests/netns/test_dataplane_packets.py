"""Real packets between containers: what sockets see of the data plane, offloads on.

    ┌── anna ──┐      ┌── stage ──┐      ┌── bert ──┐
    │     eth0 ┼─veth─┼ swy1 swy2 ┼─veth─┼ eth0     │      mtu 1500
    └──────────┘      │      swy3 ┼─veth─┼ eth0     │      small: mtu 1300
                      └───────────┘      └──────────┘
Every test runs with the programs as filters (cls_bpf), as links (tcx), and moved from the one
to the other (auto, promoted).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from dataplane import HOST, Container, Host, hosts
from namespaces import namespaces
from seaway.names import GATEWAY_MAC
from talk import (
    DO,
    DONT,
    IP_MTU_DISCOVER,
    PORT,
    arrives_in_fragments,
    error_in_queue,
    flush,
    hears_only,
    levels,
    listener,
    poll_for_error,
    transfer,
)

FAMILIES = pytest.mark.parametrize("family", [4, 6])
UNKNOWN = {4: "10.208.0.77", 6: "fd00:0:0:1::77"}
UDP_SEGMENT = 103
ALL = 3
SOL_PACKET, PACKET_VNET_HDR = 263, 15


@dataclass(frozen=True)
class Scene:
    host: Host
    anna: Container
    bert: Container
    small: Container


@pytest.fixture(scope="module", params=["cls_bpf", "tcx", "promoted"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with namespaces() as make, hosts() as raise_host:
        way = request.param
        host = raise_host(way)
        anna, bert, small = (
            host.add(make(), number, mtu) for number, mtu in ((1, 1500), (2, 1500), (3, 1300))
        )
        if way == "promoted":
            host.promote()
        yield Scene(host, anna, bert, small)


@FAMILIES
def test_a_datagram_and_its_answer_arrive(scene, family):
    with (
        listener(scene.bert, family, socket.SOCK_DGRAM) as server,
        scene.anna.socket(family, socket.SOCK_DGRAM) as client,
    ):
        client.connect((scene.bert.address(family), PORT))
        client.send(b"question")
        question, sender = server.recvfrom(100)
        server.sendto(b"answer", sender)

        assert (b"question", scene.anna.address(family)) == (question, sender[0])
        assert b"answer" == client.recv(100)


@FAMILIES
def test_a_stream_arrives_whole(scene, family):
    assert transfer(scene.anna, scene.bert, family)


@FAMILIES
def test_a_stream_learns_of_a_smaller_mtu_on_its_way(scene, family):
    """The receiver announces segments larger than its device takes."""
    flag = "-6 " if family == 6 else ""
    via = "fe80::1" if family == 6 else "169.254.1.1"
    before = scene.host.drops(scene.anna).get("too_big", 0)
    scene.small.netns.run(
        f"ip {flag}route replace default via {via} dev eth0 advmss 1440; ip {flag}route flush cache"
    )

    assert transfer(scene.anna, scene.small, family)
    assert before < scene.host.drops(scene.anna)["too_big"]
    flush(scene.anna)


@FAMILIES
def test_a_datagram_that_must_not_be_cut_and_is_too_long_is_refused_with_the_mtu(scene, family):
    with scene.anna.socket(family, socket.SOCK_DGRAM) as client:
        level, discover, receive = levels(family)
        client.setsockopt(level, discover, DO)
        client.setsockopt(level, receive, 1)
        client.connect((scene.small.address(family), PORT))
        client.send(b"x" * 1400)

        assert (errno.EMSGSIZE, 1300) == error_in_queue(client)
        with pytest.raises(OSError, match="Message too long") as refused:
            client.send(b"x" * 1400)
        assert errno.EMSGSIZE == refused.value.errno
    flush(scene.anna)


def test_the_stack_of_the_host_cuts_what_may_be_cut(scene):
    with (
        listener(scene.small, 4, socket.SOCK_DGRAM) as server,
        scene.anna.socket(4, socket.SOCK_DGRAM) as client,
    ):
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DONT)
        client.sendto(b"x" * 1450, (scene.small.address(4), PORT))

        assert b"x" * 1450 == server.recv(2000)


@FAMILIES
def test_a_datagram_in_fragments_is_put_together(scene, family):
    for size in (1473, 3000, 20_000, 60_000):
        assert arrives_in_fragments(scene.anna, scene.bert, family, size)


@FAMILIES
def test_a_train_of_datagrams_is_cut_by_the_kernel(scene, family):
    """UDP segmentation offload: one packet on the veth, five for the receiver."""
    with (
        listener(scene.bert, family, socket.SOCK_DGRAM) as server,
        scene.anna.socket(family, socket.SOCK_DGRAM) as client,
    ):
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        client.sendto(b"x" * 4500, (scene.bert.address(family), PORT))

        assert [1000, 1000, 1000, 1000, 500] == [len(server.recv(5000)) for _ in range(5)]


@FAMILIES
def test_a_train_of_datagrams_that_are_too_long_is_refused_with_the_mtu(scene, family):
    with scene.anna.socket(family, socket.SOCK_DGRAM) as client:
        level, discover, receive = levels(family)
        client.setsockopt(level, discover, DO)
        client.setsockopt(level, receive, 1)
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1400)
        client.connect((scene.small.address(family), PORT))
        client.send(b"x" * 5600)

        assert (errno.EMSGSIZE, 1300) == error_in_queue(client)
    flush(scene.anna)


@FAMILIES
def test_a_traced_route_shows_the_host(scene, family):
    with scene.anna.socket(family, socket.SOCK_DGRAM) as client:
        level, _, receive = levels(family)
        client.setsockopt(level, receive, 1)
        client.setsockopt(level, socket.IP_TTL if family == 4 else socket.IPV6_UNICAST_HOPS, 1)
        client.sendto(b"where", (scene.bert.address(family), PORT))
        poll_for_error(client)
        _, ancillary, _, _ = client.recvmsg(200, 512, socket.MSG_ERRQUEUE)
        data = ancillary[0][2]
        at = 16 + (4 if family == 4 else 8)
        offender = socket.inet_ntop(client.family, data[at : at + (4 if family == 4 else 16)])

        assert errno.EHOSTUNREACH == struct.unpack_from("=I", data)[0]
        assert HOST[family] == offender


@FAMILIES
def test_a_connection_to_an_address_that_nobody_has_fails_at_once(scene, family):
    with scene.anna.socket(family, socket.SOCK_STREAM) as client:
        with pytest.raises(OSError, match="No route to host") as refused:
            client.connect((UNKNOWN[family], PORT))

        assert errno.EHOSTUNREACH == refused.value.errno


@FAMILIES
def test_the_host_and_a_container_reach_each_other(scene, family):
    container = scene.anna.address(family)
    scene.host.place.shell(f"ping -c1 -W2 {container}")
    scene.anna.netns.run(f"ping -c1 -W2 {HOST[family]}")


def test_answers_have_right_checksums_whatever_the_sender_left_to_the_device(scene):
    """A sniffer inside the container sees what the container's kernel would have to believe."""
    with sniffing(scene.anna) as sniffer:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            for family in (4, 6):
                with scene.anna.socket(family, kind) as client:
                    client.setblocking(False)
                    client.connect_ex((UNKNOWN[family], PORT))
                    if kind == socket.SOCK_DGRAM:
                        client.send(b"odd")
                    answer = sniffer(family)
                assert answer == recomputed(answer)


@contextmanager
def sniffing(container: Container) -> Iterator[Callable[[int], bytes]]:
    """Gives a function that waits for the next ICMP error of a family."""
    with container.socket(0, socket.SOCK_RAW, socket.htons(ALL)) as raw:
        raw.bind(("eth0", ALL))

        def next_error(family: int) -> bytes:
            while True:
                frame = raw.recv(2000)
                if is_error(Ether(frame), family):
                    return frame

        yield next_error


def is_error(packet: Packet, family: int) -> bool:
    if packet.src != GATEWAY_MAC:
        return False
    if family == 4:
        return ICMP in packet
    return IPv6 in packet and packet.nh == socket.IPPROTO_ICMPV6 and bytes(packet[2])[0] < 128


def recomputed(frame: bytes) -> bytes:
    packet = Ether(frame)
    if IP in packet:
        del packet[IP].chksum, packet[ICMP].chksum
    else:
        del packet[IPv6].payload.cksum
    return bytes(packet)


@FAMILIES
def test_a_spoofed_packet_arrives_nowhere_and_is_counted(scene, family):
    before = scene.host.drops(scene.anna).get("spoofed_address", 0)
    other = UNKNOWN[family]
    scene.anna.netns.run(f"ip addr add {other} dev eth0" + (" nodad" if family == 6 else ""))
    try:
        with (
            listener(scene.bert, family, socket.SOCK_DGRAM) as server,
            scene.anna.socket(family, socket.SOCK_DGRAM) as liar,
            scene.anna.socket(family, socket.SOCK_DGRAM) as honest,
        ):
            liar.bind((other, 0))
            liar.sendto(b"lie", (scene.bert.address(family), PORT))
            honest.bind((scene.anna.address(family), 0))
            honest.sendto(b"truth", (scene.bert.address(family), PORT))

            assert b"truth" == server.recv(100)
    finally:
        length = 32 if family == 4 else 128
        scene.anna.netns.run(f"ip addr del {other}/{length} dev eth0")
    assert scene.host.counts(scene.anna, "spoofed_address", before + 1)


@FAMILIES
def test_the_gateway_is_found_without_a_permanent_neighbour(scene, family):
    gateway = "169.254.1.1" if family == 4 else "fe80::1"
    scene.bert.netns.run(f"ip neigh del {gateway} dev eth0")
    scene.bert.netns.run(f"ping -c1 -W2 {scene.anna.address(family)}")
    found = scene.bert.netns.run(f"ip neigh show {gateway}")

    assert GATEWAY_MAC in found


@FAMILIES
def test_a_container_with_a_whole_prefix_finds_its_neighbours(scene, family, make_netns):
    container = scene.host.add(make_netns(), 20 + family)
    own = container.address(family)
    whole, alone, more = (24, 32, "") if family == 4 else (64, 128, " nodad")
    container.netns.run(
        f"ip addr del {own}/{alone} dev eth0; ip addr add {own}/{whole} dev eth0{more}"
    )
    container.netns.run(f"ping -c1 -W2 {scene.bert.address(family)}")
    found = container.netns.run(f"ip neigh show {scene.bert.address(family)}")

    assert GATEWAY_MAC in found


@FAMILIES
def test_networks_are_closed_to_each_other(scene, family, make_netns):
    stranger = scene.host.add(make_netns(), 30 + family, network=9)

    assert hears_only(scene.bert, scene.anna, stranger, family)
    assert scene.host.counts(stranger, "isolated", 1)


@FAMILIES
def test_a_frame_whose_headers_lie_apart_is_read_all_the_same(scene, family, make_netns):
    """A raw sender with a frame beyond a page chooses where its first piece ends."""
    anna, bert = (scene.host.add(make_netns(), 40 + family + 10 * i, 9000) for i in range(2))
    header = IP if family == 4 else IPv6
    frame = bytes(
        Ether(src=scene_mac(anna), dst=GATEWAY_MAC)
        / header(src=anna.address(family), dst=bert.address(family))
        / UDP(sport=1, dport=PORT)
        / (b"x" * 6000)
    )
    with (
        listener(bert, family, socket.SOCK_DGRAM) as server,
        anna.socket(0, socket.SOCK_RAW, 0) as raw,
    ):
        raw.bind(("eth0", 0))
        raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        for linear in (14, 20, 34, 54, 60):
            raw.send(struct.pack("=BBHHHH", 0, 0, linear, 0, 0, 0) + frame)
            assert b"x" * 6000 == server.recv(9000)


def scene_mac(container: Container) -> str:
    return container.record.mac.hex(":")
