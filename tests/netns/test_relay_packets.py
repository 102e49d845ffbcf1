"""Real packets over a host in the middle, and what happens when a link dies.

    ┌── anna ──┐    ┌── a ──┐          ┌── b ──┐          ┌── c ──┐    ┌── carl ──┐
    │     eth0 ┼────┤  eth0 ┼── wire ──┼ eth0  ├── wire ──┼ eth0  ├────┼ eth0     │
    └──────────┘    └───────┘          └───────┘          └───────┘    └──────────┘
All are on one wire, but a and c do not see each other. In the last tests d is beside b.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dataplane import Container
from namespaces import namespaces
from talk import PORT, exchange, flush, hop, too_big, transfer
from waiting import wait
from ways import look_anew
from wired import WiredHost, wires

FAMILIES = pytest.mark.parametrize("family", [4, 6])
BOTH = (4, 6)
LINES = {
    "cls_bpf": ("cls_bpf", (BOTH, BOTH, BOTH)),
    "tcx": ("tcx", (BOTH, BOTH, BOTH)),
    "ipv6-only": ("tcx", ((6,), (6,), (6,))),
    "ipv4-then-ipv6": ("tcx", (BOTH, BOTH, (6,))),
}


@dataclass(frozen=True)
class Line:
    a: WiredHost
    b: WiredHost
    c: WiredHost
    anna: Container
    bert: Container
    carl: Container


@pytest.fixture(scope="module", params=LINES)
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    way, families = LINES[request.param]
    with namespaces() as make, wires() as wire:
        a, b, c = wire(3, by_host=["families"], families=families, way=way)
        a.wire.part(a, c)
        a.reach(c, via=b)
        c.reach(a, via=b)
        room = min(host.room for host in (a, b, c))
        made = [h.add(make(), 1, room) for h in (a, b, c)]
        yield Line(a, b, c, *made)


@FAMILIES
def test_a_datagram_and_its_answer_arrive(line, family):
    assert exchange(line.anna, line.carl, family)
    assert exchange(line.carl, line.bert, family)


@FAMILIES
def test_a_stream_arrives_whole(line, family):
    assert transfer(line.anna, line.carl, family)
    assert transfer(line.carl, line.anna, family)


@FAMILIES
def test_hosts_reach_each_other_and_all_containers(line, family):
    for target in (line.c.own[family], line.carl.address(family)):
        line.a.place.shell(f"ping -c1 -W2 {target}")
        line.anna.netns.run(f"ping -c1 -W2 -s 3000 {target}")


@FAMILIES
def test_a_traced_route_shows_who_relays(line, family):
    target = line.carl.address(family)
    told = [hop(line.anna, target, family, number) for number in (1, 2, 3)]

    assert [h.own[family] for h in (line.a, line.b, line.c)] == told


@FAMILIES
def test_who_relays_refuses_what_the_rest_of_the_way_does_not_take(line, family):
    """Its route to the next host takes less than the wire."""
    to, room = line.b.carrier(line.c), min(host.room for host in (line.a, line.b, line.c))
    overhead = 50 if to.version == 4 else 70
    line.b.place.shell(f"ip route add {to} dev eth0 mtu lock 1400")
    try:
        look_anew()
        told = too_big(line.anna, line.carl, family, room - 28 - 20 * (family == 6))
        assert (errno.EMSGSIZE, 1400 - overhead) == told
        assert transfer(line.anna, line.carl, family)
    finally:
        line.b.place.shell(f"ip route del {to} dev eth0")
        flush(line.anna)


@FAMILIES
def test_a_connection_to_a_host_that_no_link_leads_to_fails_at_once(line, family):
    before = line.a.drops(line.anna).get("no_path", 0)
    line.a.bury(line.b)
    try:
        with line.anna.socket(family, socket.SOCK_STREAM) as client:
            with pytest.raises(OSError, match="No route to host") as refused:
                client.connect((line.carl.address(family), PORT))
            assert errno.EHOSTUNREACH == refused.value.errno
    finally:
        line.a.revive(line.b)
    assert wait(lambda: line.a.drops(line.anna)["no_path"] > before)
    assert exchange(line.anna, line.carl, family)


@dataclass(frozen=True)
class Square:
    """Two ways lead from a to c: by b, and by d."""

    hosts: list[WiredHost]
    anna: Container
    carl: Container

    def relays(self, family: int, tries: int) -> list[str]:
        """By whom each of so many flows goes."""
        target = self.carl.address(family)
        return [hop(self.anna, target, family, 2) for _ in range(tries)]


@pytest.fixture(scope="module", params=["cls_bpf", "tcx"])
def square(request: pytest.FixtureRequest) -> Iterator[Square]:
    with namespaces() as make, wires() as wire:
        a, b, c, d = wire(4, way=request.param)
        yield Square([a, b, c, d], a.add(make(), 1), c.add(make(), 1))


@FAMILIES
def test_flows_are_shared_over_ways_that_are_equally_short(square, family):
    a, b, c, d = square.hosts
    a.reach(c, b, d, d)
    c.reach(a, d, b, b)
    assert {b.own[family], d.own[family]} == set(square.relays(family, 20))
    assert exchange(square.anna, square.carl, family)
    assert transfer(square.anna, square.carl, family, 2)
    a.bury(d)
    try:
        assert {b.own[family]} == set(square.relays(family, 10))
    finally:
        a.revive(d)


def test_a_dead_next_hop_is_one_flipped_entry(square):
    a, b, c, d = square.hosts
    a.reach(c, via=b, backup=d)
    c.reach(a, via=d)
    for family in (4, 6):
        assert exchange(square.anna, square.carl, family)
        assert [b.own[family]] == square.relays(family, 1)

    a.wire.place.shell("ip link set p2 down")
    with pytest.raises(RuntimeError):
        square.anna.netns.run(f"ping -c1 -W1 {square.carl.address(4)}")
    a.bury(b)
    for family in (4, 6):
        assert exchange(square.anna, square.carl, family)
        assert [d.own[family]] == square.relays(family, 1)
