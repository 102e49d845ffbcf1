"""Which backend a connection gets, by each algorithm. Sockets of datagrams connect without a
packet, so that thousands may.

The thresholds of chi-squared are those that chance passes once in a million times.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from seaway.bpf import abi
from serviced import DATAGRAM, PORT, UDP, VIP, Scene, chi_squared, place_of, scenes

ONE_IN_A_MILLION = {3: 30.665, 9: 44.811}  # by degrees of freedom
TEN = [(f"10.208.0.{number}", 7000 + number) for number in range(1, 11)]
FOUR, WEIGHTS = TEN[:4], (1, 2, 3, 4)
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
        found: Counter[tuple[bytes, bytes]] = Counter()
        for _ in range(times):
            made.connect((VIP[4], PORT))
            found[scene.backend(made)] += 1
    return found


def counts(found: Counter[tuple[bytes, bytes]], places: list[tuple[str, int]]) -> list[int]:
    assert found.keys() <= {place_of(*place) for place in places}
    return [found[place_of(*place)] for place in places]


def test_random_gives_each_the_same_share(scene):
    scene.serve_places(TEN)
    found = counts(chosen(scene, 10_000), TEN)
    assert chi_squared(found, [1000] * 10) < ONE_IN_A_MILLION[9]


def test_random_gives_each_the_share_of_its_weight(scene):
    scene.serve_places(FOUR, weights=WEIGHTS)
    found = counts(chosen(scene, 10_000), FOUR)
    assert chi_squared(found, [1000, 2000, 3000, 4000]) < ONE_IN_A_MILLION[3]


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
    both = chosen(scene, 55) + chosen(scene, 45, client=1)
    assert [10] * 10 == counts(both, TEN)


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


def test_least_connections_gives_those_that_are_equal_the_same_chance(scene):
    """One socket at a time: all others have none, wherever they stand."""
    scene.serve_places(TEN, algorithm=abi.SERVICE_LEAST)
    found = counts(chosen(scene, 10_000), TEN)
    assert chi_squared(found, [1000] * 10) < ONE_IN_A_MILLION[9]


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
