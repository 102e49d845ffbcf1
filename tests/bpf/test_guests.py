"""New connections by a service's port on hosts, and its limit of those in a second; of those at
once: test_counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from scapy.packet import Packet
from tests.bpf.test_frontends import ASKING, BACKEND, KINDS, PORT, asks, flagged
from tests.bpf.test_frontends import World as Led

from beyond import FAMILIES
from cast import ANNA, BERT, Outcome
from edge import PUBLIC, answers, arrives, says
from seaway.bpf import abi
from seaway.bpf.limits import Uses
from seaway.bpf.maps import COOKIE
from seaway.bpf.table import Table

T = TypeVar("T")
LIMIT = 7  # its number
TRIES = 20
COARSE = 0.02  # seconds that the programs' clock is late, at most
CLIENTS = {
    4: [f"198.51.100.{number}" for number in range(50, 60)],
    6: [f"2001:db8:{number}::1" for number in range(50, 60)],
}


class World(Led):
    pinned = "guests"

    def _reset(self) -> None:
        super()._reset()
        for name in ("limits", "uses", "guests", "counted", "balanced"):
            table = self.table(name)
            table.delete([key for key, _ in table.elements()])

    def table(self, name: str) -> Table:
        return Table(self.plane.maps[name])

    def limit(self, rate: int = 0, connections: int = 0) -> None:
        made = abi.Limit(connections, rate)
        table = self.table("limits")
        assert {} == self.place.run(table.update, [(COOKIE.pack(LIMIT), made.pack())])

    def in_one_second(self, act: Callable[[], T]) -> T:
        """Of the kernel's clock: after it a part is forgotten of what was opened in it."""
        for _ in range(TRIES):
            begun = time.monotonic() - COARSE
            found = act()
            if int(begun) == int(time.monotonic()):
                return found
            self.forget_flows()
            for name in ("uses", "guests", "counted", "balanced"):
                table = self.table(name)
                self.place.run(lambda t: t.delete([key for key, _ in t.elements()]), table)
        raise AssertionError("too slow")


@pytest.fixture
def world(stood: World) -> World:
    stood.reset()
    return stood


def of(family: int, kind: str, client: str, sport: int = ASKING) -> Packet:
    return arrives(family, PUBLIC[family], client) / says(kind, sport, PORT, 0, **flagged(kind))


def admitted(outcome: Outcome) -> bool:
    assert ("redirect", outcome.drops) in (("redirect", {}), ("redirect", {"limited": 1}))
    return not outcome.drops


@FAMILIES
@KINDS
def test_over_the_limit_it_is_answered_at_once_as_what_is_refused(world, family, kind):
    world.lead(ANNA, limit=LIMIT)
    world.limit(rate=1)

    def both() -> tuple[Outcome, Outcome, Outcome]:
        first, over = (asks(family, kind, ASKING + n) for n in (0, 1))
        return world.from_wire(first), world.from_wire(over), world.from_wire(first)

    one, over, again = world.in_one_second(both)
    assert admitted(one)
    assert one == again  # by its flow
    world.lead(slots=())
    refused = world.from_wire(asks(family, kind, ASKING + 1))
    assert ({"refused": 1}, {"limited": 1}) == (refused.drops, over.drops)
    assert refused.frame == over.frame
    uses = world.place.run(Uses, world.plane)
    assert 1 <= world.place.run(uses.of, LIMIT).fast <= TRIES


@FAMILIES
@KINDS
def test_who_is_greedy_leaves_places_for_other_addresses(world, family, kind):
    """Of ten a client alone gets eight, and who has none gets one while there is one."""
    world.lead(ANNA, limit=LIMIT)
    world.limit(rate=10)

    def opened() -> list[int]:
        return [
            sum(admitted(world.from_wire(of(family, kind, client, ASKING + n))) for n in range(12))
            for client in CLIENTS[family][:4]
        ]

    assert [8, 1, 1, 0] == world.in_one_second(opened)


@FAMILIES
def test_the_middle_of_a_connection_whose_flow_was_forgotten_goes_on(world, family):
    world.lead(ANNA, limit=LIMIT)
    world.limit(rate=1)

    def late() -> tuple[bool, bool, bool]:
        first = admitted(world.from_wire(asks(family, "tcp")))
        world.forget_flows()
        segment = says("tcp", ASKING, PORT, 0, flags="A")
        middle = admitted(world.from_wire(arrives(family, PUBLIC[family]) / segment))
        return first, middle, admitted(world.from_wire(asks(family, "tcp", ASKING + 1)))

    assert (True, True, False) == world.in_one_second(late)


def turned(family: int, flags: str) -> Packet:
    """What a client says of that connection later."""
    return arrives(family, PUBLIC[family]) / says("tcp", ASKING, PORT, 0, flags=flags)


@FAMILIES
@pytest.mark.parametrize("end", [("F", "FA"), ("FA", "R"), ("R", "A"), ("FA", "S", "FA", "SA")])
def test_from_a_port_that_was_used_before_it_is_counted_again(world, family, end):
    """Its flow is remembered; the client ends it by what it sends, anna by the second."""
    world.lead(ANNA, limit=LIMIT)
    world.limit(rate=1)

    def again() -> tuple[bool, bool]:
        first = admitted(world.from_wire(asks(family, "tcp")))
        own, theirs, *more = end
        world.from_wire(turned(family, own))
        if theirs == "S":  # once more, as if it were late
            world.from_wire(asks(family, "tcp"))
            theirs, *more = more
        world.send(answers(family, ANNA) / says("tcp", BACKEND, ASKING, 0, flags=theirs))
        for flags in more:
            world.from_wire(turned(family, flags))
        return first, admitted(world.from_wire(asks(family, "tcp")))

    assert (True, False) == world.in_one_second(again)


@FAMILIES
@pytest.mark.parametrize("said", ["A", "FA"])
def test_what_opens_an_open_connection_once_more_goes_on(world, family, said):
    """Also one that only the client has closed."""
    world.lead(ANNA, limit=LIMIT)
    world.limit(rate=1)

    def again() -> tuple[bool, bool]:
        first = admitted(world.from_wire(asks(family, "tcp")))
        world.send(answers(family, ANNA) / says("tcp", BACKEND, ASKING, 0, flags="SA"))
        world.from_wire(turned(family, said))
        return first, admitted(world.from_wire(asks(family, "tcp")))

    assert (True, True) == world.in_one_second(again)


@FAMILIES
@KINDS
def test_a_container_that_asks_by_its_host_is_a_client_too(world, family, kind):
    world.lead(BERT, limit=LIMIT)
    world.limit(rate=1)

    def asked(sport: int) -> bool:
        head = answers(family, ANNA, PUBLIC[family])
        return admitted(world.send(head / says(kind, sport, PORT, 0, **flagged(kind))))

    found = world.in_one_second(lambda: [asked(sport) for sport in (ASKING, ASKING + 1)])
    assert [True, False] == found
