"""What becomes of the sockets that speak with a backend which left its service.

The scene is that of `serviced`; a clock of the test's says when the time to drain is over.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from dataplane import Container
from seaway.bpf import abi
from seaway.bpf.partings import Parting, Partings, diag_of
from seaway.bpf.table import Table
from seaway.draining import Draining, Lingering
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
    frontend,
    port_key,
    scenes,
)

FAMILIES = pytest.mark.parametrize("family", [4, 6])
DRAIN = 30.0


@pytest.fixture(scope="module")
def stood() -> Iterator[Scene]:
    with scenes() as made:
        yield made


@pytest.fixture
def scene(stood: Scene) -> Iterator[Scene]:
    stood.serve_by(stood.containers[1:2])
    yield stood
    stood.clear()
    stood.clock.now += 1000
    stood.end_parted()


def asking(
    scene: Scene, who: Container | Path, family: int, kind: int, place: str = ""
) -> socket.socket:
    """Somebody who is answered; by the VIP, if by no other address."""
    client = scene.open(who, family, kind)
    client.connect((place or VIP[family], PORT))
    assert answered(client)
    return client


def answered(client: socket.socket) -> bool:
    """Of a socket that was ended its owner is told."""
    try:
        client.send(b"q")
        return bool(client.recv(100))
    except OSError as error:
        if error.errno not in {errno.ECONNABORTED, errno.EDESTADDRREQ, errno.EPIPE}:
            raise
        return False


def lost(scene: Scene, partings: Partings, found: Iterable[Parting]) -> None:
    """What an agent does that begins anew."""
    draining = Draining(scene.facts, partings, Lingering(scene.facts, scene.clock), {})
    serves = partial(scene.host.place.run, scene.services.serves)
    draining.lost(one for one in found if not serves(one.service, one.backend))
    draining.look()


@FAMILIES
def test_datagrams_end_at_once_of_containers_and_of_the_host(scene, family):
    """Where the backend is no endpoint any more, as everywhere here where none is known."""
    anna, _, carl = scene.containers
    with (
        closing(asking(scene, anna, family, DATAGRAM)) as one,
        closing(asking(scene, scene.home, family, DATAGRAM)) as two,
    ):
        scene.serve_by([carl])
        assert 2 == scene.end_parted()
        assert [False, False] == [answered(one), answered(two)]
        one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # read, as an owner reads it
        one.connect((VIP[family], PORT))
        assert answered(one)


def test_who_asked_a_port_of_every_host_by_its_loopback_ends_alike(scene):
    """And nobody else: neither who asked the VIP, nor who asks again."""
    _, bert, carl = scene.containers
    ports = {port_key("0.0.0.0", PORT, UDP): frontend([(bert.address(4), BACKEND)])}
    scene.serve(ports)
    with (
        closing(asking(scene, scene.home, 4, DATAGRAM)) as by_vip,
        closing(asking(scene, scene.home, 4, DATAGRAM, "127.0.0.1")) as by_port,
    ):
        lost(scene, scene.partings, scene.host.place.run(scene.partings.find))
        assert 0 == scene.end_parted()
        scene.serve({key: frontend([(carl.address(4), BACKEND)]) for key in ports})
        assert 1 == scene.end_parted()
        assert (True, False) == (answered(by_vip), answered(by_port))
    with closing(asking(scene, scene.home, 4, DATAGRAM, "127.0.0.1")) as again:
        assert 0 == scene.end_parted()
        assert answered(again)


class Late(Table):
    """Of connections: somebody connects between the reading and the deletion."""

    def __init__(self, fd: int, connect: Callable[[], None]) -> None:
        super().__init__(fd)
        self._connect = connect

    def delete(self, keys: Sequence[bytes]) -> dict[bytes, OSError]:
        self._connect()
        return super().delete(keys)


@pytest.mark.parametrize("work", ["find", "end"])
def test_who_connects_while_those_without_connections_are_looked_for_is_counted(scene, work):
    anna, bert, _ = scene.containers
    place = port_key(bert.address(4), BACKEND, TCP)
    asking(scene, anna, 4, STREAM).close()
    assert scene.table("serving").element(place.pack()) == bytes(8)
    clients: list[socket.socket] = []

    def connect() -> None:
        if not clients:
            clients.append(asking(scene, anna, 4, STREAM))

    partings = scene.host.place.run(Partings, scene.host.plane, lambda: (), scene.clock)
    partings._serving = Late(scene.host.plane.maps["serving"], connect)
    if work == "find":
        scene.host.place.run(partings.find)
    else:
        partings.left(port_key(VIP[4], PORT + 1, TCP), [place], 0.0)
        scene.host.place.run(partings.end, scene.services.serves)
    connect()
    with closing(clients[0]):
        assert 1 == scene.connections(bert.address(4), BACKEND, TCP)


@pytest.mark.parametrize("work", ["find", "end"])
def test_whom_nobody_is_connected_to_is_counted_no_more_where_there_are_many(scene, work):
    run, plane = scene.host.place.run, scene.host.plane
    partings = run(Partings, plane, lambda: (), scene.clock, much=2)
    table, places = scene.table("serving"), [port_key(f"10.9.0.{n}", 1, TCP) for n in range(4)]
    table.update([(place.pack(), bytes(8)) for place in places])
    bert = port_key(scene.containers[1].address(4), BACKEND, TCP)
    with closing(asking(scene, scene.containers[0], 4, STREAM)):
        if work == "end":
            partings.left(port_key(VIP[4], PORT + 1, TCP), places, 0.0)
            assert 0 == run(partings.end, scene.services.serves)
        else:
            run(partings.find)
        assert [bert.pack()] == [key for key, _ in table.elements()]


def test_a_mapped_address_ends_alike(scene):
    with closing(scene.open(scene.containers[0], 6, DATAGRAM)) as client:
        client.connect((f"::ffff:{VIP[4]}", PORT))
        assert answered(client)
        scene.serve_by(scene.containers[2:])
        assert 1 == scene.end_parted()
        assert not answered(client)


@FAMILIES
def test_a_connection_lives_until_its_time_to_drain_is_over(scene, family):
    anna, bert, carl = scene.containers
    with closing(asking(scene, anna, family, STREAM)) as client:
        scene.serve_by([carl])
        assert (0, 0.0) == (scene.end_parted(), scene.partings.due and 0.0)
        scene.clock.now += DRAIN - 1
        assert (0, 1.0) == (scene.end_parted(), scene.partings.due)
        assert answered(client)
        assert 1 == scene.connections(bert.address(family), BACKEND, TCP)
        scene.clock.now += 1
        assert 1 == scene.end_parted()
        assert not answered(client)


@FAMILIES
def test_datagrams_have_the_same_time_while_the_backend_is_there(scene, family):
    """An answer that is under way arrives."""
    anna, bert, carl = scene.containers
    scene.know(scene.containers)
    with (
        closing(asking(scene, anna, family, DATAGRAM)) as client,
        closing(asking(scene, scene.home, family, DATAGRAM)) as of_host,
    ):
        client.send(b"q")
        scene.serve_by([carl])
        scene.clock.now += DRAIN - 1
        assert (0, 1.0) == (scene.end_parted(), scene.partings.due)
        assert client.recv(100)
        assert [True, True] == [answered(client), answered(of_host)]
        assert 2 == scene.connections(bert.address(family), BACKEND, UDP)
        of_host.close()
        assert 1 == scene.connections(bert.address(family), BACKEND, UDP)
        scene.clock.now += 1
        assert 1 == scene.end_parted()
        assert not answered(client)


@FAMILIES
def test_datagrams_end_with_a_backend_that_vanishes_while_it_drains_and_streams_do_not(
    scene, family
):
    anna, bert, carl = scene.containers
    other = port_key(VIP[family], PORT + 1, UDP)
    scene.know(scene.containers)
    scene.serve({other: frontend([(carl.address(family), BACKEND)])})
    with (
        closing(asking(scene, anna, family, DATAGRAM)) as gone,
        closing(scene.open(anna, family, DATAGRAM)) as waiting,
        closing(asking(scene, anna, family, STREAM)) as stream,
    ):
        waiting.connect((VIP[family], PORT + 1))
        scene.serve_by([carl])
        scene.serve({other: frontend([(anna.address(family), BACKEND)])})
        assert 0 == scene.end_parted()
        scene.know([anna, carl])
        assert 1 == scene.end_parted()
        assert [False, True, True] == [answered(c) for c in (gone, waiting, stream)]
        scene.clock.now += DRAIN
        assert 2 == scene.end_parted()
        assert [False, False] == [answered(waiting), answered(stream)]
        assert 1 == scene.connections(bert.address(family), BACKEND, UDP)


@pytest.mark.parametrize("kind", [STREAM, DATAGRAM])
def test_a_backend_that_is_one_again_keeps_its_connections(scene, kind):
    anna, bert, carl = scene.containers
    scene.know(scene.containers)
    with closing(asking(scene, anna, 4, kind)) as client:
        scene.serve_by([carl])
        scene.serve_by([bert, carl])
        scene.clock.now += DRAIN
        assert 0 == scene.end_parted()
        assert answered(client)


def test_a_service_that_goes_takes_its_connections_along(scene):
    with closing(asking(scene, scene.containers[0], 4, STREAM)) as client:
        scene.clear_services()
        scene.clock.now += DRAIN
        assert 1 == scene.end_parted()
        assert not answered(client)


def test_only_who_asked_that_service_ends(scene):
    """Not who speaks with the backend itself, nor who came by another service."""
    anna, bert, carl = scene.containers
    other = port_key(VIP[4], PORT + 1, UDP)
    scene.serve({other: frontend([(bert.address(4), BACKEND)])})
    with (
        closing(asking(scene, anna, 4, DATAGRAM)) as gone,
        closing(scene.open(anna, 4, DATAGRAM)) as direct,
        closing(scene.open(anna, 4, DATAGRAM)) as by_another,
    ):
        direct.connect((bert.address(4), BACKEND))
        by_another.connect((VIP[4], PORT + 1))
        scene.serve_by([carl])
        assert 1 == scene.end_parted()
        assert [False, True, True] == [answered(c) for c in (gone, direct, by_another)]


def test_nobody_is_looked_for_where_nobody_asked(scene):
    """Else each change of a service would go through all namespaces."""

    def spaces() -> Iterator[tuple[str, int]]:
        raise AssertionError
        yield

    bert = scene.containers[1]
    partings = scene.host.place.run(Partings, scene.host.plane, spaces, scene.clock)
    service, backend = (port_key(a, p, UDP) for a, p in ((VIP[4], PORT), (bert.address(4), 1)))
    partings.left(service, [backend], 0.0)
    assert 0 == scene.host.place.run(partings.end, lambda *_: False)


def test_what_went_while_no_agent_was_here_has_its_time_from_now_on(scene):
    anna, _, carl = scene.containers
    with (
        closing(asking(scene, anna, 4, STREAM)) as stream,
        closing(asking(scene, anna, 4, DATAGRAM)) as datagrams,
    ):
        scene.serve_by([carl])
        run = scene.host.place.run
        partings = run(Partings, scene.host.plane, lambda: scene.spaces, scene.clock)
        lost(scene, partings, run(partings.find))
        assert 1 == run(partings.end, scene.services.serves)
        assert [True, False] == [answered(stream), answered(datagrams)]
        scene.clock.now += DRAIN
        assert 1 == run(partings.end, scene.services.serves)
        assert not answered(stream)


def test_of_what_drained_while_no_agent_was_here_datagrams_have_that_time_too(scene):
    """As long as the backend is there."""
    anna, bert, carl = scene.containers
    run, serves = scene.host.place.run, scene.services.serves
    scene.know(scene.containers)
    with (
        closing(asking(scene, anna, 4, DATAGRAM)) as one,
        closing(asking(scene, anna, 6, DATAGRAM)) as other,
    ):
        scene.serve_by([carl])
        partings = run(Partings, scene.host.plane, lambda: scene.spaces, scene.clock)
        lost(scene, partings, run(partings.find))
        assert (0, DRAIN) == (run(partings.end, serves), partings.due)
        assert [True, True] == [answered(one), answered(other)]

        scene.know([anna, carl])
        partings = run(Partings, scene.host.plane, lambda: scene.spaces, scene.clock)
        lost(scene, partings, run(partings.find))
        assert 2 == run(partings.end, serves)
        assert [False, False] == [answered(one), answered(other)]
        assert 1 == scene.connections(bert.address(4), BACKEND, UDP)


@pytest.mark.parametrize("kind", [STREAM, DATAGRAM])
def test_connections_to_a_backend_that_went_are_counted_until_they_are_closed(scene, kind):
    anna, bert, carl = scene.containers
    client = asking(scene, anna, 4, kind)
    scene.serve_by([carl])
    scene.clock.now += DRAIN
    assert 1 == scene.end_parted()
    assert 1 == scene.connections(bert.address(4), BACKEND, PROTOCOLS[kind])
    client.close()
    assert 0 == scene.connections(bert.address(4), BACKEND, PROTOCOLS[kind])


def test_a_namespace_that_is_gone_holds_back_none(scene):
    anna, _, carl = scene.containers
    (path, inode), *_ = scene.spaces
    spaces = [("/run/netns/nowhere", 7), (path, inode + 1), (path, inode)]
    run = scene.host.place.run
    partings = run(Partings, scene.host.plane, lambda: spaces, scene.clock)
    with closing(asking(scene, anna, 4, DATAGRAM)) as client:
        scene.serve_by([carl])
        lost(scene, partings, run(partings.find))
        assert 1 == run(partings.end, scene.services.serves)
        assert not answered(client)


def test_a_namespace_that_cannot_be_entered_now_is_tried_again(scene, tmp_path):
    anna, _, carl = scene.containers
    here = [(str(tmp_path / "loop"), 7)]
    (tmp_path / "loop").symlink_to("loop")
    run = scene.host.place.run
    partings = run(Partings, scene.host.plane, lambda: here, scene.clock)
    with closing(asking(scene, anna, 4, DATAGRAM)) as client:
        gone = port_key(scene.containers[1].address(4), BACKEND, UDP)
        scene.serve_by([carl])
        partings.left(port_key(VIP[4], PORT, UDP), [gone], 0.0)
        assert 0 == run(partings.end, scene.services.serves)
        here[:] = scene.spaces
        assert 1.0 == partings.due
        scene.clock.now += 1
        assert 1 == run(partings.end, scene.services.serves)
        assert not answered(client)


class Choked:
    """Who is asked about sockets, over buffers that are full: as often as told."""

    def __init__(self, diag, full):
        self._diag = diag
        self._full = full

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._diag.close()

    def dump(self, *question):
        return self._diag.dump(*question)

    def request(self, requests):
        if self._full:
            raise OSError(self._full.pop(), "no buffer space available")
        return self._diag.request(requests)


def test_a_kernel_that_gives_no_answer_is_asked_again_and_the_others_at_once(scene):
    anna, bert, carl = scene.containers
    run, full = scene.host.place.run, [errno.ENOBUFS]

    def opened(path, inode):
        return Choked(diag_of(path, inode), full)

    partings = run(Partings, scene.host.plane, lambda: scene.spaces, scene.clock, opened=opened)
    with (
        closing(asking(scene, anna, 4, DATAGRAM)) as one,
        closing(asking(scene, bert, 4, DATAGRAM)) as two,
    ):
        found = run(partings.find)
        scene.serve_by([carl])
        lost(scene, partings, found)
        assert 1 == run(partings.end, scene.services.serves)
        assert 1.0 == partings.due
        assert {True, False} == {answered(one), answered(two)}
        scene.clock.now += 1
        assert 1 == run(partings.end, scene.services.serves)
        assert [False, False] == [answered(one), answered(two)]
        assert partings.due is None


def test_weights_and_algorithms_that_change_end_nothing(scene):
    anna, bert, _ = scene.containers
    with closing(asking(scene, anna, 4, DATAGRAM)) as client:
        scene.serve_by([bert], weights=(5,), algorithm=abi.SERVICE_LEAST, affinity=9)
        assert scene.partings.due is None
        assert answered(client)
