"""What goes to which other host is counted with the way there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from beyond import BEYOND, FAR, NORTH, SOUTH, World
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


def test_whichever_of_several_next_hops_a_flow_takes(world):
    world.path(FAR, NORTH, SOUTH)
    before, total, hosts = count(world, FAR.number).get(FAR.number, 0), 0, set()
    for flow in range(20):
        frame = sent(4, FAR.address(4)) / UDP(sport=1000 + flow, dport=7)
        hosts.add(Ether(world.send(frame).frame).dst)
        total += len(frame)
    after = count(world, FAR.number, NORTH.number, SOUTH.number)

    assert {NORTH.mac, SOUTH.mac} == hosts
    assert total == after[FAR.number] - before


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
    world.place.run(world.targets["paths"].put, {other: abi.Path(NORTH.number)})
    block = NORTH.block(4)
    world.place.run(world.targets["remotes"].put, {block: abi.Remote(other, NORTH.network)})
    look_anew()
    assert "redirect" == world.send(frame).verdict

    assert len(frame) == count(world, NORTH.number, other)[other]


def test_nobody_is_asked_of_nobody(world):
    assert {} == count(world)
    assert {} == world.place.run(Sent(world.pins / "nowhere").read, (1,))


def test_as_many_cpus_as_there_may_be():
    assert [1, 4, 5] == [_possible(text) for text in ("0\n", "0-3\n", "0,2-5\n")]
