"""The simulated cluster is one as hosts would describe it."""

from __future__ import annotations

import pytest

from seaway.bench.simulated import ENDPOINTS, Simulated
from seaway.desired.network.paths import Routes
from seaway.desired.network.topology import Topology


def told(cluster):
    topology = Topology()
    for state in cluster.states():
        topology.change(state.host, state)
    return topology


@pytest.mark.parametrize("segments", [False, True])
def test_every_host_reaches_every_other(segments):
    cluster = Simulated(120, segments=segments)
    routes = Routes(cluster.names[0], "latency")
    routes.change(told(cluster).take())

    assert cluster.names[1:] == sorted(routes.found)


@pytest.mark.parametrize("segments", [False, True])
def test_both_ends_of_each_link_say_the_same(segments):
    cluster = Simulated(120, segments=segments)
    links = told(cluster).links

    assert {s.host: {n.host for n in s.neighbours} for s in cluster.states()} == {
        name: links.counted(name).keys() for name in cluster.names
    }


def test_a_change_is_one_of_one_link():
    cluster = Simulated(60, segments=False)
    before = {state.host: state for state in cluster.states()}
    one, other = cluster.change("host-00007")

    assert "host-00007" == one.host
    assert {one.host, other.host} == {
        state.host for state in cluster.states() if state != before[state.host]
    }


def test_the_same_number_of_hosts_gives_the_same_cluster():
    one, other = (Simulated(60, segments=False) for _ in range(2))

    assert list(one.states()) == list(other.states())
    assert [one.change() for _ in range(9)] == [other.change() for _ in range(9)]


def test_blocks_have_room_for_all_endpoints():
    cluster = Simulated(60, segments=False)
    room = dict.fromkeys(cluster.names, 0)
    for block in cluster.blocks():
        room[block.host] += block.prefix.num_addresses

    assert min(room.values()) >= 2 * ENDPOINTS
