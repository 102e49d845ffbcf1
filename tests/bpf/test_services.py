"""The target of services keeps its contract, and writes in an order that no program can mistake."""

from __future__ import annotations

import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from ipaddress import ip_address
from itertools import pairwise
from operator import itemgetter
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import contracts
from cast import World
from seaway.bpf import abi
from seaway.bpf.partings import Partings
from seaway.bpf.services import ServiceTarget, Tables
from seaway.bpf.table import Table
from seaway.draining import Draining, Lingering
from seaway.facts import Facts
from seaway.model.addresses import mapped
from seaway.model.services import DRAIN, Service, ServicePort
from serviced import frontend, port_key

TCP, UDP = 6, 17
ONE, TWO, THREE = (port_key(vip, 80, TCP) for vip in ("10.223.0.1", "fd00::ff:1", "10.223.0.2"))
PLACES = [(f"10.208.0.{number}", 7000) for number in range(1, 9)]
SOME = {ONE: frontend(PLACES[:3]), TWO: frontend([("fd00::1", 7)], (9,)), THREE: frontend([])}
Left = list[tuple[abi.PortKey, Collection[abi.PortKey], float]]


class OnStage:
    """The target, called where its descriptors are."""

    name = "services"

    def __init__(self, world: World) -> None:
        self.left: Left = []
        self._place = world.place
        self._target = world.place.run(ServiceTarget, world.plane, self._note)
        names = ("services", "backends", "maglev", "turns")
        self.tables = {name: Table(world.plane.maps[name]) for name in names}
        self.read, self.look = self._on_stage("read"), self._on_stage("look")
        self.put, self.delete = self._on_stage("put"), self._on_stage("delete")
        self.serves = self._on_stage("serves")

    def _on_stage(self, method: str) -> Callable[..., Any]:
        return lambda *arguments: self._place.run(getattr(self._target, method), *arguments)

    def _note(self, *told: Any) -> None:
        self.left.append(told)

    def slots(self) -> set[tuple[bytes, int]]:
        found = self._place.run(lambda: dict(self.tables["backends"].elements()))
        return {(key[:20], int.from_bytes(key[20:], "little")) for key in found}

    def parts(self) -> dict[bytes, list[int]]:
        """Of tables, by their services."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for key, _ in self._place.run(lambda: list(self.tables["maglev"].elements())):
            found[key[:20]].append(int.from_bytes(key[20:], "little"))
        return {key: sorted(numbers) for key, numbers in found.items()}


@pytest.fixture
def target(world):
    made = OnStage(world)
    made.delete(set(made.read()))
    made.left.clear()
    return made


def test_objects_are_put_and_deleted_and_both_may_be_repeated(target):
    contracts.puts_and_deletes(target, SOME)
    assert set() == target.slots()


@pytest.mark.parametrize("number", [0, 1, 3, 5])
def test_another_value_takes_the_place_of_the_old(target, number):
    contracts.changes_what_is_there(target, SOME, {ONE: frontend(PLACES[-number or 8 :])})
    target.put({ONE: frontend(PLACES[:number])})
    assert {(ONE.pack(), slot) for slot in range(number)} == {
        found for found in target.slots() if found[0] == ONE.pack()
    }


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_slot_that_was_taken_away_is_put_back(target, slot):
    key = ONE.pack() + slot.to_bytes(4, "little")
    contracts.finds_and_repairs_drift(target, SOME, lambda: target.tables["backends"].delete([key]))


def test_a_count_that_was_taken_away_or_changed_is_put_back(target):
    services = target.tables["services"]
    lower = abi.Service(1, 1, 0, abi.SERVICE_RANDOM, abi.SERVICE_EVEN)
    for meddle in (
        lambda: services.delete([ONE.pack()]),
        lambda: services.update([(ONE.pack(), lower.pack())]),
    ):
        contracts.finds_and_repairs_drift(target, SOME, meddle)
        target.delete(set(SOME))
        assert set() == target.slots()


def test_slots_that_a_dead_agent_left_are_seen_and_emptied(target):
    """It lowered the count, or deleted the service, and came no further."""
    for service in (ONE, port_key("10.223.9.9", 1, UDP)):
        target.put(SOME)
        items = [
            (service.pack() + slot.to_bytes(4, "little"), SOME[ONE].backends[0].pack())
            for slot in range(3, 6)
        ]
        target.tables["backends"].update(items)
        found = target.read()
        assert found.get(service) != SOME.get(service)
        assert {} == target.delete(found.keys() - SOME.keys())
        assert {} == target.put({k: v for k, v in SOME.items() if found[k] != v})
        assert target.read() == SOME
        assert 4 == len(target.slots())


def test_who_left_is_told_and_who_came_or_weighs_otherwise_is_not(target):
    target.put({ONE: frontend(PLACES[:4])})
    target.put({ONE: frontend(PLACES[1:6], weights=(1, 2, 3, 4, 5))})
    target.delete({ONE, TWO})

    first, rest = ({port_key(*place, TCP) for place in part} for part in (PLACES[:1], PLACES[1:6]))
    assert [(ONE, first, 30.0), (ONE, rest, 30.0)] == target.left


def test_a_service_that_goes_leaves_its_connections_the_time_that_it_had_last(world):
    """Though this agent never wrote it, or another time was all that changed."""
    left: Left = []
    drains: dict[abi.PortKey, float] = {}
    run, plane, facts = world.place.run, world.plane, Facts((), ())
    partings = run(Partings, plane, lambda: ())
    draining = Draining(facts, partings, Lingering(facts), drains)
    frontends = {ONE: frontend(PLACES[:1]), THREE: frontend(PLACES[:1])}
    run(run(ServiceTarget, plane, lambda *_: None).put, frontends)
    after_restart = run(ServiceTarget, plane, lambda *told: left.append(told), drains)
    run(after_restart.read)
    web = Service(
        name="web",
        network="n",
        ports=(ServicePort(port=80, target=7000),),
        addresses=(ip_address("10.223.0.1"),),
        drain=7.0,
    )
    for old, new in pairwise((web, msgspec.structs.replace(web, drain=9.0), None)):
        draining.changed(old, new)
    assert {} == run(after_restart.delete, {ONE, THREE})
    gone = {port_key(*PLACES[0], TCP)}
    assert [(ONE, gone, 9.0), (THREE, gone, DRAIN)] == sorted(left, key=itemgetter(2))
    assert {} == drains

    run(after_restart.put, {ONE: frontends[ONE]})
    draining.changed(web, None)
    draining.changed(None, web)
    assert {} == drains


def test_it_knows_who_is_a_backend(target):
    target.put(SOME)
    told = [target.serves(ONE, port_key(*place, TCP)) for place in PLACES[:4]]
    assert [True, True, True, False] == told
    assert not target.serves(port_key("10.223.9.9", 1, TCP), port_key(*PLACES[0], TCP))


def test_turns_go_with_their_service(target):
    target.put(SOME)
    target.tables["turns"].update([(ONE.pack(), bytes(8)), (TWO.pack(), bytes(8))])
    target.delete({ONE})
    assert [TWO.pack()] == [key for key, _ in target.tables["turns"].elements()]


def by_maglev(number: int) -> abi.Frontend:
    return frontend(PLACES[:number], algorithm=abi.SERVICE_MAGLEV)


EVERY = port_key("0.0.0.0", 30080, TCP)
MAGLEV = SOME | {EVERY: by_maglev(3), port_key("::", 30080, TCP): by_maglev(0)}


def test_a_table_is_put_changed_and_deleted_with_its_service(target):
    contracts.puts_and_deletes(target, MAGLEV)
    assert ({}, set()) == (target.parts(), target.slots())
    for number in (3, 8, 1, 0):
        target.put({EVERY: by_maglev(number)})
        assert {EVERY: by_maglev(number)} == target.read() == target.look([EVERY])
        assert ({EVERY.pack(): list(range(32))} if number else {}) == target.parts()
    target.put({EVERY: by_maglev(8)})
    target.put({EVERY: frontend(PLACES)})
    assert {EVERY: frontend(PLACES)} == target.read()
    assert {} == target.parts()


@pytest.mark.parametrize("part", [0, 7, 31])
def test_a_part_that_was_taken_away_or_changed_is_put_back(target, part):
    key, table = EVERY.pack() + part.to_bytes(4, "little"), target.tables["maglev"]
    for meddle in (lambda: table.delete([key]), lambda: table.update([(key, bytes(256))])):
        contracts.finds_and_repairs_drift(target, MAGLEV, meddle)
        target.delete(set(MAGLEV))
        assert {} == target.parts()


def test_a_table_that_a_dead_agent_left_is_seen_and_deleted(target):
    """It came to that, and not to the service; or not to the end of it."""
    other = port_key("0.0.0.0", 1, UDP)
    for service, numbers in ((ONE, range(32)), (other, range(32)), (ONE, [3, 4]), (other, [31])):
        target.put(SOME)
        items = [(service.pack() + n.to_bytes(4, "little"), bytes(256)) for n in numbers]
        target.tables["maglev"].update(items)
        found = target.read()
        assert found.get(service) != SOME.get(service)
        assert {} == target.delete(found.keys() - SOME.keys())
        assert {} == target.put({k: v for k, v in SOME.items() if found[k] != v})
        assert SOME == target.read()
        assert {} == target.parts()


class Watched(Table):
    """A map: before each write all is looked at as a program would."""

    def __init__(self, fd: int, look: Callable[[], None]) -> None:
        super().__init__(fd)
        self._look = look

    def _write(self, command, items):
        failed = {}
        for item in items:
            self._look()
            failed |= super()._write(command, [item])
        return failed


class WatchedTarget(ServiceTarget):
    def __init__(self, plane, look: Callable[[], None]) -> None:
        super().__init__(plane, lambda *_: None)
        self._services = Watched(plane.maps["services"], look)
        self._backends = Watched(plane.maps["backends"], look)
        self._tables = Tables(Watched(plane.maps["maglev"], look))


def test_at_every_moment_an_entry_leads_to_a_slot_that_is_there(world, target):
    """Whatever changes into whatever: while a service asks for a table, all of it is there."""
    plane, key = world.plane, EVERY.pack()
    services, backends, maglev = (Table(plane.maps[n]) for n in ("services", "backends", "maglev"))
    seen = Counter()

    def look() -> None:
        value = services.element(key)
        if value is None:
            return
        service = abi.Service.unpack(value)
        slots = {int.from_bytes(k[20:], "little") for k, _ in backends.elements()}
        assert set(range(service.backends)) <= slots
        if service.algorithm == abi.SERVICE_MAGLEV and service.backends:
            parts = [maglev.element(key + n.to_bytes(4, "little")) for n in range(32)]
            assert None not in parts
            assert set(array("H", b"".join(parts))) - {0xFFFF} <= slots
            seen["asked"] += 1

    def walk() -> None:
        made = WatchedTarget(plane, look)
        made.read()
        for number in (3, 8, 2):
            for algorithm in (abi.SERVICE_MAGLEV, abi.SERVICE_RANDOM, abi.SERVICE_MAGLEV):
                made.put({EVERY: frontend(PLACES[-number:], algorithm=algorithm)})
                look()
        made.put({EVERY: by_maglev(0)})
        made.put({EVERY: by_maglev(5)})
        made.delete({EVERY})
        look()

    world.place.run(walk)
    assert seen["asked"] > 50
    assert ({}, set()) == (target.parts(), target.slots())


class Died(Exception):
    """An agent, over what it did."""


def ordered(weights: dict[tuple[str, int], int]) -> abi.Frontend:
    places = sorted(weights)
    return frontend(places, [weights[place] for place in places])


def weighed(backends: Iterable[abi.Backend]) -> dict[bytes, int]:
    """What a program takes for the weight of whom it finds first."""
    found: dict[bytes, int] = {}
    before = 0
    for backend in backends:
        found.setdefault(backend.addr + backend.port, backend.upto - before)
        before = backend.upto
    return found


class Onlooker:
    """One port in the maps, as programs look at it. An agent dies over its so manieth write."""

    def __init__(self, plane: Any, lives: int = 0) -> None:
        self._services, self._backends = (Table(plane.maps[n]) for n in ("services", "backends"))
        self._lives = lives
        self.staying: set[bytes] = set()

    def led(self) -> tuple[abi.Service, list[abi.Backend]]:
        value = self._services.element(ONE.pack())
        service = abi.Service.unpack(value) if value else abi.Service(0, 0, 0, 0, 0)
        slots = (ONE.pack() + n.to_bytes(4, "little") for n in range(service.backends))
        there = (self._backends.element(slot) for slot in slots)
        return service, [abi.Backend.unpack(value) for value in there if value]

    def look(self) -> None:
        service, backends = self.led()
        assert service.backends == len(backends)
        assert self.staying <= weighed(backends).keys()
        if service.weight and not service.flags & abi.SERVICE_EVEN:
            assert service.weight <= backends[-1].upto  # so whatever is drawn is found

    def __call__(self) -> None:
        self.look()
        self._lives -= 1
        if not self._lives:
            raise Died


LISTS = st.dictionaries(st.sampled_from(PLACES), st.integers(0, 3), max_size=len(PLACES))
CHANGES = st.lists(st.tuples(LISTS, st.booleans()), min_size=2, max_size=4)
WEIGHTS = st.tuples(st.integers(0, 3), st.integers(0, 3))
anything = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.usefixtures("target")
@anything
@given(CHANGES, st.integers(1, 30))
def test_who_stays_a_backend_is_found_at_every_moment(world, changes, lives):
    """Else his connections are reset. Whatever changes into whatever, and though an agent dies over
    it and the next one goes on.
    """

    def walk() -> None:
        onlooker = Onlooker(world.plane, lives)
        ServiceTarget(world.plane, lambda *_: None).delete({ONE})
        for weights, even in changes:
            wanted = ordered(dict.fromkeys(weights, 1) if even else weights)
            before, after = weighed(onlooker.led()[1]), weighed(wanted.backends)
            onlooker.staying = before.keys() & after.keys()
            with suppress(Died):
                WatchedTarget(world.plane, onlooker).put({ONE: wanted})
            WatchedTarget(world.plane, onlooker.look).put({ONE: wanted})
            onlooker.look()
            assert after == weighed(onlooker.led()[1])

    world.place.run(walk)


@pytest.mark.usefixtures("target")
@anything
@given(st.lists(WEIGHTS, min_size=1, max_size=len(PLACES)))
def test_who_keeps_a_weight_has_one_at_every_moment(world, weights):
    """Else datagrams to him are led elsewhere, as to one that gets nothing new."""
    old, new = (
        ordered(dict(zip(PLACES, each, strict=False))) for each in zip(*weights, strict=True)
    )
    was, will = weighed(old.backends), weighed(new.backends)
    both = {place for place in was if was[place] and will[place]}

    def walk() -> None:
        onlooker = Onlooker(world.plane)

        def look() -> None:
            found = weighed(onlooker.led()[1])
            assert all(found[place] > 0 for place in both)

        made = ServiceTarget(world.plane, lambda *_: None)
        made.delete({ONE})
        made.put({ONE: old})
        WatchedTarget(world.plane, look).put({ONE: new})

    world.place.run(walk)


def test_ten_thousand_services_are_written_in_a_second_of_this_cpu(target, tell):
    """And one of them changed in ten milliseconds."""
    places = [
        (mapped(ip_address(0x0AD00000 + number)), (7000).to_bytes(2, "big"))
        for number in range(1000)
    ]
    many = {}
    for number in range(10_000):
        chosen = (places[(number * 10 + slot) % 1000] for slot in range(10))
        backends = tuple(abi.Backend(*place, 0, slot + 1) for slot, place in enumerate(chosen))
        vip = mapped(ip_address(0x0ADF0000 + number))
        service = abi.Service(10, 10, 0, abi.SERVICE_RANDOM, abi.SERVICE_EVEN)
        many[abi.PortKey(vip, b"\0\x50", TCP)] = abi.Frontend(service, backends)
    one = next(iter(many))
    spent = {}
    for name, work in {
        "all": lambda: target.put(many),
        "one": lambda: target.put({one: frontend(PLACES)}),
        "read": target.read,
        "again": target.read,
    }.items():
        start = time.process_time()
        work()
        spent[name] = time.process_time() - start
    tell(", ".join(f"{name}: {1000 * seconds:.1f} ms" for name, seconds in spent.items()))
    assert many | {one: frontend(PLACES)} == target.read()
    target.delete(set(many))
    assert set() == target.slots()
    assert spent["all"] < 1
    assert spent["one"] < 0.01
