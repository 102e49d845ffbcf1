"""Connections that are led packet by packet and count: for a service's limit of those at once,
and where the backend that has the fewest is chosen.
"""

from __future__ import annotations

import struct
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from scapy.layers.inet import ICMP
from scapy.packet import Packet
from tests.bpf.test_fallback import PORT as VIP_PORT
from tests.bpf.test_fallback import VIP, back, shop
from tests.bpf.test_frontends import ASKING, BACKEND, PORT
from tests.bpf.test_guests import CLIENTS, LIMIT, admitted, of
from tests.bpf.test_guests import World as Guests

import beyond as others
from beyond import FAMILIES, NORTH, frame_of, sends
from cast import ANNA, BERT, Actor, ip, sent
from edge import PUBLIC, answers, arrives, says
from seaway.bpf import abi
from seaway.bpf.limits import LimitTarget, Uses
from seaway.bpf.maps import COOKIE
from seaway.bpf.table import Table
from seaway.model.reports import Use
from serviced import port_key

__all__ = ["shop"]  # a fixture

HOST: Final = 1  # no cookie of a namespace here
COUNTED: Final = struct.Struct("=QQ20s20sIIII")  # bpf/lib/counted.h
SILENT_OPENING, SILENT = 64, 6932  # ticks (bpf/sweep.bpf.c)
# How a connection ends: what is said in turn, by the client and (in capitals) by the backend.
ENDS: Final = {
    "both close": ("fa", "FA"),
    "the backend first": ("FA", "fa"),
    "the client resets": ("r",),
    "the backend resets": ("RA",),
    "reset after it closed": ("fa", "R"),
}


def clear(table: Table) -> None:
    table.delete([key for key, _ in table.elements()])


class World(Guests):
    pinned = "counted"

    def _reset(self) -> None:
        super()._reset()
        for name in ("counted", "balanced", "serving", "leaving"):
            clear(self.table(name))

    def open(
        self, family: int = 4, sport: int = ASKING, client: str = "", kind: str = "tcp"
    ) -> bool:
        return admitted(self.from_wire(of(family, kind, client or CLIENTS[family][0], sport)))

    def say(self, family: int, flags: str, sport: int = ASKING, backend: Actor = ANNA) -> None:
        """Small letters: the client does."""
        client = CLIENTS[family][0]
        if flags.islower():
            segment = says("tcp", sport, PORT, 0, flags=flags.upper())
            self.from_wire(arrives(family, PUBLIC[family], client) / segment)
        else:
            segment = says("tcp", BACKEND, sport, 0, flags=flags)
            answer = answers(family, backend, client) / segment
            self.send(answer, ifindex=backend.record.ifindex)

    def greet(self, family: int = 4, sport: int = ASKING) -> None:
        """Each has heard the other one."""
        for flags in ("SA", "a"):
            self.say(family, flags, sport)

    def hold(self) -> None:
        """The one place of a limit: by a connection to anna that is open."""
        self.lead(ANNA, limit=LIMIT)
        self.limit(connections=1)
        self.open()
        self.greet()

    def use(self) -> Use:
        return self.place.run(lambda: Uses(self.plane).of(LIMIT))

    def sweep(self) -> None:
        self.place.run(lambda: Uses(self.plane).tidy(HOST))

    def pass_by(self, ticks: int) -> None:
        """So long ago is what was said."""

        def age() -> None:
            for name in ("counted", "balanced"):
                self._age(self.table(name), ticks)
            for table in self._flow_tables():
                items = [(key, abi.Flow.unpack(value)) for key, value in table.elements()]
                for _, flow in items:
                    object.__setattr__(flow, "seen", (flow.seen - ticks) % 2**32)
                table.update([(key, flow.pack()) for key, flow in items])

        self.place.run(age)

    def _age(self, table: Table, ticks: int) -> None:
        for key, value in table.elements():
            *before, seen, epoch, given = COUNTED.unpack(value)
            aged = COUNTED.pack(*before, (seen - ticks) % 2**32, epoch, given)
            table.update([(key, aged)])

    def clear_limit(self) -> None:
        self.place.run(clear, self.table("limits"))

    def end_drains(self) -> None:
        """The time of whoever left is over."""
        self.place.run(clear, self.table("leaving"))

    def counted(self, name: str = "counted") -> int:
        return self.place.run(lambda: sum(1 for _ in self.table(name).elements()))

    def served(self, actor: Actor, family: int = 4) -> int:
        key = port_key(actor.address(family), BACKEND, 6).pack()
        value = self.place.run(lambda: self.table("serving").element(key))
        return abi.Serving.unpack(value).flows if value else 0


