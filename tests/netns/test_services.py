"""Services, asked by real sockets: whom they reach, and whom they take for who answers.

The scene is that of `serviced`.
"""

from __future__ import annotations

import errno
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_network

import pytest

from cast import WORLD
from dataplane import HOST, Container
from edge import ANY, LOOPBACK
from seaway.bpf import abi
from seaway.bpf.counters import OF_SOCKETS
from seaway.names import RESOLVER4
from seaway.names import RESOLVER_PORT as DNS
from serviced import (
    BACKEND,
    DATAGRAM,
    PORT,
    PROTOCOLS,
    STREAM,
    TCP,
    UDP,
    VIP,
    Scene,
    answer,
    frontend,
    place_of,
    port_key,
    scenes,
)
from stage import RESOLVER6
from waiting import wait

# As a socket names the VIP: its own family, that of the VIP, and how it is written.
WAYS = {
    "v4": (4, 4, VIP[4]),
    "v6": (6, 6, VIP[6]),
    "mapped": (6, 4, f"::ffff:{VIP[4]}"),
}
ALL_WAYS = pytest.mark.parametrize("way", WAYS)
Ask = Callable[[socket.socket, str], tuple[str, str]]


def stream(client: socket.socket, vip: str) -> tuple[str, str]:
    client.connect((vip, PORT))
    client.sendall(b"q")
    return client.recv(100).decode(), client.getpeername()[0]


def connected(client: socket.socket, vip: str) -> tuple[str, str]:
    client.connect((vip, PORT))
    client.send(b"q")
    answer, sender = client.recvfrom(100)
    assert sender[:2] == client.getpeername()[:2] == (vip, PORT)
    return answer.decode(), sender[0]


def datagram(client: socket.socket, vip: str) -> tuple[str, str]:
    client.sendto(b"q", (vip, PORT))
    answer, sender = client.recvfrom(100)
    assert PORT == sender[1]
    return answer.decode(), sender[0]


ASKS = pytest.mark.parametrize(
    ("kind", "ask"),
    [(STREAM, stream), (DATAGRAM, connected), (DATAGRAM, datagram)],
    ids=["stream", "connected", "datagram"],
)


@pytest.fixture(scope="module")
def stood() -> Iterator[Scene]:
    with scenes() as made:
        yield made


@pytest.fixture
def scene(stood: Scene) -> Iterator[Scene]:
    yield stood
    stood.clear()


@ALL_WAYS
@ASKS
def test_a_container_is_answered_by_a_backend_and_takes_it_for_the_vip(scene, way, kind, ask):
    anna, bert, _ = scene.containers
    scene.serve_by([bert])
    own, family, vip = WAYS[way]
    with scene.open(anna, own, kind) as client:
        assert (f"2 {anna.address(family)}", vip) == ask(client, vip)


@ALL_WAYS
@ASKS
def test_the_host_asks_services_too(scene, way, kind, ask):
    scene.serve_by(scene.containers[1:2])
    own, family, vip = WAYS[way]
    with scene.open(scene.home, own, kind) as client:
        assert (f"2 {scene.host.own[family]}", vip) == ask(client, vip)


OF_HOST = {
    "127.0.0.1": (4, 4),
    "127.8.7.6": (4, 4),
    "::1": (6, 6),
    "::ffff:127.0.0.1": (6, 4),
    HOST[4]: (4, 4),
    HOST[6]: (6, 6),
    f"::ffff:{HOST[4]}": (6, 4),
}


@ASKS
@pytest.mark.parametrize("place", OF_HOST)
def test_the_host_asks_a_port_that_a_service_has_published_on_every_host(scene, kind, ask, place):
    """By any address of its own."""
    bert = scene.containers[1]
    publish(scene, bert)
    own, family = OF_HOST[place]
    with scene.open(scene.home, own, kind) as client:
        assert (f"2 {scene.host.own[family]}", place) == ask(client, place)


@pytest.mark.parametrize("family", [4, 6])
def test_such_a_port_without_a_backend_refuses_the_host_too(scene, family):
    publish(scene)
    with scene.open(scene.home, family, STREAM) as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            client.connect((HOST[family], PORT))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("place", [ANY, LOOPBACK, WORLD], ids=["any", "loopback", "world"])
def test_such_a_port_is_of_hosts_alone(scene, family, place):
    """A container that asks its own loopback is not led astray, nor a host that asks another."""
    publish(scene, scene.containers[1])
    for where in [scene.home] if place is WORLD else scene.containers:
        with scene.open(where, family, DATAGRAM) as client:
            with suppress(OSError):  # no route leads to the world
                client.connect((place[family], PORT))
            assert scene.asked(client) is None


