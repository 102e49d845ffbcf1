"""What goes to which other host is counted with the way there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from beyond import FAR, LONE, NORTH, SOUTH, World, frame_of, inner, sends
from cast import datagram, sent
from seaway.bpf import abi
from seaway.bpf.sent import Sent, _possible
from ways import look_anew

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def count(beyond: World, *hosts: int) -> dict[int, int]:
    return beyond.place.run(Sent(beyond.pins).read, hosts)


@FAMILIES
def test_bytes_to_each_host_are_counted(beyond, family):
    frames = {h.number: sent(family, h.address(family)) / datagram() for h in (NORTH, SOUTH)}
    before = count(beyond, *frames)
    for times, frame in enumerate(frames.values(), 1):
        for _ in range(times):
            assert "redirect" == beyond.send(frame).verdict
            look_anew()
    after = count(beyond, *frames)

    assert [len(f) * times for times, f in enumerate(frames.values(), 1)] == [
        after[host] - before.get(host, 0) for host in frames
    ]


def test_each_of_several_next_hops_for_its_share(beyond):
    beyond.path(FAR, NORTH, SOUTH)
    counter, grown = Sent(beyond.pins), Counter()
    relays = {relay.mac: relay.number for relay in (NORTH, SOUTH)}
    first = Counter(beyond.place.run(counter.read, relays.values()))
    for flow in range(20):
        frame = sent(4, FAR.address(4)) / UDP(sport=1000 + flow, dport=7)
        grown[relays[Ether(beyond.send(frame).frame).dst]] += len(frame)
    last = Counter(beyond.place.run(counter.read, relays.values()))

    assert set(relays.values()) == set(grown)
    assert grown == last - first


def test_by_each_routing(beyond):
    frame = sent(4, NORTH.address(4)) / datagram()
    before = count(beyond, NORTH.number).get(NORTH.number, 0)
    assert "redirect" == beyond.send(frame).verdict
    path = {NORTH.number | abi.PATH_LATENCY: abi.Path(NORTH.number)}
    beyond.place.run(beyond.targets["paths"].put, path)
    beyond.meet(replace(NORTH, flags=abi.REMOTE_LATENCY))
    assert "redirect" == beyond.send(frame).verdict

    assert 2 * len(frame) == count(beyond, NORTH.number)[NORTH.number] - before


def test_who_has_the_place_of_another_has_not_its_count(beyond):
    frame, other = sent(4, NORTH.address(4)) / datagram(), NORTH.number + abi.WAY_HOSTS
    for _ in range(3):
        assert "redirect" == beyond.send(frame).verdict
    counter = Sent(beyond.pins)
    before = beyond.place.run(counter.read, [NORTH.number])[NORTH.number]
    beyond.place.run(beyond.targets["paths"].put, {other: abi.Path(NORTH.number)})
    block = NORTH.block(4)
    beyond.place.run(beyond.targets["remotes"].put, {block: abi.Remote(other, NORTH.network)})
    look_anew()
    assert "redirect" == beyond.send(frame).verdict

    after = beyond.place.run(counter.read, [NORTH.number])[NORTH.number]
    assert len(frame) == after - before


@FAMILIES
def test_what_goes_by_a_relay_counts_for_that_alone(beyond, family):
    """It is the link to the relay that has to be known to fail."""
    frame, counter = sent(family, FAR.address(family)) / datagram(), Sent(beyond.pins)
    numbers = [host.number for host in (NORTH, SOUTH, FAR)]
    first = dict.fromkeys(numbers, 0) | beyond.place.run(counter.read, numbers)
    for relay in (NORTH, SOUTH, SOUTH):
        beyond.path(FAR, relay)
        assert "redirect" == beyond.send(frame).verdict
        last = beyond.place.run(counter.read, numbers)

    grown = {number: last.get(number, 0) - first[number] for number in numbers}
    size = len(frame)
    assert {NORTH.number: size, SOUTH.number: 2 * size, FAR.number: 0} == grown


@FAMILIES
def test_what_this_host_relays_counts_as_well(beyond, family):
    beyond.path(LONE, NORTH)
    packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))
    counter = Sent(beyond.pins)
    before = beyond.place.run(counter.read, [NORTH.number]).get(NORTH.number, 0)
    assert "redirect" == beyond.from_wire(sends(NORTH, packet)).verdict

    after = beyond.place.run(counter.read, [NORTH.number])[NORTH.number]
    assert len(packet) == after - before


def test_nobody_is_asked_of_nobody(beyond):
    assert {} == count(beyond)
    assert {} == beyond.place.run(Sent(beyond.pins / "nowhere").read, (1,))


def test_as_many_cpus_as_there_may_be():
    assert [1, 4, 5] == [_possible(text) for text in ("0\n", "0-3\n", "0,2-5\n")]