@pytest.fixture
def world(stood: World) -> World:
    stood.reset()
    return stood


@FAMILIES
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_one_that_ends_leaves_its_place_to_the_next(world, family, end):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=1)
    assert world.open(family)
    world.greet(family)
    assert not world.open(family, ASKING + 1)
    for said in end:
        assert Use(open=1, full=1) == world.use()
        world.say(family, said)
    assert Use(full=1) == world.use()
    assert world.open(family, ASKING + 1)


@FAMILIES
def test_over_the_limit_it_is_answered_at_once_as_what_is_refused(world, family):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=1)
    first, over = (of(family, "tcp", CLIENTS[family][0], ASKING + n) for n in (0, 1))
    assert admitted(world.from_wire(first))
    limited = world.from_wire(over)
    world.lead(slots=())
    refused = world.from_wire(over)
    assert ({"limited": 1}, {"refused": 1}) == (limited.drops, refused.drops)
    assert refused.frame == limited.frame


@FAMILIES
def test_who_is_greedy_leaves_places_for_other_addresses(world, family):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=10)
    opened = [
        sum(world.open(family, ASKING + n, client) for n in range(12))
        for client in CLIENTS[family][:4]
    ]
    assert [8, 1, 1, 0] == opened
    assert 10 == world.use().open


def test_what_sockets_have_open_counts_with_it(world):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=4)
    uses = world.table("uses")
    of_all = abi.UseKey(LIMIT, 0).pack(), abi.Use(open=3).pack()
    world.place.run(uses.update, [of_all])
    assert [True, False] == [world.open(sport=ASKING + n, client=CLIENTS[4][n]) for n in (0, 1)]


@FAMILIES
def test_datagrams_are_no_connections(world, family):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=1)
    assert all(world.open(family, ASKING + n, kind="udp") for n in range(5))
    assert (0, 0) == (world.counted(), world.use().open)


@pytest.mark.parametrize(("how", "rate"), [({}, 0), ({"limit": LIMIT}, 0), ({"limit": LIMIT}, 99)])
def test_what_has_no_limit_of_those_at_once_is_not_counted(world, how, rate):
    world.lead(ANNA, **how)
    if rate:
        world.limit(rate=rate)
    assert all(world.open(sport=ASKING + n) for n in range(5))
    assert (0, 0) == (world.counted(), world.use().open)


def test_who_has_no_limit_takes_no_place_of_those_that_have_one(world):
    world.lead(ANNA, slots=None, algorithm=abi.SERVICE_LEAST)
    assert all(world.open(sport=ASKING + n) for n in range(5))
    assert (0, 5) == (world.counted(), world.counted("balanced"))


def test_containers_are_clients_one_by_one(world):
    world.lead(BERT, limit=LIMIT)
    world.limit(connections=3)

    def asked(actor: Actor, sport: int) -> bool:
        segment = says("tcp", sport, PORT, 0, flags="S")
        frame = answers(6, actor, PUBLIC[6]) / segment
        return admitted(world.send(frame, ifindex=actor.record.ifindex))

    assert [True, True, False] == [asked(ANNA, ASKING + n) for n in range(3)]
    assert asked(BERT, ASKING)