@pytest.fixture(params=["service", "endpoint"])
def published(request, scene) -> Iterator[None]:
    """Port 53 of this host, whose resolver's addresses are its own."""
    bert = scene.containers[1]
    keys = {port_key(ANY[f], DNS, protocol): f for f in (4, 6) for protocol in (TCP, UDP)}
    places = {f: abi.Publication(*place_of(bert.address(f), BACKEND)) for f in (4, 6)}
    resolvers = {ip_network(address): 1 for address in (RESOLVER4, RESOLVER6)}
    scene.host.put("identities", resolvers)
    if request.param == "service":
        publish(scene, bert, port=DNS)
    else:
        scene.host.put("publications", {key: places[f] for key, f in keys.items()})
    yield
    targets = scene.host.targets
    scene.host.place.run(targets["publications"].delete, set(keys))
    scene.host.place.run(targets["identities"].delete, set(resolvers))


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("kind", [STREAM, DATAGRAM])
@pytest.mark.parametrize(
    ("own", "resolver", "others"),
    [
        (4, f"{RESOLVER4}", (HOST[4], ANY[4], LOOPBACK[4])),
        (6, f"{RESOLVER6}", (HOST[6], ANY[6], LOOPBACK[6])),
        (6, f"::ffff:{RESOLVER4}", (f"::ffff:{HOST[4]}",)),
    ],
    ids=["v4", "v6", "mapped"],
)
def test_the_host_reaches_its_resolver_whoever_has_published_its_port(
    scene, kind, own, resolver, others
):
    for place in (resolver, *others):
        with scene.open(scene.home, own, kind) as client:
            client.setblocking(False)
            with suppress(OSError):  # no route leads to the resolver here; streams take their time
                client.connect((place, DNS))
            assert (place != resolver) == (scene.asked(client) is not None), place


def publish(scene: Scene, *containers: Container, port: int = PORT) -> None:
    """This port of all hosts, by these."""
    scene.serve(
        {
            port_key(ANY[family], port, protocol): frontend(
                [(c.address(family), BACKEND) for c in containers]
            )
            for family in (4, 6)
            for protocol in (TCP, UDP)
        }
    )


@ALL_WAYS
@ASKS
def test_a_container_reaches_itself_by_a_service(scene, way, kind, ask):
    anna, *_ = scene.containers
    scene.serve_by([anna])
    own, family, vip = WAYS[way]
    with scene.open(anna, own, kind) as client:
        assert (f"1 {anna.address(family)}", vip) == ask(client, vip)


@pytest.mark.parametrize("family", [4, 6])
def test_a_socket_of_a_namespace_that_is_no_clients_is_left_alone(scene, family):
    """Its packets go to the VIP itself, and are led."""
    scene.serve_by(scene.containers[:1])
    for kind in (STREAM, DATAGRAM):
        with scene.open(scene.stranger, family, kind) as client:
            client.connect((VIP[family], PORT))
            assert scene.asked(client) is None
            assert f"1 {scene.stranger.address(family)}" == answer(client)
            assert VIP[family] == client.getpeername()[0]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("who", ["client", "stranger"])
def test_a_connect_to_a_vip_that_nobody_has_fails_at_once(scene, family, who):
    """Not a second later, when it is tried again: the answer comes while the socket connects."""
    asker = scene.stranger if who == "stranger" else scene.containers[0]
    for port in (PORT, PORT + 1):
        with scene.open(asker, family, STREAM) as client:
            client.settimeout(None)
            assert errno.ECONNREFUSED == client.connect_ex((VIP[family], port))
            told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            assert 0 == int.from_bytes(told[100:104], sys.byteorder)  # sent again, in all


def test_a_port_that_the_service_has_not_is_left_alone(scene):
    scene.serve_by(scene.containers)
    with scene.open(scene.containers[0], 4, DATAGRAM) as client:
        client.connect((VIP[4], PORT + 1))
        assert scene.asked(client) is None


@ALL_WAYS
@ASKS
@pytest.mark.parametrize("weights", [(), (0, 0)], ids=["no backends", "no weight"])
def test_a_service_without_a_backend_refuses_at_once(scene, way, kind, ask, weights):
    scene.serve_by(scene.containers[: len(weights)], weights=weights)
    own, _, vip = WAYS[way]
    with scene.open(scene.containers[0], own, kind) as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            ask(client, vip)
        assert scene.asked(client) is None


def test_what_a_hook_refuses_is_counted_under_no_device(scene):
    def refused() -> int:
        return scene.host.place.run(scene.host.counters.drops).get((OF_SOCKETS, "refused"), 0)

    scene.serve_by([])
    before = refused()
    with scene.open(scene.containers[0], 4, STREAM) as client:
        assert errno.ECONNREFUSED == client.connect_ex((VIP[4], PORT))
    with scene.open(scene.home, 6, DATAGRAM) as client, pytest.raises(ConnectionRefusedError):
        client.sendto(b"q", (VIP[6], PORT))
    assert before + 2 == refused()


