"""Which backend a connection gets, by each algorithm. Sockets of datagrams connect without a
packet, so that thousands may.

The thresholds of chi-squared are those that chance passes once in a million times. What holds of a
hundred thousand connections is promised.
"""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from heapq import heappop, heappush
from socket import socket

import pytest

from seaway.bpf import abi, syscall
from seaway.bpf.askers import ASKED, Place
from serviced import (
    DATAGRAM,
    ONE_IN_A_MILLION,
    PORT,
    UDP,
    VIP,
    Scene,
    chi_squared,
    place_of,
    scenes,
)

MANY = 100_000
TEN = [(f"10.208.0.{number}", 7000 + number) for number in range(1, 11)]
FOUR, WEIGHTS = TEN[:4], (1, 2, 3, 4)
NOBODY = "10.208.0.77", 9  # no service: a socket that connects there leaves its backend
LAST = 8  # bytes of struct choice: until when it is kept


@pytest.fixture(scope="module")
def stood() -> Iterator[Scene]:
    with scenes(2) as made:
        yield made


@pytest.fixture
def scene(stood: Scene) -> Iterator[Scene]:
    yield stood
    stood.clear()


def chosen(scene: Scene, times: int, client: int = 0) -> Counter[tuple[bytes, bytes]]:
    """By one socket, which leaves each of them for the next."""
    with scene.open(scene.containers[client], 4, DATAGRAM) as made:
        ask = asking(scene, made)
        found = Counter(ask() for _ in range(times))
    places = ((Place.unpack(place), n) for place, n in found.items())
    return Counter({(place.addr, place.port): n for place, n in places})


def asking(scene: Scene, made: socket) -> Callable[[], bytes]:
    """Connects; the place of who was chosen, as the hooks noted it."""
    storage, key = scene.host.plane.maps["sockets"], made.fileno().to_bytes(4, sys.byteorder)
    where, size = (VIP[4], PORT), len(Place(b"", b"").pack())

    def ask() -> bytes:
        made.connect(where)
        asked = syscall.lookup(storage, key, ASKED)
        assert asked is not None
        return asked[:size]

    return ask


def counts(found: Counter[tuple[bytes, bytes]], places: list[tuple[str, int]]) -> list[int]:
    assert found.keys() <= {place_of(*place) for place in places}
    return [found[place_of(*place)] for place in places]


@pytest.mark.parametrize("algorithm", [abi.SERVICE_RANDOM, abi.SERVICE_LEAST])
def test_chance_gives_each_the_same_share(scene, algorithm):
    """Of one socket: all others have no connection, so the least have all, wherever they stand."""
    scene.serve_places(TEN, algorithm=algorithm)
    found = counts(chosen(scene, MANY), TEN)
    assert chi_squared(found, [MANY / 10] * 10) < ONE_IN_A_MILLION[9]


def test_chance_gives_each_the_share_of_its_weight(scene):
    weights = range(1, 11)
    scene.serve_places(TEN, weights=weights)
    shares = [MANY * weight / sum(weights) for weight in weights]
    assert chi_squared(counts(chosen(scene, MANY), TEN), shares) < ONE_IN_A_MILLION[9]


def test_who_has_no_weight_gets_no_connection(scene):
    weights = {0: (0, 2, 0, 1), 1: (1, 0, 0, 0), 2: (0, 0, 0, 1)}
    for algorithm in (abi.SERVICE_RANDOM, abi.SERVICE_ROUND_ROBIN, abi.SERVICE_LEAST):
        for given in weights.values():
            scene.serve_places(FOUR, weights=given, algorithm=algorithm)
            found = counts(chosen(scene, 300), FOUR)
            expected = [w > 0 for w in given]
            if algorithm == abi.SERVICE_LEAST:  # one socket alone: the heaviest has the least
                expected = [w == max(given) for w in given]
            assert expected == [n > 0 for n in found], (algorithm, given)