def test_of_ipv6_all_that_have_the_first_64_bits_are_one_client(world):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=10)
    one, other = ("2001:db8:200::", "2001:db8:201::")
    opened = [world.open(6, ASKING, f"{one}{number}") for number in range(1, 13)]
    assert 8 == sum(opened)
    assert world.open(6, ASKING, f"{other}1")


def test_what_opens_it_is_counted_once_however_often_it_is_sent(world):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=1)
    assert all(world.open() for _ in range(3))
    world.greet()
    assert world.open()
    assert Use(open=1) == world.use()


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_from_a_port_that_was_used_before_it_is_counted_anew(world, end):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=1)
    for _ in range(3):
        assert world.open()
        world.greet()
        assert Use(open=1) == world.use()
        for said in end:
            world.say(4, said)
    assert Use() == world.use()


@pytest.mark.parametrize("end", [*ENDS.values(), ("R",)], ids=[*ENDS, "reset at once"])
def test_a_full_table_of_flows_changes_no_count(world, end):
    world.hold()
    world.forget_flows()
    assert Use(open=1) == world.use()
    world.say(4, "a")  # it goes on
    assert not world.open(sport=ASKING + 1)
    world.forget_flows()
    if not end[0].islower():
        world.say(4, "a")  # without a flow no answer finds back
    for said in end:
        world.say(4, said)
    assert Use(full=1) == world.use()


def test_who_resets_it_and_goes_on_counts_again(world):
    """What resets may not be for this connection: the backend looks at its number."""
    world.lead(ANNA, limit=LIMIT, slots=None, algorithm=abi.SERVICE_LEAST)
    world.limit(connections=1)
    world.open()
    world.greet()
    for _ in range(2):
        world.say(4, "r")
        assert (Use(), 0) == (world.use(), world.served(ANNA))
        world.say(4, "a")
        assert (Use(open=1), 1) == (world.use(), world.served(ANNA))
    world.say(4, "r")
    assert world.open(sport=ASKING + 1)
    world.say(4, "a")
    assert Use(open=2) == world.use()  # nobody is cut for it
    for port in (ASKING, ASKING + 1):
        world.say(4, "R", port)
    assert (Use(), 0) == (world.use(), world.counted())


def test_who_has_reset_it_and_vanishes_leaves_nothing_behind(world):
    world.hold()
    world.say(4, "r")
    world.sweep()
    assert (Use(), 1) == (world.use(), world.counted())
    world.pass_by(SILENT_OPENING + 2)
    world.sweep()
    assert (Use(), 0) == (world.use(), world.counted())


def test_where_nobody_is_left_the_middle_of_a_forgotten_one_counts_no_more(world):
    world.hold()
    world.forget_flows()
    world.lead(slots=(), limit=LIMIT)
    world.say(4, "a")
    assert (Use(), 0) == (world.use(), world.counted())


