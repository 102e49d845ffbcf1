"""Real packets between containers of two hosts, encapsulated and as they are, offloads on.

┌── anna ──┐      ┌─── host a ───┐          ┌─── host b ───┐      ┌── bert ──┐
│     eth0 ┼─veth─┼ swy21   eth0 ┼── wire ──┼ eth0   swy41 ┼─veth─┼ eth0     │
└──────────┘      │  swyoverlay  │          │  swyoverlay  │      └──────────┘
  wide: 1500 ─────┼ swy22        │          │        swy42 ┼───── small: mtu 1300
                  └──────────────┘          └──────────────┘
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dataplane import Container
from namespaces import namespaces
from seaway.bpf import abi
from shaped import shaped
from talk import (
    DONT,
    PORT,
    arrives_in_fragments,
    exchange,
    flush,
    hears_only,
    hop,
    levels,
    listener,
    too_big,
    transfer,
)
from wired import MTU, WiredHost, wires

FAMILIES = pytest.mark.parametrize("family", [4, 6])
UDP_SEGMENT = 103
OVERLAY, DIRECT = abi.NEXT_HOP_OVERLAY, abi.NEXT_HOP_OVERLAY | abi.NEXT_HOP_DIRECT
CASES = {
    "cls_bpf": ("cls_bpf", (4, 6), OVERLAY),
    "tcx": ("tcx", (4, 6), OVERLAY),
    "over-ipv6": ("tcx", (6, 4), OVERLAY),
    "ipv6-only": ("cls_bpf", (6,), OVERLAY),
    "direct": ("tcx", (4, 6), DIRECT),
    "direct-ipv6-only": ("cls_bpf", (6,), DIRECT),
}


@dataclass(frozen=True)
class Scene:
    a: WiredHost
    b: WiredHost
    anna: Container
    wide: Container  # whose own MTU is larger than what the overlay carries
    bert: Container
    small: Container
    direct: bool

    @property
    def room(self) -> int:
        return MTU if self.direct else self.a.room


@pytest.fixture(scope="module", params=CASES)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    way, families, flags = CASES[request.param]
    with namespaces() as make, wires() as wire:
        a, b = wire(2, families=families, way=way)
        a.meet(b, flags)
        b.meet(a, flags)
        anna, wide = a.add(make(), 1), a.add(make(), 2, 2000)
        bert, small = b.add(make(), 1), b.add(make(), 2, 1300)
        anna.netns.run(f"ping -c1 -W2 {bert.address(4)}")  # the hosts know each other's MAC now
        yield Scene(a, b, anna, wide, bert, small, direct=flags == DIRECT)


@FAMILIES
def test_a_datagram_and_its_answer_arrive(scene, family):
    assert exchange(scene.anna, scene.bert, family)
    assert exchange(scene.bert, scene.anna, family)


def test_what_a_limited_container_gets_from_another_host_goes_by_its_shaper(scene):
    """And arrives whole, as does what it sends there."""
    with shaped(scene.b, scene.bert, 800_000_000, 800_000_000) as limited:
        before = limited.carried(1)[1]
        assert transfer(scene.anna, scene.bert, 6, megabytes=2)
        assert limited.carried(1)[1] - before > 2 << 20
        assert transfer(scene.bert, scene.anna, 6, megabytes=2)
        assert limited.carried(0)[1] > 2 << 20


@FAMILIES
def test_a_stream_arrives_whole(scene, family):
    assert transfer(scene.anna, scene.bert, family)
    assert transfer(scene.bert, scene.anna, family)


@FAMILIES
def test_a_host_reaches_every_container_of_the_other_and_back(scene, family):
    scene.a.place.shell(f"ping -c1 -W2 {scene.bert.address(family)}")
    scene.bert.netns.run(f"ping -c1 -W2 {scene.a.own[family]}")
    scene.a.place.shell(f"ping -c1 -W2 {scene.b.own[family]}")


@FAMILIES
def test_a_host_sends_to_a_container_of_the_other_what_has_to_be_cut(scene, family):
    scene.a.place.shell(f"ping -c1 -W2 -s 4000 {scene.bert.address(family)}")
    scene.bert.netns.run(f"ping -c1 -W2 -s 4000 {scene.a.own[family]}")


@FAMILIES
def test_a_datagram_in_fragments_is_put_together(scene, family):
    for size in (1473, 3000, 20_000):
        assert arrives_in_fragments(scene.anna, scene.bert, family, size)


@FAMILIES
def test_a_train_of_datagrams_is_cut_by_the_kernel(scene, family):
    """What came in one piece goes on in order."""
    sizes = [1000, 1000, 1000, 1000, 500]
    with (
        listener(scene.bert, family, socket.SOCK_DGRAM) as server,
        scene.anna.socket(family, socket.SOCK_DGRAM) as client,
    ):
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        client.sendto(b"x" * 4500, (scene.bert.address(family), PORT))

        assert sizes == [len(server.recv(5000)) for _ in sizes]


@FAMILIES
def test_a_datagram_that_the_way_does_not_take_is_refused_with_its_mtu(scene, family):
    assert (errno.EMSGSIZE, scene.room) == too_big(scene.wide, scene.bert, family, 1600)
    flush(scene.wide)


@FAMILIES
def test_a_datagram_that_the_receiver_does_not_take_is_refused_by_its_host(scene, family):
    assert (errno.EMSGSIZE, 1300) == too_big(scene.anna, scene.small, family, 1350)
    flush(scene.anna)


@FAMILIES
def test_a_stream_learns_of_a_smaller_mtu_on_its_way(scene, family):
    for receiver in (scene.bert, scene.small):
        via, flag = ("169.254.1.1", "") if family == 4 else ("fe80::1", "-6 ")
        receiver.netns.run(f"ip {flag}route replace default via {via} dev eth0 advmss 1900")
        assert transfer(scene.wide, receiver, family)
    flush(scene.wide)


def test_the_stacks_of_both_hosts_cut_what_may_be_cut(scene):
    for receiver in (scene.bert, scene.small):
        with (
            listener(receiver, 4, socket.SOCK_DGRAM) as server,
            scene.wide.socket(4, socket.SOCK_DGRAM) as client,
        ):
            client.setsockopt(*levels(4)[:2], DONT)
            client.sendto(b"x" * 1900, (receiver.address(4), PORT))

            assert b"x" * 1900 == server.recv(2000)


@FAMILIES
def test_a_traced_route_shows_both_hosts(scene, family):
    told = [hop(scene.anna, scene.bert.address(family), family, n) for n in (1, 2)]

    assert [scene.a.own[family], scene.b.own[family]] == told


@FAMILIES
def test_a_connection_to_an_address_that_nobody_has_fails_at_once(scene, family):
    """In the other host's block its host says so, in no host's block our own."""
    for number in (90, 250):
        unknown = scene.anna.address(family).rpartition("." if family == 4 else ":")
        address = "".join(unknown[:2]) + (str(number) if family == 4 else f"{number:x}")
        with scene.anna.socket(family, socket.SOCK_STREAM) as client:
            with pytest.raises(OSError, match="No route to host") as refused:
                client.connect((address, PORT))
            assert errno.EHOSTUNREACH == refused.value.errno


@FAMILIES
def test_networks_are_closed_to_each_other_across_hosts(scene, family, make_netns):
    stranger = scene.a.add(make_netns(), 10 + family, network=9)

    assert hears_only(scene.bert, scene.anna, stranger, family)
    assert scene.a.counts(stranger, "isolated", 1)
