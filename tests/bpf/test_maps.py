"""Every map that the control plane fills keeps a target's contract."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

import contracts
from cast import ANNA, BERT, World
from seaway.bpf import abi, maps
from seaway.bpf.maps import MapTarget
from seaway.bpf.table import Table
from seaway.model.addresses import mapped
from stage import underlay

OTHER = underlay([IPv4Address("192.0.2.9")])
BACKEND, PORT = mapped(IPv4Address("10.208.0.2")), (8080).to_bytes(2)
PUBLISHED = abi.Publication(BACKEND, PORT)
SAMPLES: dict[str, tuple[dict[Any, Any], Any]] = {
    "endpoints": (
        {IPv4Address("10.0.0.1"): ANNA.record, IPv6Address("fd00::1"): BERT.record},
        ANNA.record,
    ),
    "interfaces": ({7: ANNA.record, 8: BERT.record}, BERT.record),
    "subnets": (
        {
            ip_network("0.0.0.0/0"): 1,
            ip_network("10.0.0.0/8"): 2,
            ip_network("10.1.2.3/32"): 3,
            ip_network("::/0"): 4,
            ip_network("fd00::/48"): 5,
            ip_network("fd00::1/128"): 6,
        },
        9,
    ),
    "connections": ({(1, 2): 1, (2, 1): 1}, 2),
    "identities": ({ip_network("192.0.2.1/32"): 1, ip_network("2001:db8::/32"): 300}, 3),
    "underlays": ({0: underlay([IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")])}, OTHER),
    "tunnels": ({7: 1, 8: 1}, 2),
    "members": (
        {
            IPv4Address("192.0.2.2"): abi.Member(2),
            IPv6Address("2001:db8::2"): abi.Member(2),
        },
        abi.Member(3),
    ),
    "next_hops": (
        {
            2: abi.NextHop(mapped(IPv4Address("192.0.2.2")), 2, abi.NEXT_HOP_OVERLAY, 7),
            3: abi.NextHop(mapped(IPv6Address("2001:db8::3")), 3, abi.NEXT_HOP_OVERLAY, 7),
        },
        abi.NextHop(mapped(IPv4Address("192.0.2.9")), 2, abi.NEXT_HOP_DIRECT, 7),
    ),
    "paths": (
        {2: abi.Path(2), 3: abi.Path(2, 4, 4, 5, 6), 3 | abi.PATH_LATENCY: abi.Path(5)},
        abi.Path(9, 2),
    ),
    "remotes": (
        {
            ip_network("10.8.1.0/26"): abi.Remote(2, 1),
            ip_network("10.8.1.7/32"): abi.Remote(3, 1),
            ip_network("fd00::100/122"): abi.Remote(2, 1, abi.REMOTE_OPEN),
            ip_network("fd00:f::2/128"): abi.Remote(2, 0, abi.REMOTE_HOST),
        },
        abi.Remote(4, 2, abi.REMOTE_LATENCY),
    ),
    "clients": ({77: abi.Client(1), (1 << 64) - 1: abi.Client(2, limit=7)}, abi.Client(3)),
    "shaped": ({7: abi.Shaper(7, 8, 9), 8: abi.Shaper(7, 8, 9)}, abi.Shaper(7, 10, 11)),
    "link_numbers": (
        {2: abi.LinkNumber(1 << 60, 2), 3: abi.LinkNumber(2, 3)},
        abi.LinkNumber(3, 2),
    ),
    "publications": (
        {
            abi.PortKey(mapped(IPv4Address("192.0.2.1")), PORT, 6): PUBLISHED,
            abi.PortKey(bytes(16), PORT, 17): PUBLISHED,
        },
        replace(PUBLISHED, flags=abi.PUBLICATION_SOLE),
    ),
}


class OnStage:
    """The target, called where its descriptor's namespaces are."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self._place = world.place
        self._target: MapTarget[Any, Any] = world.targets[name]

    def read(self) -> dict[Any, Any]:
        return self._place.run(self._target.read)

    def look(self, keys: Any) -> Any:
        return self._place.run(self._target.look, keys)

    def put(self, objects: Any) -> Any:
        return self._place.run(self._target.put, objects)

    def delete(self, keys: Any) -> Any:
        return self._place.run(self._target.delete, keys)


@pytest.fixture(params=sorted(SAMPLES))
def target(world, request):
    found = OnStage(world, request.param)
    found.delete(set(found.read()))
    return found


def test_no_map_is_left_out():
    assert maps.CODECS.keys() == SAMPLES.keys()


def test_objects_are_put_and_deleted_and_both_may_be_repeated(target):
    contracts.puts_and_deletes(target, SAMPLES[target.name][0])


def test_another_value_takes_the_place_of_the_old(target):
    objects, other = SAMPLES[target.name]
    contracts.changes_what_is_there(target, objects, {next(iter(objects)): other})


def test_what_was_deleted_by_hand_is_put_back(target):
    objects, _ = SAMPLES[target.name]
    gone = next(iter(objects))
    contracts.finds_and_repairs_drift(target, objects, lambda: target.delete({gone}))


@pytest.fixture
def full(world):
    """The connections' map, but for ten places."""
    target = OnStage(world, "connections")
    target.delete(set(target.read()))  # of the cast
    most = {(1, number): 1 for number in range(65536 - 10)}
    assert {} == target.put(most)
    yield target
    target.delete(set(target.read()))


def test_a_full_map_takes_what_fits_and_tells_the_rest(full):
    failed = full.put({(2, number): 1 for number in range(15)})

    assert {errno.E2BIG} == {error.errno for error in failed.values()}
    assert 5 == len(failed)
    assert 65536 == len(full.read())


def test_a_map_larger_than_a_batch_is_read_whole(world):
    target = OnStage(world, "endpoints")
    target.delete(set(target.read()))
    many = {ip_address(0x0A000000 + i): ANNA.record for i in range(5000)}

    assert {} == target.put(many)
    assert many == target.read()
    assert {} == target.delete(set(many))
    assert {} == target.read()


def test_a_prefix_tree_larger_than_a_batch_is_read_whole(world):
    target = OnStage(world, "subnets")
    many = {ip_network((0x0A000000 + 256 * i, 24)): i for i in range(3000)}
    target.delete(set(target.read()))

    assert {} == target.put(many)
    assert many == target.read()
    target.delete(set(many))


def test_a_failing_element_in_the_middle_holds_back_none(world):
    """Deleting: those that are gone are stepped over, one by one."""
    target = OnStage(world, "interfaces")
    target.put(dict.fromkeys(range(1000, 1100, 2), ANNA.record))

    assert {} == target.delete(set(range(1000, 1100)))
    assert not set(range(1000, 1100)) & set(target.read())


def test_a_closed_map_is_an_error_and_not_an_empty_one(world):
    def read_wrong_kind() -> None:
        table = Table(world.plane.maps["drops"])
        table.fd = world.plane.programs["from_endpoint"].fd
        list(table.elements())

    with pytest.raises(OSError, match="Invalid argument"):
        world.place.run(read_wrong_kind)


def test_who_opens_the_maps_has_all_flows_judged_again(world):
    """Who wrote last may have died before it ended the epoch."""

    def epoch() -> int:
        ((_, value),) = Table(world.plane.maps["epochs"]).elements()
        return int.from_bytes(value, "little")

    before = world.place.run(epoch)
    world.place.run(maps.targets, world.plane)
    assert before + 1 == world.place.run(epoch)
