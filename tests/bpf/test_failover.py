"""What `routed` writes into the maps by itself, beside the agent or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import structlog

from cast import World
from seaway.bpf import abi
from seaway.bpf.failover import LATENCY, Failover
from seaway.bpf.table import Table
from seaway.model.facts import Path
from seaway.model.routing import Turn

MOST = 65536  # entries of `dead`
NUMBERS = {"b": 2, "c": 3, "d": 4}


OWN = {number: abi.Path(number) for number in NUMBERS.values()}  # each is its own next hop


@pytest.fixture
def failover(world: World) -> Failover:
    """Where the agent has written how each host is reached as long as nobody tells."""
    made = Failover(world.pins)
    made.know(NUMBERS)
    world.place.run(world.targets["paths"].put, OWN)
    world.place.run(made.dead, ())
    return made


def paths(world: World) -> dict[int, abi.Path]:
    return world.place.run(world.targets["paths"].read)


def dead(world: World) -> set[int]:
    table = Table(world.plane.maps["dead"])
    return {int.from_bytes(key, "little") for key, _ in world.place.run(list, table.elements())}


def turn(world: World, failover: Failover, *told: Path, **more: object) -> None:
    world.place.run(failover.turn, Turn(routing="hops", paths=told, **more))  # type: ignore[arg-type]


def test_paths_turn_and_what_is_not_told_stays(world, failover):
    turn(world, failover, Path(host="b", via="b"), Path(host="c", via="b", backup="d"))
    turn(world, failover, Path(host="c", via="d"))
    assert OWN | {3: abi.Path(4)} == paths(world)
    turn(world, failover, gone=("c",))
    assert OWN == paths(world)


def test_flows_are_shared_over_those_next_hops_that_are_known(world, failover):
    turn(world, failover, Path(host="b", via="b", backup="d", equal=("c", "z", "d")))
    assert OWN | {2: abi.Path(2, 4, 3, 4)} == paths(world)
    turn(world, failover, Path(host="b", via="b", backup="d"))
    assert OWN | {2: abi.Path(2, 4)} == paths(world)


def test_a_host_of_which_a_whole_turn_tells_no_path_is_its_own_next_hop(world, failover):
    """As the agent has it, who would take another one for somebody else's doing."""
    turn(world, failover, Path(host="b", via="d"), Path(host="c", via="b"))
    turn(world, failover, Path(host="d", via="d"), whole=True)
    assert OWN == paths(world)


def test_of_hosts_that_it_does_not_know_a_whole_turn_takes_nothing(world, failover):
    """They may be new: the agent has them already, and would be the last to get them back."""
    turn(world, failover, Path(host="b", via="d"), Path(host="c", via="b"))
    failover.know({"b": 2})
    turn(world, failover, whole=True)
    assert OWN | {3: abi.Path(2)} == paths(world)


def test_without_the_path_of_least_time_that_of_fewest_hops_will_do(world, failover):
    turn(world, failover, Path(host="b", via="d"))
    world.place.run(world.targets["paths"].put, {LATENCY | 2: abi.Path(4)})
    latency = Path(host="b", via="c", routing="latency")
    world.place.run(failover.turn, Turn(routing="latency", paths=(latency,)))
    assert OWN | {2: abi.Path(4), LATENCY | 2: abi.Path(3)} == paths(world)
    world.place.run(failover.turn, Turn(routing="latency", paths=(), gone=("b", "c")))
    assert OWN | {2: abi.Path(4), LATENCY | 2: abi.Path(4)} == paths(world)


def test_what_is_told_of_no_member_is_left_out(world, failover):
    known = Path(host="b", via="b", backup="z")
    turn(world, failover, known, Path(host="z", via="b"), Path(host="c", via="z"), gone=("y",))
    assert OWN == paths(world)