def test_round_robin_gives_each_its_turn_whoever_asks(scene):
    scene.serve_places(TEN, algorithm=abi.SERVICE_ROUND_ROBIN)
    both = chosen(scene, MANY // 2 + 5) + chosen(scene, MANY // 2 - 5, client=1)
    assert [MANY / 10] * 10 == counts(both, TEN)


def test_round_robin_gives_each_as_many_turns_as_it_weighs(scene):
    scene.serve_places(FOUR, weights=WEIGHTS, algorithm=abi.SERVICE_ROUND_ROBIN)
    assert [100, 200, 300, 400] == counts(chosen(scene, 1000), FOUR)


def test_least_connections_keeps_all_level_also_when_some_end(scene):
    scene.serve_places(TEN, algorithm=abi.SERVICE_LEAST)
    with ExitStack() as stack:
        held = []
        for step in range(300):
            client = stack.enter_context(scene.open(scene.containers[step % 2], 4, DATAGRAM))
            client.connect((VIP[4], PORT))
            held.append(client)
            if step % 3 == 2:
                held.pop(step // 7).close()
            if not step % 50:
                open_now = [scene.connections(*place, UDP) for place in TEN]
                assert len(held) == sum(open_now)
        for client in held[:60]:  # and those that are left behind are made up for
            client.close()
        del held[:60]
        for _ in range(100):
            client = stack.enter_context(scene.open(scene.containers[0], 4, DATAGRAM))
            client.connect((VIP[4], PORT))
        open_now = [scene.connections(*place, UDP) for place in TEN]
        assert max(open_now) - min(open_now) <= 1


def test_least_connections_are_by_weight(scene):
    scene.serve_places(FOUR, weights=WEIGHTS, algorithm=abi.SERVICE_LEAST)
    with ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(scene.open(scene.containers[0], 4, DATAGRAM))
            client.connect((VIP[4], PORT))
        assert [10, 20, 30, 40] == [scene.connections(*place, UDP) for place in FOUR]


@dataclass
class Course:
    """Connections that come and end by a clock of their own. Each lasts as long as its backend
    works on it.
    """

    scene: Scene
    stack: ExitStack
    works: dict[bytes, float]  # for how long, on average, by backend
    rng: random.Random
    open: dict[bytes, int] = field(default_factory=dict)
    _idle: list[tuple[socket, Callable[[], bytes]]] = field(default_factory=list)
    _busy: list[tuple[float, int, bytes, tuple[socket, Callable[[], bytes]]]] = field(
        default_factory=list
    )
    _now: float = 0.0

    def go_on(self, number: int) -> None:
        """One more comes, one span of the clock after the one before, about."""
        self._now += self.rng.expovariate(1)
        while self._busy and self._busy[0][0] <= self._now:
            _, _, backend, client = heappop(self._busy)
            client[0].connect(NOBODY)
            self.open[backend] -= 1
            self._idle.append(client)
        client = self._idle.pop() if self._idle else self._client()
        backend = client[1]()
        self.open[backend] = self.open.get(backend, 0) + 1
        until = self._now + self.rng.expovariate(1 / self.works[backend])
        heappush(self._busy, (until, number, backend, client))

    def _client(self) -> tuple[socket, Callable[[], bytes]]:
        """Of both containers half."""
        where = self.scene.containers[len(self._busy) % 2]
        made = self.stack.enter_context(self.scene.open(where, 4, DATAGRAM))
        return made, asking(self.scene, made)


def test_least_connections_is_level_also_where_one_is_five_times_slower(scene, tell):
    scene.serve_places(TEN, algorithm=abi.SERVICE_LEAST)
    names = [Place(*place_of(*place)).pack() for place in TEN]
    works = dict.fromkeys(names, 500.0) | {names[3]: 2500.0}
    distances = []
    with ExitStack() as stack:
        course = Course(scene, stack, works, random.Random(6))
        for number in range(MANY):
            course.go_on(number)
            if number > MANY / 10 and not number % 10:
                level = sum(course.open.values()) / 10
                distances.append(max(abs(n - level) for n in course.open.values()) / level)
            if not number % 10_000:
                counted = [scene.connections(*place, UDP) for place in TEN]
                assert [course.open.get(name, 0) for name in names] == counted
    away = sum(distances) / len(distances)
    tell(f"from level {away:.2%} on average, {max(distances):.2%} at most")
    assert away < 0.05


def test_a_client_with_affinity_keeps_its_backend_and_others_have_theirs(scene):
    scene.serve_places(TEN, affinity=600)
    (first,), (second,) = (chosen(scene, 50, client) for client in (0, 1))
    assert {first, second} <= {place_of(*place) for place in TEN}
    assert {first} == chosen(scene, 50).keys()
    with scene.open(scene.containers[0], 4, DATAGRAM) as client:
        client.sendto(b"q", (VIP[4], PORT))
        client.connect((VIP[4], PORT))
        assert first == scene.backend(client)


def test_affinity_moves_with_the_slot_and_dies_with_the_backend(scene):
    scene.serve_places(TEN, affinity=600)
    (kept,) = chosen(scene, 1)
    others = [place for place in TEN if place_of(*place) != kept]
    scene.serve_places(others, affinity=600)
    (other,) = chosen(scene, 50)
    assert kept != other
    scene.serve_places(list(reversed(TEN)), affinity=600)
    assert {other} == chosen(scene, 50).keys()


def test_affinity_ends_with_the_weight_of_the_backend(scene):
    scene.serve_places(TEN, affinity=600)
    (kept,) = chosen(scene, 1)
    weights = [0 if place_of(*place) == kept else 1 for place in TEN]
    scene.serve_places(TEN, weights=weights, affinity=600)
    assert kept not in chosen(scene, 50)


def test_affinity_ends_when_it_was_not_used_for_its_time(scene):
    scene.serve_places(TEN, affinity=600)
    affinities = scene.table("affinities")
    found = set()
    for _ in range(100):
        found |= chosen(scene, 3).keys()
        ((key, value),) = affinities.elements()
        now = int.from_bytes(value[-LAST:], sys.byteorder)
        assert {} == affinities.update(
            [(key, value[:-LAST] + (now - 700).to_bytes(LAST, "little"))]
        )
    assert len(found) > 1


def test_each_use_of_an_affinity_gives_it_its_whole_time_again(scene):
    scene.serve_places(TEN, affinity=600)
    affinities = scene.table("affinities")
    chosen(scene, 1)
    ((key, value),) = affinities.elements()
    until = int.from_bytes(value[-LAST:], sys.byteorder)
    affinities.update([(key, value[:-LAST] + (until - 500).to_bytes(LAST, "little"))])
    chosen(scene, 1)
    ((_, value),) = affinities.elements()
    assert until <= int.from_bytes(value[-LAST:], sys.byteorder) <= until + 60


@pytest.mark.parametrize("algorithm", [abi.SERVICE_RANDOM, abi.SERVICE_ROUND_ROBIN])
def test_nobody_is_refused_while_backends_come_and_go(scene, algorithm):
    """Each look of a program falls between two writes of the target."""
    scene.serve_places(TEN, algorithm=algorithm)
    stop = threading.Event()
    told: list[int] = []

    def ask() -> None:
        with scene.open(scene.containers[0], 4, DATAGRAM) as client:
            while not stop.is_set():
                told.append(client.connect_ex((VIP[4], PORT)))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for step in range(400):
            places = TEN[: 1 + step * 7 % 10]
            weights = [1 + (step * 3 + n) % 5 for n in range(len(places))] if step % 3 else ()
            scene.serve_places(places, weights=weights, algorithm=algorithm)
    finally:
        stop.set()
        thread.join(60)
    assert len(told) > 100
    assert {0} == set(told)
