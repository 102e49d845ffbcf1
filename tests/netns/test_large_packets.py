"""Probes of full size between network namespaces: a black hole, loss beside it, and a router that
tells of its MTU.

┌ a ┐   ┌ b ┐      as in test_routed.py: each link a veth pair, probes answered by a double
│   ├───┤   │
└─┬─┘   └─┬─┘
┌ d ┐   ┌ c ┐
│   ├───┤   │
└───┘   └───┘
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import pytest

from namespaces import Netns, namespaces
from routing import Cluster, clusters
from seaway.kernel import netns
from seaway.routed.packet import HEADERS, PORT
from seaway.routed.probing import ProbeSocket, room
from waiting import wait

HOLE = {"source": "a", "target": "b", "size": 1500}
FAMILIES = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Cluster]:
    with clusters(tmp_path) as made:
        made.add("a", "b", "c", "d")
        for one, other in (("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")):
            made.link(one, other)
        made.start(probes="fast")
        yield made


def test_a_black_hole_is_told_from_loss_gone_around_and_taken_again_when_it_is_mended(ring):
    """The device of b by which a's packets come has a smaller MTU, so a veth pair drops the large
    ones in silence; of those of d every tenth does not reach a.
    """
    a, b = ring.follow("a"), ring.follow("b")
    assert wait(lambda: "b" == a.vias.get("hops", {}).get("b"), 20), a.vias
    ring.drop("a", "d", "numgen random mod 10 == 0")
    ring["b"].netns.run("ip link set to-a mtu 1400")

    assert wait(lambda: ("d", "c") == (a.vias["hops"].get("b"), b.vias["hops"].get("a")), 20)
    for host, other in (("a", "b"), ("b", "a")):
        assert wait(lambda h=host, o=other: [HOLE] == holes(ring[h]).get(o)), holes(ring[host])
        assert not any(found for to, found in holes(ring[host]).items() if to != other)
    (route,) = ring["a"].ask(ask="routes", to="b")["routes"]
    assert ["d", "c", "b"] == route["path"]
    words = "packets of 1500 bytes and more do not pass from a to b"
    assert words == {detour["via"]: detour["lost"] for detour in route["detours"]}["b"]
    assert wait(lambda: words in ring["a"].log())
    assert wait(lambda: 0 < link(ring["a"], "d")["loss"])

    ring["b"].netns.run("ip link set to-a mtu 1500")
    assert wait(lambda: ("b", "a") == (a.vias["hops"].get("b"), b.vias["hops"].get("a")), 20)
    assert wait(lambda: "no black hole any more" in ring["a"].log())


def holes(host) -> dict[str, list[dict[str, object]]]:
    return {link["host"]: link["holes"] for link in host.ask(ask="status")["links"]}


def link(host, to: str) -> dict[str, float]:
    (found,) = [link for link in host.ask(ask="status")["links"] if link["host"] == to]
    return found


@pytest.fixture
def near() -> Iterator[Netns]:
    """It reaches `there` by a router, behind which less fits."""
    with namespaces() as make:
        near, router, far = make(), make(), make()
        near.run(f"ip link add up0 type veth peer name r0 netns {router.name}")
        router.run(f"ip link add r1 type veth peer name up0 netns {far.name}")
        for host, subnet in ((near, 1), (far, 2)):
            host.run("ip link set lo up; ip link set up0 up")
            host.run(f"ip addr add 192.0.{subnet}.2/24 dev up0")
            host.run(f"ip addr add 2001:db8:{subnet}::2/64 dev up0 nodad")
        router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for device, subnet in (("r0", 1), ("r1", 2)):
            router.run(f"ip link set {device} up; ip addr add 192.0.{subnet}.1/24 dev {device}")
            router.run(f"ip addr add 2001:db8:{subnet}::1/64 dev {device} nodad")
        for host, subnet in ((near, 1), (far, 2)):
            host.run(f"ip route add default via 192.0.{subnet}.1")
            host.run(f"ip -6 route add default via 2001:db8:{subnet}::1")
        router.run("ip link set r1 mtu 1400")
        yield near


there = {4: ip_address("192.0.2.2"), 6: ip_address("2001:db8:2::2")}


@FAMILIES
def test_what_a_router_tells_of_its_mtu_is_believed(near, version):
    """By the kernel, of which the programs ask the way: what is sent next fits."""
    to = there[version]
    assert 1500 == netns.visit_path(near.path, lambda: room(to))
    probes = netns.visit_path(near.path, ProbeSocket)
    try:
        assert probes.send(to, bytes(1500 - HEADERS[version]))
        assert wait(lambda: 1400 == netns.visit_path(near.path, lambda: room(to)))
        assert not probes.send(to, bytes(1500 - HEADERS[version]))
        assert probes.send(to, bytes(1400 - HEADERS[version]))
    finally:
        probes.close()


def test_what_fills_the_room_of_the_socket_leaves_some_for_answers(near):
    """Where no program refuses it before. A look reads a part of it, and the next one the rest."""
    probes = netns.visit_path(near.path, ProbeSocket)
    sender = netns.visit_path(near.path, lambda: socket(AF_INET, SOCK_DGRAM))
    try:
        for _ in range(5_000):
            sender.sendto(bytes(32), ("127.0.0.1", PORT))
        sender.sendto(b"the last one", ("127.0.0.1", PORT))
        first, second = list(probes.read()), list(probes.read())
    finally:
        sender.close()
        probes.close()
    assert 5_001 == len(first) + len(second)
    assert len(first) > len(second) > 0
    assert b"the last one" == second[-1].data


@FAMILIES
def test_the_mtu_of_a_route_counts_and_where_none_leads_nothing_fits(near, version):
    to = there[version]
    near.run(f"ip route add {to} dev up0 mtu 1380")
    assert 1380 == netns.visit_path(near.path, lambda: room(to))
    near.run(f"ip -{version} route flush default")
    near.run(f"ip route del {to}")
    assert 0 == netns.visit_path(near.path, lambda: room(to))
