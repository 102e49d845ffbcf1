"""Limits of connections: of a service, fair between its clients, and of what an endpoint opens.

Real sockets under the hooks; those of datagrams connect without a packet.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dataplane import Container
from seaway.bpf import abi
from seaway.bpf.limits import LimitTarget, Uses
from seaway.model.reports import Use
from serviced import BACKEND, DATAGRAM, PORT, STREAM, VIP, Scene, cookie, scenes

SERVICE, OWN = 7, 8  # numbers of limits
TEN = [(f"10.208.0.{number}", BACKEND) for number in range(1, 11)]
HOST = 1  # no cookie of a namespace of the tests


@pytest.fixture(scope="module")
def stood() -> Iterator[Scene]:
    with scenes(3) as made:
        yield made


@pytest.fixture
def scene(stood: Scene) -> Iterator[Scene]:
    yield stood
    stood.host.put("clients", {cookie(c): abi.Client(c.number) for c in stood.containers})
    stood.clear()


class Asker:
    """A container that opens one socket after another to the service, and keeps those it gets."""

    def __init__(self, scene: Scene, container: Container, stack: ExitStack) -> None:
        self._scene = scene
        self._container = container
        self._stack = stack
        self.has = []

    def ask(self, place=(VIP[4], PORT), kind: int = DATAGRAM) -> bool:
        made = self._stack.enter_context(self._scene.open(self._container, 4, kind))
        told = made.connect_ex(place)
        assert told in (0, errno.EBUSY)
        if told:
            made.close()
        else:
            self.has.append(made)
        return not told

    def ask_for(self, most: int, **how) -> int:
        return sum(self.ask(**how) for _ in range(most))

    def close(self, number: int = 1) -> None:
        for _ in range(number):
            self.has.pop().close()


@pytest.fixture
def askers(scene: Scene) -> Iterator[list[Asker]]:
    with ExitStack() as stack:
        yield [Asker(scene, container, stack) for container in scene.containers]


def limit(scene: Scene, number: int, connections: int = 0, rate: int = 0) -> LimitTarget:
    target = LimitTarget(scene.host.plane)
    assert {} == target.put({number: abi.Limit(connections, rate)})
    return target


def serve(scene: Scene, connections: int = 0, rate: int = 0) -> LimitTarget:
    target = limit(scene, SERVICE, connections, rate)
    scene.serve_places(TEN, limit=SERVICE)
    return target


def used(scene: Scene, number: int = SERVICE) -> Use:
    return Uses(scene.host.plane).of(number)


def test_over_the_limit_a_connection_is_refused_at_once_and_counted(scene, askers):
    serve(scene, connections=10)
    first, *_ = askers
    assert 8 == first.ask_for(20)
    assert Use(open=8, full=12) == used(scene)
    first.close()
    assert [True, False] == [first.ask(), first.ask()]
    assert Use(open=8, full=13) == used(scene)


def test_who_has_none_finds_a_place_whatever_others_took(scene, askers):
    """And all together have no more than the limit."""
    serve(scene, connections=10)
    greedy, second, third = askers
    assert 8 == greedy.ask_for(100)
    assert 1 == second.ask_for(100)
    assert 1 == third.ask_for(100)
    assert 10 == used(scene).open


def test_clients_that_all_want_many_come_to_have_equally_many(scene, askers):
    """The greedy one asks ten times as often, and again for each that it closes."""
    serve(scene, connections=45)
    greedy, *others = askers
    greedy.ask_for(100)
    assert 36 <= len(greedy.has)
    for _ in range(100):
        greedy.close()
        greedy.ask_for(10)
        for other in others:
            other.ask()
    counts = [len(asker.has) for asker in askers]
    assert max(counts) - min(counts) <= 4, counts  # what one place that is free weighs
    assert 40 <= sum(counts) <= 45


def test_who_wants_little_has_all_of_it(scene, askers):
    serve(scene, connections=30)
    greedy, modest, _ = askers
    greedy.ask_for(100)
    for _ in range(50):
        greedy.close()
        greedy.ask_for(5)
        if len(modest.has) < 4:
            modest.ask()
    assert 4 == len(modest.has)
    assert 18 <= len(greedy.has) <= 26


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_small_limit_is_shared_too(scene, askers, most):
    serve(scene, connections=most)
    greedy, second, _ = askers
    assert max(1, most - 1) == greedy.ask_for(10)
    assert min(1, most - 1) == second.ask_for(10)
    assert most == used(scene).open


def test_a_socket_that_connects_again_gives_back_what_it_took(scene):
    serve(scene, connections=2)
    with scene.open(scene.containers[0], 4, DATAGRAM) as made:
        for _ in range(10):
            made.connect((VIP[4], PORT))
        assert Use(open=1) == used(scene)
        made.connect((scene.containers[1].address(4), BACKEND))
        assert Use(open=0) == used(scene)
    assert Use(open=0) == used(scene)


def test_streams_are_refused_with_a_clear_error_whether_they_wait_or_not(scene):
    limit(scene, SERVICE, connections=1)
    scene.serve_by(scene.containers[1:2], limit=SERVICE)
    with scene.open(scene.containers[0], 4, STREAM) as first:
        first.connect((VIP[4], PORT))
        for waits in (True, False):
            with scene.open(scene.containers[0], 6, STREAM) as second:
                second.setblocking(waits)
                assert errno.EBUSY == second.connect_ex((VIP[6], PORT))
        first.sendall(b"q")
        assert first.recv(100).startswith(b"2 ")
    with scene.open(scene.containers[0], 4, STREAM) as third:
        third.connect((VIP[4], PORT))
    assert Use(open=0, full=2) == used(scene)


def test_new_connections_are_limited_by_the_second(scene, askers):
    """Each of them is closed at once. No more than the rate counts in any second of the clock."""
    serve(scene, rate=20)
    begun = time.monotonic()
    got = 0
    while time.monotonic() < begun + 2.2:
        if askers[0].ask():
            askers[0].close()
            got += 1
    seconds = time.monotonic() - begun
    assert got <= 20 * (seconds + 1), seconds
    assert got >= 20
    assert used(scene).fast > 0
    assert used(scene).full == used(scene).open == 0


def test_a_greedy_client_does_not_take_the_whole_rate(scene, askers):
    """Whoever asked for none lately gets one, at any time."""
    serve(scene, rate=50)
    greedy, second, third = askers
    for other in (second, third):
        while greedy.ask():
            pass
        assert other.ask()


def test_what_an_endpoint_opens_is_limited_wherever_it_leads(scene, askers):
    limit(scene, OWN, connections=3)
    first, second, _ = askers
    scene.host.put("clients", {cookie(scene.containers[0]): abi.Client(1, limit=OWN)})
    scene.serve_places(TEN)
    elsewhere = (scene.containers[2].address(4), BACKEND)
    assert first.ask(place=elsewhere)
    assert first.ask(place=elsewhere, kind=STREAM)
    assert first.ask()
    assert not first.ask()
    assert not first.ask(place=elsewhere)
    assert second.ask(place=elsewhere)
    assert elsewhere == first.has[0].getpeername()
    assert Use(open=3, full=2) == used(scene, OWN)
    first.close(3)
    assert 3 == first.ask_for(10)


def test_the_service_that_refuses_costs_the_endpoint_nothing(scene, askers):
    serve(scene, connections=1)
    limit(scene, OWN, connections=5)
    scene.host.put("clients", {cookie(scene.containers[0]): abi.Client(1, limit=OWN)})
    assert 1 == askers[0].ask_for(10)
    assert Use(open=1) == used(scene, OWN)


def test_a_limit_that_goes_is_forgotten_with_what_was_used_of_it(scene, askers):
    target = serve(scene, connections=5)
    askers[0].ask_for(5)
    assert {} == target.delete({SERVICE})
    assert [] == list(scene.table("uses").elements())
    assert 10 == askers[0].ask_for(10)
    askers[0].close(14)
    assert Use() == used(scene)


def clients_of(scene: Scene) -> set[int]:
    return {abi.UseKey.unpack(key).client for key, _ in scene.table("uses").elements()}


def test_a_client_that_is_gone_takes_nothing_from_others_whatever_it_has_open(scene, askers):
    """Its sockets may live on in a namespace that has no endpoint any more."""
    serve(scene, connections=20)
    first, _, third = askers
    assert 16 == third.ask_for(16)
    assert first.ask()
    scene.host.place.run(scene.host.targets["clients"].delete, {*map(cookie, scene.containers[1:])})
    uses = Uses(scene.host.plane)
    uses.tidy(HOST)
    assert Use(open=1) == used(scene)
    assert cookie(scene.containers[2]) not in clients_of(scene)

    third.close(10)  # what was given back is not given back once more
    assert Use(open=1) == used(scene)
    assert 15 == first.ask_for(20)
    uses.tidy(HOST)
    assert 16 == used(scene).open
    first.close(16)
    assert 0 == used(scene).open


def test_where_there_are_many_those_that_have_nothing_open_make_room(scene, askers):
    serve(scene, connections=20)
    for asker in askers:
        asker.ask()
    askers[2].close()
    scene.table("uses").update(
        [(abi.UseKey(SERVICE, cookie(scene.containers[2])).pack(), abi.Use().pack())]
    )
    Uses(scene.host.plane, many=4).tidy(HOST)
    assert {0, *map(cookie, scene.containers)} == clients_of(scene)
    Uses(scene.host.plane, many=3).tidy(HOST)
    assert {0, *map(cookie, scene.containers[:2])} == clients_of(scene)
