"""The map of what answers look like whose flow is forgotten, by the addresses of backends."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

import contracts
from seaway.bpf import abi
from seaway.bpf.origins import OriginTarget
from seaway.bpf.table import Table
from seaway.model.addresses import mapped

V4, V6 = ip_address("10.208.0.1"), ip_address("fd00::1")
HOST = mapped(ip_address("192.0.2.1"))
SEVERAL = abi.Origin(bytes(16), bytes(2))


def ports(address, *numbers, origin=SEVERAL):
    """Of TCP, each with this origin."""
    return tuple(
        (abi.PortKey(mapped(address), number.to_bytes(2, "big"), 6), origin) for number in numbers
    )


OBJECTS = {
    V4: ports(V4, 80, 8080),
    V6: ports(V6, 443, origin=abi.Origin(HOST, b"\x1f\x90")),
}


class OnStage:
    """The target, called where its descriptor's namespaces are."""

    name = OriginTarget.name

    def __init__(self, world):
        self._place = world.place
        self._target = world.place.run(OriginTarget, world.plane)
        self.table = Table(world.plane.maps[self.name])

    def read(self):
        return self._place.run(self._target.read)

    def look(self, keys):
        return self._place.run(self._target.look, keys)

    def put(self, objects):
        return self._place.run(self._target.put, objects)

    def delete(self, keys):
        return self._place.run(self._target.delete, keys)


@pytest.fixture
def target(world):
    found = OnStage(world)
    found.delete(set(found.read()))
    yield found
    found.delete(set(found.read()))


def test_objects_are_put_and_deleted_and_both_may_be_repeated(target):
    contracts.puts_and_deletes(target, OBJECTS)


@pytest.mark.parametrize("other", [ports(V4, 80), ports(V4, 81), ports(V4, 79, 80, 8080)])
def test_other_ports_of_an_address_take_the_place_of_the_old(target, other):
    contracts.changes_what_is_there(target, OBJECTS, {V4: other})
    assert len(other) + 1 == len(list(target.table.elements()))


def test_what_was_changed_by_hand_is_put_back(target):
    def meddle():
        (key, _), _ = OBJECTS[V4]
        target.table.delete([key.pack()])
        (strange, _) = ports(V4, 9)[0]
        target.table.update([(strange.pack(), SEVERAL.pack())])

    contracts.finds_and_repairs_drift(target, OBJECTS, meddle)