class Counting(RuleBasedStateMachine):
    """Whatever is said in whatever order, as many count as are open."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.world.lead(ANNA, limit=LIMIT, algorithm=abi.SERVICE_LEAST)
        self.world.limit(connections=1000)
        self.open: dict[int, set[str]] = {}  # by port: who has closed it
        self.reset: dict[int, set[str]] = {}  # by the client, who may go on all the same
        self.forgotten: set[int] = set()  # whose flow a full table forgot, until the client speaks

    def ports(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.open | self.reset)))

    @rule(port=st.sampled_from(range(ASKING, ASKING + 4)))
    def begin(self, port: int) -> None:
        assert self.world.open(sport=port)
        if port in self.forgotten:  # nobody knows of the one before
            self.forgotten.discard(port)
            self.open.pop(port, None)
        self.reset.pop(port, None)
        self.open.setdefault(port, set())

    @precondition(lambda self: self.open or self.reset)
    @rule(data=st.data(), flags=st.sampled_from(["a", "A", "SA", "fa", "FA", "r", "R"]))
    def say(self, data: st.DataObject, flags: str) -> None:
        port = self.ports(data)
        own = flags.islower()
        self.world.say(4, flags, port)
        known = port not in self.forgotten
        if own:
            self.forgotten.discard(port)
        elif not known:
            return  # it finds nobody
        if port in self.reset:
            self.after_a_reset(port, flags, known=known)
        elif flags == "r":
            self.reset[port] = self.open.pop(port)
        elif "r" in flags.lower():
            del self.open[port]
        elif "f" in flags.lower():
            self.open[port].add("client" if own else "backend")
            if len(self.open[port]) == 2:
                del self.open[port]

    def after_a_reset(self, port: int, flags: str, *, known: bool) -> None:
        if flags == "a" or (flags == "fa" and not known):
            self.open[port] = self.reset.pop(port) | ({"client"} if flags == "fa" else set())
        elif flags in {"fa", "FA", "R"}:
            del self.reset[port]

    @rule()
    def forget(self) -> None:
        """Who had closed may have to say so again: what is forgotten is held for open."""
        self.world.forget_flows()
        self.forgotten |= self.open.keys() | self.reset.keys()
        for closed in (*self.open.values(), *self.reset.values()):
            closed.clear()

    @rule()
    def sweep(self) -> None:
        self.world.sweep()

    @rule()
    def check(self) -> None:
        counts = self.world.use().open, self.world.served(ANNA), self.world.counted()
        assert (len(self.open),) * 2 + (len(self.open | self.reset),) == counts

    def teardown(self) -> None:
        self.check()


def test_as_many_count_as_are_open_whatever_is_said(stood):
    def made() -> Counting:
        Counting.world = stood
        return Counting()

    run_state_machine_as_test(
        made,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# Who vanishes


def tells_of_the_answer() -> Packet:
    """A router's word that the client is not to be reached, to whom the backend's answer was."""
    client = CLIENTS[4][0]
    quoted = ip(4, src=PUBLIC[4], dst=client) / says("tcp", PORT, ASKING, 0, flags="SA")
    return arrives(4, PUBLIC[4], "198.51.100.250") / ICMP(type=3, code=1) / quoted


@pytest.mark.parametrize(
    ("said", "silent"),
    [
        ([], SILENT_OPENING),
        (["SA"], SILENT_OPENING),
        (["a", "a"], SILENT_OPENING),  # whom nobody has answered: blindly
        (["SA", "an error"], SILENT_OPENING),
        (["SA", "s"], SILENT_OPENING),  # sent once more
        (["SA", "p"], SILENT_OPENING),  # which answers nothing
        (["SA", "a"], SILENT),
        (["SA", "a", "forgotten"], SILENT),
    ],
    ids=str,
)
def test_who_vanishes_leaves_his_place_after_a_while(world, said, silent):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=1)
    world.open()
    for what in said:
        if what == "forgotten":
            world.forget_flows()
        elif what == "an error":
            world.from_wire(tells_of_the_answer())
        else:
            world.say(4, what)
    world.sweep()
    world.pass_by(silent)
    world.sweep()
    assert Use(open=1) == world.use()
    world.pass_by(2)
    world.sweep()
    assert (Use(), 0) == (world.use(), world.counted())
    assert world.open(sport=ASKING + 1)


@pytest.mark.parametrize("says_on", ["a", "A"])
def test_who_says_something_stays(world, says_on):
    world.hold()
    for _ in range(3):
        world.pass_by(SILENT)
        world.say(4, says_on)
        world.sweep()
    assert Use(open=1) == world.use()


def test_one_whose_flow_is_forgotten_has_its_time_too(world):
    world.hold()
    world.sweep()
    world.forget_flows()
    world.pass_by(SILENT)
    world.sweep()
    assert Use(open=1) == world.use()
    world.pass_by(2)
    world.sweep()
    assert Use() == world.use()


def test_who_has_the_time_to_drain_counts_until_it_is_over(world):
    world.lead(ANNA, limit=LIMIT)
    world.limit(connections=2)
    world.open()
    world.greet()
    world.lead(BERT, limit=LIMIT)
    world.sweep()
    assert Use(open=1) == world.use()
    world.end_drains()
    world.sweep()
    assert Use() == world.use()


@pytest.mark.parametrize("algorithm", [abi.SERVICE_MAGLEV, abi.SERVICE_LEAST])
def test_what_a_limit_never_gave_is_not_given_back_to_its_successor(world, algorithm):
    """Nor does anything remain of it but what its backend has."""
    world.lead(ANNA, limit=LIMIT, slots=None, algorithm=algorithm)
    world.limit(connections=30)
    for number in range(3):
        world.open(sport=ASKING + number)
    world.place.run(lambda: LimitTarget(world.plane).delete({LIMIT}))
    least = algorithm == abi.SERVICE_LEAST
    assert (3 * least, 3 * least) == (world.counted(), world.served(ANNA))
    world.limit(connections=30)
    world.open(sport=ASKING + 9)
    for number in range(3):
        world.say(4, "R", ASKING + number)
    assert (Use(open=1), least) == (world.use(), world.served(ANNA))


def test_a_client_has_all_its_share_of_a_limit_that_comes_again(world):
    world.lead(ANNA, limit=LIMIT)
    for begin in (0, 100):
        world.limit(connections=10)
        assert 8 == sum(world.open(sport=ASKING + begin + number) for number in range(12))
        world.place.run(lambda: LimitTarget(world.plane).delete({LIMIT}))


# Which backend has the fewest


@FAMILIES
def test_who_has_the_fewest_gets_the_next_one(world, family):
    world.lead(ANNA, BERT, slots=None, algorithm=abi.SERVICE_LEAST)
    for number in range(10):
        assert world.open(family, ASKING + number)
    assert [5, 5] == [world.served(actor, family) for actor in (ANNA, BERT)]
    for number in range(10):
        world.say(family, "r", ASKING + number)
    assert [0, 0] == [world.served(actor, family) for actor in (ANNA, BERT)]


def test_a_slow_backend_gets_as_many_as_it_ends(world):
    """All of anna's are closed at once, bert's never."""
    world.lead(ANNA, BERT, slots=None, algorithm=abi.SERVICE_LEAST)
    for number in range(20):
        world.open(sport=ASKING + number)
        world.say(4, "RA", ASKING + number)
    assert world.served(ANNA) == 0
    assert world.served(BERT) <= 2


# By the VIP, without a hook


def by_vip(sport: int, flags: str = "S") -> Packet:
    return sent(4, VIP[4]) / says("tcp", sport, VIP_PORT, 0, flags=flags)


@pytest.mark.parametrize("backend", [BERT, NORTH], ids=["here", "of another host"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_by_the_vip_packets_are_limited_too(shop, end, backend):
    world = shop.world
    limit = COOKIE.pack(LIMIT), abi.Limit(1, 0).pack()
    for name in ("limits", "uses", "guests", "counted", "balanced"):
        world.place.run(clear, Table(world.plane.maps[name]))
    world.place.run(Table(world.plane.maps["limits"]).update, [limit])
    shop.serve(backend, limit=LIMIT)

    def say(flags: str) -> None:
        if flags.islower():
            world.send(by_vip(ASKING, flags.upper()))
            return
        segment = says("tcp", 7000, ASKING, 0, flags=flags)
        if backend is BERT:
            back(shop, 4, segment)
        else:
            world.from_wire(sends(NORTH, frame_of(others.inner(4, NORTH, ANNA.v4, segment))))

    assert {} == world.send(by_vip(ASKING)).drops
    say("SA")
    say("a")
    assert {"limited": 1} == world.send(by_vip(ASKING + 1)).drops
    for said in end:
        say(said)
    assert Use(full=1) == world.place.run(lambda: Uses(world.plane).of(LIMIT))
    assert {} == world.send(by_vip(ASKING + 1)).drops