@pytest.mark.parametrize("family", [4, 6])
def test_who_asks_a_silent_service_hears_nothing(scene, family):
    scene.serve_by([], flags=abi.SERVICE_SILENT)
    anna = scene.containers[0]
    before = scene.host.drops(anna).get("silent", 0)
    with scene.open(anna, family, STREAM) as client:
        client.setblocking(False)
        assert errno.EINPROGRESS == client.connect_ex((VIP[family], PORT))
        assert wait(lambda: scene.host.drops(anna).get("silent", 0) > before)
        assert ([], [], []) == select.select([client], [client], [client], 0)
    with scene.open(anna, family, DATAGRAM) as client:
        before = scene.host.drops(anna)["silent"]
        client.sendto(b"q", (VIP[family], PORT))
        assert wait(lambda: scene.host.drops(anna)["silent"] > before)


def test_a_socket_of_datagrams_stays_with_its_backend_while_that_is_one(scene):
    scene.serve_by(scene.containers)
    with scene.open(scene.containers[0], 4, DATAGRAM) as client:
        told = {datagram(client, VIP[4])[0] for _ in range(40)}
        (first,) = told
        left = [c for c in scene.containers if not first.startswith(f"{c.number} ")]
        scene.serve_by(left)
        (second,) = {datagram(client, VIP[4])[0] for _ in range(40)}
        assert first != second
        scene.serve_by(scene.containers)  # whose slots are other ones now
        assert {second} == {datagram(client, VIP[4])[0] for _ in range(40)}


def test_a_connection_is_counted_until_its_socket_is_closed(scene):
    anna, bert, _ = scene.containers
    scene.serve_by([bert])
    for kind in (STREAM, DATAGRAM):
        for family in (4, 6):
            place = bert.address(family), BACKEND, PROTOCOLS[kind]
            with scene.open(anna, family, kind) as client:
                client.connect((VIP[family], PORT))
                assert 1 == scene.connections(*place)
                with client.dup():
                    client.close()
                    assert 1 == scene.connections(*place)
            assert 0 == scene.connections(*place)


def test_a_socket_that_connects_again_is_counted_once_and_where_it_went_last(scene):
    anna, bert, carl = scene.containers
    scene.serve_by([bert])
    there, elsewhere = ((c.address(4), BACKEND, UDP) for c in (bert, carl))
    with scene.open(anna, 4, DATAGRAM) as client:
        for _ in range(3):
            client.connect((VIP[4], PORT))
            assert 1 == scene.connections(*there)
        scene.serve_by([carl])
        client.connect((VIP[4], PORT))
        assert (0, 1) == (scene.connections(*there), scene.connections(*elsewhere))
        client.connect((bert.address(4), BACKEND))
        assert (0, 0) == (scene.connections(*there), scene.connections(*elsewhere))
        assert (bert.address(4), BACKEND) == client.getpeername()


def test_a_stream_that_is_refused_and_tries_again_is_counted_once(scene):
    anna, bert, _ = scene.containers
    closed = (bert.address(4), BACKEND + 1)
    scene.serve({port_key(VIP[4], PORT, TCP): frontend([closed])})
    with scene.open(anna, 4, STREAM) as client:
        client.settimeout(None)
        for _ in range(3):
            assert errno.ECONNREFUSED == client.connect_ex((VIP[4], PORT))
            assert 1 == scene.connections(*closed, TCP)
        assert errno.ECONNREFUSED == client.connect_ex(closed)
        assert 0 == scene.connections(*closed, TCP)


@pytest.mark.parametrize("kind", [STREAM, DATAGRAM])
def test_a_client_that_is_killed_is_counted_no_more(scene, kind):
    anna, bert, _ = scene.containers
    scene.serve_by([bert])
    place = bert.address(4), BACKEND, PROTOCOLS[kind]
    client = scene.open(anna, 4, kind)
    client.connect((VIP[4], PORT))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[client.fileno()]) as holder:
        client.close()
        assert 1 == scene.connections(*place)
        holder.kill()
    assert wait(lambda: scene.connections(*place) == 0)


def test_a_backend_of_a_published_port_is_not_counted(scene):
    """It is one as long as the port is published, and nobody chooses."""
    (bert,) = scene.containers[1:2]
    key = abi.PortKey(*place_of("127.0.0.1", 8080), UDP)
    scene.host.put("publications", {key: abi.Publication(*place_of(bert.address(4), BACKEND))})
    with scene.open(scene.home, 4, DATAGRAM) as client:
        client.connect(("127.0.0.1", 8080))
        asked = scene.asked(client)
        assert asked is not None
        assert 0 == asked.counted == scene.connections(bert.address(4), BACKEND, UDP)
