"""Ports of endpoints that stand behind published ones: the map keeps a target's contract."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

import contracts
from cast import World
from seaway.bpf import abi
from seaway.bpf.behind import BehindTarget
from seaway.bpf.table import Table
from seaway.model.addresses import Address, mapped

ONE, OTHER = IPv4Address("10.208.0.1"), IPv6Address("fd00::1")


def ports(address: Address, *numbers: int) -> frozenset[abi.PortKey]:
    return frozenset(
        abi.PortKey(mapped(address), number.to_bytes(2, "big"), 6) for number in numbers
    )


class OnStage:
    """The target, called where its descriptors are."""

    name = "behind"

    def __init__(self, world: World) -> None:
        self._run = world.place.run
        self._target = self._run(BehindTarget, world.plane)
        self.table = Table(world.plane.maps["behind"])

    def read(self) -> Any:
        return self._run(self._target.read)

    def put(self, objects: Any) -> Any:
        return self._run(self._target.put, objects)

    def delete(self, keys: Any) -> Any:
        return self._run(self._target.delete, keys)


@pytest.fixture
def target(world):
    found = OnStage(world)
    found.delete(set(found.read()))
    return found


def test_ports_are_put_and_deleted_and_both_may_be_repeated(target):
    contracts.puts_and_deletes(target, {ONE: ports(ONE, 80, 443), OTHER: ports(OTHER, 80)})


def test_a_port_that_is_published_no_more_goes_alone(target):
    old = {ONE: ports(ONE, 80, 443), OTHER: ports(OTHER, 80)}
    contracts.changes_what_is_there(target, old, {ONE: ports(ONE, 443, 53)})
    assert 3 == len(list(target.table.elements()))


def test_what_was_deleted_by_hand_is_put_back(target):
    (port,) = ports(ONE, 80)
    objects = {ONE: ports(ONE, 80, 443)}
    contracts.finds_and_repairs_drift(target, objects, lambda: target.table.delete([port.pack()]))


def test_who_has_no_memory_takes_away_what_another_left(target, world):
    target.put({ONE: ports(ONE, 80, 443)})
    next_one = OnStage(world)
    next_one.read()
    assert {} == next_one.put({ONE: ports(ONE, 80)})
    assert {ONE: ports(ONE, 80)} == next_one.read()