def test_of_a_host_that_the_agent_has_taken_away_no_path_is_written_again(world, failover):
    """It left; `routed` finds that a moment later, and its link is dead already. What would be
    written then the agent would take for somebody else's doing.
    """
    world.place.run(world.targets["paths"].delete, {2})
    turn(world, failover, Path(host="b", via="c"), Path(host="c", via="d"))
    turn(world, failover, Path(host="b", via="d"), gone=("c",), whole=True)
    assert {3: abi.Path(3), 4: abi.Path(4)} == paths(world)


def test_the_dead_are_those_that_were_told_last(world, failover):
    world.place.run(failover.dead, {"b", "c", "z"})
    assert {2, 3} == dead(world)
    world.place.run(failover.dead, {"c", "d"})
    assert {3, 4} == dead(world)
    world.place.run(failover.dead, set())
    assert set() == dead(world)


def test_what_somebody_else_did_to_the_dead_is_put_back_and_named(world, failover):
    world.place.run(failover.dead, {"b", "c"})
    table = Table(world.plane.maps["dead"])
    world.place.run(table.delete, [bytes([2, 0, 0, 0])])
    world.place.run(
        table.update, [(bytes([4, 0, 0, 0]), bytes(4)), (bytes([9, 0, 0, 0]), bytes(4))]
    )
    with structlog.testing.capture_logs() as logs:
        world.place.run(failover.dead, {"b", "c"})
        world.place.run(failover.dead, {"b"})
    assert [["9", "b", "d"]] == [entry["keys"] for entry in logs]
    assert {2} == dead(world)


def keys(first: int, last: int) -> list[bytes]:
    return [number.to_bytes(4, "little") for number in range(first, last)]


@pytest.fixture
def fill(world: World) -> Iterator[Callable[[], None]]:
    """`dead`, so that no other entry fits."""
    table, others = Table(world.plane.maps["dead"]), keys(1000, 1000 + MOST)

    def fill() -> None:
        assert {} == world.place.run(table.update, [(key, bytes(4)) for key in others])

    yield fill
    world.place.run(table.delete, others)


def test_what_a_map_refused_is_told_by_key_and_is_nobodys_drift_once_it_fits(world, failover, fill):
    fill()
    with structlog.testing.capture_logs() as logs:
        with pytest.raises(OSError, match="too long"):
            world.place.run(failover.dead, {"b", "c"})
        told = {entry["key"] for entry in logs if "a map refuses" == entry["event"]}
        assert {"b", "c"} == told
        world.place.run(failover.dead, {"b", "c"})
    assert {2, 3} == dead(world)
    assert ["drift"] == [entry["event"] for entry in logs if "key" not in entry]  # of the others


def test_what_a_map_refuses_again_and_again_is_told_once(world, failover, fill):
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            fill()
            with pytest.raises(OSError, match="too long"):
                world.place.run(failover.dead, {"b"})
            assert set() == dead(world)
    assert 1 == sum("a map refuses" == entry["event"] for entry in logs)


def test_a_map_that_cannot_be_opened_is_told_and_the_others_are_written(world, failover):
    broken = [world.pins / "0" / "paths", world.pins / "state" / "dead-0"]
    for folder in broken:
        world.place.run(partial(folder.mkdir, parents=True))
    try:
        with pytest.raises(PermissionError):
            turn(world, failover, Path(host="b", via="d"))
        with pytest.raises(PermissionError):
            world.place.run(failover.dead, {"c"})
        assert (OWN | {2: abi.Path(4)}, {3}) == (paths(world), dead(world))
    finally:
        for folder in (*broken, world.pins / "0"):
            world.place.run(folder.rmdir)


def test_where_no_program_was_loaded_yet_nothing_is_written(tmp_path):
    made = Failover(tmp_path)
    made.know(NUMBERS)
    made.turn(Turn(routing="hops", paths=(Path(host="b", via="b"),)))
    made.dead({"b"})
    assert [] == list(tmp_path.iterdir())
