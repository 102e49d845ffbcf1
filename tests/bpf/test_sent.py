"""What goes to which other host is counted with the way there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from beyond import BEYOND, FAR, LONE, NORTH, SOUTH, World, frame_of, inner, sends
from cast import datagram, sent
from seaway.bpf import abi
from seaway.bpf.sent import Sent, _possible
from stage import stage
from ways import look_anew

FAMILIES = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with stage() as place:
        place.shell(BEYOND)
        made = place.run(World, place)
        yield made
        place.run(made.close)


@pytest.fixture
def world(made: World) -> World:
    made.reset()
    made.connect(1, 2)
    return made


def count(world: World, *hosts: int) -> dict[int, int]:
    return world.place.run(Sent(world.pins).read, hosts)


@FAMILIES
def test_bytes_to_each_host_are_counted(world, family):
    frames = {h.number: sent(family, h.address(family)) / datagram() for h in (NORTH, SOUTH)}
    before = count(world, *frames)
    for times, frame in enumerate(frames.values(), 1):
        for _ in range(times):
            assert "redirect" == world.send(frame).verdict
            look_anew()
    after = count(world, *frames)

    assert [len(f) * times for times, f in enumerate(frames.values(), 1)] == [
        after[host] - before.get(host, 0) for host in frames
    ]


def test_by_each_routing(world):
    frame = sent(4, NORTH.address(4)) / datagram()
    before = count(world, NORTH.number).get(NORTH.number, 0)
    assert "redirect" == world.send(frame).verdict
    path = {NORTH.number | abi.PATH_LATENCY: abi.Path(NORTH.number)}
    world.place.run(world.targets["paths"].put, path)
    world.meet(replace(NORTH, flags=abi.REMOTE_LATENCY))
    assert "redirect" == world.send(frame).verdict

    assert 2 * len(frame) == count(world, NORTH.number)[NORTH.number] - before


def test_who_has_the_place_of_another_has_not_its_count(world):
    frame, other = sent(4, NORTH.address(4)) / datagram(), NORTH.number + abi.WAY_HOSTS
    for _ in range(3):
        assert "redirect" == world.send(frame).verdict
    counter = Sent(world.pins)
    before = world.place.run(counter.read, [NORTH.number])[NORTH.number]
    world.place.run(world.targets["paths"].put, {other: abi.Path(NORTH.number)})
    block = NORTH.block(4)
    world.place.run(world.targets["remotes"].put, {block: abi.Remote(other, NORTH.network)})
    look_anew()
    assert "redirect" == world.send(frame).verdict

    after = world.place.run(counter.read, [NORTH.number])[NORTH.number]
    assert len(frame) == after - before


@FAMILIES
def test_what_goes_by_a_relay_counts_for_that_alone(world, family):
    """It is the link to the relay that has to be known to fail."""
    frame, counter = sent(family, FAR.address(family)) / datagram(), Sent(world.pins)
    numbers = [host.number for host in (NORTH, SOUTH, FAR)]
    first = dict.fromkeys(numbers, 0) | world.place.run(counter.read, numbers)
    for relay in (NORTH, SOUTH, SOUTH):
        world.path(FAR, relay)
        assert "redirect" == world.send(frame).verdict
        last = world.place.run(counter.read, numbers)

    grown = {number: last.get(number, 0) - first[number] for number in numbers}
    size = len(frame)
    assert {NORTH.number: size, SOUTH.number: 2 * size, FAR.number: 0} == grown


@FAMILIES
def test_what_this_host_relays_counts_as_well(world, family):
    world.path(LONE, NORTH)
    packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))
    counter = Sent(world.pins)
    before = world.place.run(counter.read, [NORTH.number]).get(NORTH.number, 0)
    assert "redirect" == world.from_wire(sends(NORTH, packet)).verdict

    after = world.place.run(counter.read, [NORTH.number])[NORTH.number]
    assert len(packet) == after - before


def test_nobody_is_asked_of_nobody(world):
    assert {} == count(world)
    assert {} == world.place.run(Sent(world.pins / "nowhere").read, (1,))


def test_as_many_cpus_as_there_may_be():
    assert [1, 4, 5] == [_possible(text) for text in ("0\n", "0-3\n", "0,2-5\n")]
