"""Sockets that hooks see and packets past them, held to one table: whom they reach, how they fail.

The scene is that of `serviced`. Anna's sockets are a client's: their hooks lead them. The
stranger's are nobody's, so their packets go to the VIP and are led by `from_endpoint`.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from typing import Any

import pytest

from dataplane import Container
from seaway.bpf import abi
from seaway.bpf.limits import LimitTarget, Uses
from seaway.model.addresses import mapped
from seaway.model.reports import Use
from serviced import (
    BACKEND,
    DATAGRAM,
    PORT,
    PROTOCOLS,
    STREAM,
    VIP,
    Scene,
    answer,
    frontend,
    port_key,
    scenes,
)
from waiting import wait

FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("kind", [STREAM, DATAGRAM], ids=["tcp", "udp"])
ASKERS = pytest.mark.parametrize("asker", ["hooks", "packets"])
RANDOM, IN_TURN, LEAST = abi.SERVICE_RANDOM, abi.SERVICE_ROUND_ROBIN, abi.SERVICE_LEAST
TURNS = 40  # by chance, one of two backends is missed once in 2^39
ASK = b"q"
LIMIT = 7  # its number
OWN_PORTS = count(10_000)  # below those that the kernel gives


@pytest.fixture(scope="module")
def stood() -> Iterator[Scene]:
    with scenes() as made:
        yield made


@pytest.fixture
def scene(stood: Scene) -> Iterator[Scene]:
    yield stood
    stood.clear()


def who(scene: Scene, asker: str) -> Container:
    return scene.containers[0] if asker == "hooks" else scene.stranger


def ask(scene: Scene, asker: str, family: int, kind: int) -> str:
    """By whom a new socket is answered, or why it is not. No two have one port: datagrams from one
    are of one flow.
    """
    with closing(scene.open(who(scene, asker), family, kind)) as client:
        client.bind((who(scene, asker).address(family), next(OWN_PORTS)))
        try:
            client.connect((VIP[family], PORT))
            client.send(ASK)
            name, seen = client.recv(100).decode().split()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        assert seen == who(scene, asker).address(family)
        assert VIP[family] == client.getpeername()[0]
        return name


def in_turn(scene: Scene, asker: str, family: int, kind: int) -> Iterator[str]:
    """One after the other: a connection that is led by packets is over once both have closed it."""
    for _ in range(TURNS):
        yield ask(scene, asker, family, kind)
        assert wait(lambda: not list(scene.table("balanced").elements()))


EVEN = {"2": TURNS // 2, "3": TURNS // 2}
SOME = {"2", "3"}
# What stands behind the service (containers 2 and 3), and by whom 40 connections are answered: so
# often each, some by each, or all by one of them.
STATES: dict[str, tuple[tuple[int, ...], dict[str, Any], Any]] = {
    "one": ((2,), {}, {"2": TURNS}),
    "two, by chance": ((2, 3), {"algorithm": RANDOM}, SOME),
    "two, in turn": ((2, 3), {"algorithm": IN_TURN}, EVEN),
    "two, least": ((2, 3), {"algorithm": LEAST}, SOME),
    "weights, by chance": ((2, 3), {"algorithm": RANDOM, "weights": (5, 3)}, SOME),
    "weights, in turn": (
        (2, 3),
        {"algorithm": IN_TURN, "weights": (5, 3)},
        {"2": TURNS * 5 // 8, "3": TURNS * 3 // 8},
    ),
    "weights, least": ((2, 3), {"algorithm": LEAST, "weights": (5, 3)}, {"2": TURNS}),
    "no weight, by chance": ((2, 3), {"algorithm": RANDOM, "weights": (0, 3)}, {"3": TURNS}),
    "no weight, in turn": ((2, 3), {"algorithm": IN_TURN, "weights": (0, 3)}, {"3": TURNS}),
    "no weight, least": ((2, 3), {"algorithm": LEAST, "weights": (0, 3)}, {"3": TURNS}),
    "kept, by chance": ((2, 3), {"algorithm": RANDOM, "affinity": 600}, "one"),
    "kept, in turn": ((2, 3), {"algorithm": IN_TURN, "affinity": 600}, "one"),
    "kept, least": ((2, 3), {"algorithm": LEAST, "affinity": 600}, "one"),
    "nobody": ((), {}, {"ECONNREFUSED": TURNS}),
    "all without weight": ((2, 3), {"weights": (0, 0)}, {"ECONNREFUSED": TURNS}),
    "itself": ((1,), {}, {"1": TURNS}),
}


@pytest.mark.parametrize("state", STATES)
@FAMILIES
@KINDS
@ASKERS
def test_who_asks_a_service_is_answered_alike(scene, state, family, kind, asker):
    backends, how, expected = STATES[state]
    scene.serve_by([scene.containers[n - 1] for n in backends], **how)
    found = Counter(in_turn(scene, asker, family, kind))
    if expected == "one":
        assert 1 == len(found)
        assert found.keys() <= SOME
    elif isinstance(expected, set):
        assert expected == found.keys()
    else:
        assert expected == found


@FAMILIES
@KINDS
@ASKERS
@pytest.mark.parametrize("state", ["silent", "not there"])
def test_who_asks_in_vain_is_told_alike(scene, state, family, kind, asker):
    """A silent service says nothing, and is counted. Where there is none TCP is refused at once."""
    if state == "silent":
        scene.serve_by([], flags=abi.SERVICE_SILENT)
    elif kind == STREAM:
        assert "ECONNREFUSED" == ask(scene, asker, family, kind)
        return
    asks, reason = who(scene, asker), "silent" if state == "silent" else "no_endpoint"
    before = scene.host.drops(asks).get(reason, 0)
    with closing(scene.open(asks, family, kind)) as client:
        client.setblocking(False)
        told = client.connect_ex((VIP[family], PORT))
        assert told == (errno.EINPROGRESS if kind == STREAM else 0)
        if kind == DATAGRAM:
            client.send(ASK)
        assert wait(lambda: scene.host.drops(asks).get(reason, 0) > before)


@FAMILIES
@KINDS
@ASKERS
def test_who_speaks_with_a_backend_that_goes_is_told_alike(scene, family, kind, asker):
    """Datagrams go to another one. TCP is reset, when it has drained: it has no time to here."""
    _, bert, carl = scene.containers
    key = port_key(VIP[family], PORT, PROTOCOLS[kind])
    scene.serve({key: frontend([(bert.address(family), BACKEND)])})
    with closing(scene.open(who(scene, asker), family, kind)) as client:
        client.connect((VIP[family], PORT))
        assert "2" == answer(client).split()[0]
        scene.serve({key: replace(frontend([(carl.address(family), BACKEND)]), drain=0.0)})
        scene.clock.now += 1
        scene.end_parted()
        found = after(client)
        if kind == STREAM:
            assert found in {"ECONNRESET", "ECONNABORTED", "EPIPE"}
        elif asker == "packets":
            assert "3" == found
    assert "3" == ask(scene, asker, family, kind)


def after(client: socket.socket) -> str:
    try:
        return answer(client).split()[0]
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@FAMILIES
@ASKERS
def test_a_connection_goes_on_while_its_backend_drains(scene, family, asker):
    _, bert, carl = scene.containers
    scene.serve_by([bert])
    with closing(scene.open(who(scene, asker), family, STREAM)) as client:
        client.connect((VIP[family], PORT))
        assert "2" == answer(client).split()[0]
        scene.serve_by([carl])
        assert "2" == answer(client).split()[0]
        assert "3" == ask(scene, asker, family, STREAM)
        assert "2" == answer(client).split()[0]


@FAMILIES
@ASKERS
def test_connections_are_counted_until_they_are_over(scene, family, asker):
    _, bert, carl = scene.containers
    scene.serve_by([bert])
    before = scene.running(bert)
    with closing(scene.open(who(scene, asker), family, STREAM)) as client:
        client.connect((VIP[family], PORT))
        assert "2" == answer(client).split()[0]
        assert (before + 1, 0) == (scene.running(bert), scene.running(carl))
        scene.serve_by([carl])
        assert before + 1 == scene.running(bert)
    assert wait(lambda: before == scene.running(bert))


@FAMILIES
@ASKERS
def test_over_a_limit_it_is_refused_at_once_until_one_is_over(scene, family, asker):
    scene.serve_by(scene.containers[1:2], limit=LIMIT)
    limits, uses = (scene.host.place.run(of, scene.host.plane) for of in (LimitTarget, Uses))
    assert {} == scene.host.place.run(limits.put, {LIMIT: abi.Limit(1, 0)})
    refused = {"hooks": "EBUSY", "packets": "ECONNREFUSED"}[asker]
    with closing(scene.open(who(scene, asker), family, STREAM)) as client:
        client.connect((VIP[family], PORT))
        assert "2" == answer(client).split()[0]
        assert refused == ask(scene, asker, family, STREAM)
        assert "2" == answer(client).split()[0]
        assert Use(open=1, full=1) == scene.host.place.run(uses.of, LIMIT)
    assert wait(lambda: Use(full=1) == scene.host.place.run(uses.of, LIMIT))
    assert "2" == ask(scene, asker, family, STREAM)


@FAMILIES
@ASKERS
def test_much_at_once_arrives_whole(scene, family, asker):
    """Segments that the kernel has yet to cut, and whose checksums it has yet to make."""
    scene.serve_by(scene.containers[1:2])
    with closing(scene.open(who(scene, asker), family, STREAM)) as client:
        client.connect((VIP[family], PORT))
        client.sendall(bytes(200_000))
        client.shutdown(socket.SHUT_WR)
        found = b""
        while data := client.recv(1 << 16):
            found += data
        assert found.startswith(f"2 {who(scene, asker).address(family)}".encode())


@pytest.mark.parametrize("size", [8, 4000])
def test_a_raw_socket_of_a_client_is_led_too(scene, size):
    """It writes what it likes: no hook sees to whom. What is larger than the way comes in parts."""
    anna, bert, _ = scene.containers
    scene.serve_by([bert])
    with (
        closing(anna.socket(4, socket.SOCK_RAW, socket.IPPROTO_UDP)) as raw,
        closing(
            anna.socket(4, DATAGRAM)
        ) as owner,  # of the port: else the kernel says that nobody is
    ):
        owner.bind((anna.address(4), 0))
        own = owner.getsockname()[1]
        raw.sendto(struct.pack("!4H", own, PORT, 8 + size, 0) + bytes(size), (VIP[4], 0))
        said, sender = owner.recvfrom(100)
        assert (f"2 {anna.address(4)}", (VIP[4], PORT)) == (said.decode(), sender)


def test_flows_of_a_container_that_is_gone_are_nobody_elses(scene):
    """Of its successor at the same address nothing is led before it asks."""
    scene.serve_by(scene.containers[1:2])
    assert "2" == ask(scene, "packets", 4, DATAGRAM)
    flows = scene.table("inner_flows")
    led = [
        abi.Flow.unpack(value)
        for _, value in scene.host.place.run(lambda: list(flows.elements()))
        if abi.Flow.unpack(value).src == mapped(ip_address(scene.stranger.address(4)))
    ]
    assert led
    assert {scene.stranger.number} == {flow.container for flow in led}
