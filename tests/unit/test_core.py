"""Many hosts' `routed` without sockets and processes: by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations, count
from random import Random

import pytest

from fakes_keys import FakeKeys
from seaway.model.facts import Path
from seaway.model.reports import BlackHole
from seaway.model.routing import Member, Orders
from seaway.routed.core import LATELY, SETTLING, Core
from seaway.routed.messages import Ask, Summary, encode
from seaway.routed.neighbours import PROBED
from seaway.routed.packet import ANSWER, FORMAT, HEADERS, QUESTION, Packet, decode
from seaway.routed.probes import DEFAULT, FRESH
from seaway.routed.talk import QUIET

STEP = 0.02  # seconds
PROMISED = 1.0
FULL = 1500  # bytes
Links = Callable[[str, str], bool]


class Host:
    """One: its core, or none while its processes are dead. Its data plane answers all the same."""

    def __init__(self, name: str, number: int, phase: float) -> None:
        self.name = name
        self.number = number
        self.address = IPv4Address("10.0.0.0") + number
        self.core: Core | None = None
        self.due = phase
        self.vias: dict[str, Path] = {}


class World:
    """All of them, and who reaches whom."""

    def __init__(self, names: Iterable[str], reaches: Links, **orders: object) -> None:
        chance = Random(1)
        self.now = 0.0
        self.reaches = reaches
        self.swallowed: set[tuple[str, str]] = set()  # from whom to whom large packets are
        self.hosts = {n: Host(n, i, chance.uniform(0, 0.1)) for i, n in enumerate(names, 1)}
        self._orders = orders
        self._by_address = {str(host.address): host for host in self.hosts.values()}
        self._stamps = count(1)
        for name in self.hosts:
            self.begin(name)

    def orders(self, host: Host, **more: object) -> Orders:
        members = tuple(
            Member(name=h.name, number=h.number, underlay=(h.address,))
            for h in self.hosts.values()
            if h is not host
        )
        own = {"host": host.name, "number": host.number, "underlay": (host.address,)}
        return Orders(**own, members=members, **(self._orders | more))

    def begin(self, name: str) -> None:
        host = self.hosts[name]
        orders = self.orders(host)
        host.core = Core(orders, FakeKeys(name), self._stamps.__next__, lambda _: FULL, 0)
        host.core.obey(orders)
        host.core.choose()

    def kill(self, name: str) -> None:
        self.hosts[name].core = None
        for host in self.hosts.values():
            if host.core:
                host.core.flood.close(name)

    def _meet(self) -> None:
        """Sessions, with those that each probes of its own choice."""
        for one, other in combinations(self.hosts.values(), 2):
            a, b = one.core, other.core
            if not (a and b):
                continue
            met = other.name in a.flood._sessions
            if self.reaches(one.name, other.name) and other.name in a.ring | b.ring:
                if not met and a.flood.admits(other.name, self.now):
                    a.flood.open(other.name)
                    b.flood.open(one.name)
                    a._keys.learn(other.name, b._keys.credential)
                    b._keys.learn(one.name, a._keys.credential)
            elif met:
                a.flood.close(other.name)
                b.flood.close(one.name)

    def _talk(self) -> None:
        busy = True
        while busy:
            busy = False
            for host in self.hosts.values():
                for peer in list(host.core.flood._sessions) if host.core else ():
                    for data in host.core.flood.send(peer, self.now, 50):
                        busy = True
                        self.hosts[peer].core.flood.receive(host.name, data, self.now)

    def _probe(self, host: Host) -> None:
        for address, data in host.core.tick(self.now):
            other = self._by_address[str(address)]
            packet = decode(data)
            assert (QUESTION, host.number, other.number) == packet[:3]
            assert FORMAT.size <= len(data) <= FULL - HEADERS[4]
            if len(data) > FORMAT.size and (host.name, other.name) in self.swallowed:
                continue
            if self.reaches(host.name, other.name):
                answer = packet._replace(kind=ANSWER).encode()
                host.core.hear(answer, str(other.address), self.now + 0.0002)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            self._meet()
            self._talk()
            for host in self.hosts.values():
                if host.core and self.now >= host.due:
                    host.due = self.now + DEFAULT.interval
                    self._probe(host)
                    host.core.choose()
            self._talk()
            self._compute()

    def _compute(self) -> None:
        for host in self.hosts.values():
            for turn in host.core.compute() if host.core else ():
                kept = {} if turn.whole else host.vias
                host.vias = {h: p for h, p in kept.items() if h not in turn.gone}
                host.vias |= {path.host: path for path in turn.paths}

    def path(self, source: str, end: str) -> list[str]:
        """The hosts that a packet visits, by what each knows; it ends where it is lost."""
        visited = [source]
        while visited[-1] != end and len(visited) < 30:
            path = self.hosts[visited[-1]].vias.get(end)
            if path is None or not self.reaches(visited[-1], path.via):
                break
            visited.append(path.via)
        return visited

    def reached(self, source: str, ends: Iterable[str]) -> set[str]:
        return {end for end in ends if self.path(source, end)[-1] == end}


def line(names: str) -> Links:
    return lambda one, other: abs(names.index(one) - names.index(other)) == 1


def test_along_a_line_everybody_reaches_everybody():
    world = World("abcde", line("abcde"))
    world.run(SETTLING + 2)

    assert list("abcde") == world.path("a", "e")
    assert all(world.reached(name, "abcde") == {*"abcde"} for name in "abcde")


def test_forty_hosts_on_one_segment_reach_each_other_directly_though_each_probes_few():
    names = [f"h{number:02}" for number in range(40)]
    world = World(names, lambda *_: True, segments=(IPv4Network("10.0.0.0/24"),))
    world.run(SETTLING + 2)

    assert {1} == {len(world.path("h00", end)) - 1 for end in names[1:]}
    assert len(world.hosts["h00"].core.prober.links) <= PROBED


@pytest.mark.parametrize("seed", range(4))
def test_when_hosts_are_cut_off_those_that_are_connected_reach_each_other_in_time(seed):
    """Any links of twelve hosts, then some fewer of them."""
    names = [f"h{number:02}" for number in range(12)]
    chance = Random(seed)
    alive = {pair for pair in combinations(names, 2) if chance.random() < 0.35}
    world = World(names, lambda one, other: tuple(sorted((one, other))) in alive)
    world.run(SETTLING + 2)
    for _ in range(3):
        assert_connected(world, names, alive)
        alive -= set(chance.sample(sorted(alive), 4))
        world.run(PROMISED)


def assert_connected(world: World, names: list[str], alive: set[tuple[str, str]]) -> None:
    for name in names:
        part, todo = {name}, [name]
        while todo:
            here = todo.pop()
            found = {o for pair in alive if here in pair for o in pair} - part
            part |= found
            todo += found
        assert part == world.reached(name, names)


def test_a_pair_of_a_segment_that_fails_goes_by_a_third():
    names = [f"h{number:02}" for number in range(30)]
    dead: set[str] = set()
    world = World(
        names, lambda one, other: {one, other} != dead, segments=(IPv4Network("10.0.0.0/24"),)
    )
    world.run(SETTLING + 2)
    dead |= {"h00", "h01"}
    world.run(PROMISED)

    assert 3 == len(world.path("h00", "h01"))
    assert world.reached("h00", names) == {*names}


def test_a_choice_to_probe_each_other_ends_at_both_ends():
    """And nobody else's paths turn meanwhile."""
    names = [f"h{number:02}" for number in range(19)]
    world = World(names, lambda *_: True, segments=(IPv4Network("10.0.0.0/24"),))
    world.run(SETTLING + 1)
    core = world.hosts["h00"].core
    other = choose_another(world, "h00")
    end = world.hosts[other].core
    before = {name: dict(world.hosts[name].vias) for name in names}
    world.run(1)
    assert core.prober.links[other].up
    assert end.prober.links["h00"].up
    assert before == {name: world.hosts[name].vias for name in names}

    for passed in range(20, 1000, 10):
        core.count({}, world.now + passed)
    world.run(1)
    assert other not in core.prober.links
    assert "h00" not in end.prober.links


def choose_another(world: World, name: str) -> str:
    """Have it send much to one that it does not probe."""
    core = world.hosts[name].core
    number, *_ = sorted(core.unprobed())
    for passed in (0, 10):
        core.count({number: 100_000 * passed}, world.now + passed)
    (other,) = core.talk.hosts
    assert other not in core.prober.links
    return other


def test_a_pair_that_talks_is_probed_and_then_known_to_fail_also_after_a_restart():
    """Nobody knew of it before: it was taken for granted."""
    names, dead = [f"h{number:02}" for number in range(19)], {"h00", "h04"}
    world = World(
        names, lambda one, other: {one, other} != dead, segments=(IPv4Network("10.0.0.0/24"),)
    )
    world.run(SETTLING + 1)
    assert ["h00"] == world.path("h00", "h04")
    assert "h04" == choose_another(world, "h00")
    world.run(PROMISED + FRESH)
    before = world.path("h00", "h04")
    assert "h04" == before[-1]

    nothing_is_sent(world, 2 * QUIET)  # so it is probed because it failed
    world.run(FRESH)
    world.kill("h00")
    world.begin("h00")
    for _ in range(30):
        world.run(0.1)
        assert before == world.path("h00", "h04")


@pytest.mark.parametrize(("how", "within"), [("dead", 3), ("hole", 10)])
def test_a_pair_that_talked_and_failed_is_probed_until_it_was_sound_for_long(how, within):
    """Nothing is sent there any more, as the path goes by a third: were it probed no more, then the
    segment took it for granted, and packets went into the dead link again.
    """
    names, ends = [f"h{number:02}" for number in range(19)], ["h00", "h04"]
    dead: set[str] = set()
    world = World(
        names, lambda one, other: {one, other} != dead, segments=(IPv4Network("10.0.0.0/24"),)
    )
    world.run(SETTLING + 1)
    assert "h04" == choose_another(world, "h00")
    world.run(PROMISED + FRESH)
    assert ends == world.path(*ends)

    if how == "dead":
        dead |= {*ends}
    else:
        world.swallowed.add(("h00", "h04"))
    world.run(within)
    around = world.path(*ends)
    assert 3 == len(around)
    nothing_is_sent(world, 2 * QUIET)
    world.run(1)
    assert () == world.hosts["h00"].core.talk.hosts
    assert around == world.path(*ends)

    dead.clear()
    world.swallowed.clear()
    world.run(within)
    nothing_is_sent(world, QUIET / 2)
    world.run(1)
    assert ends == world.path(*ends)
    assert "h04" in world.hosts["h00"].core.prober.links
    nothing_is_sent(world, QUIET)
    world.run(1)
    assert ends == world.path(*ends)
    for one, other in (ends, ends[::-1]):
        assert other not in world.hosts[one].core.prober.links


def nothing_is_sent(world: World, seconds: float) -> None:
    """For so long: all sleep meanwhile."""
    for end in range(10, int(seconds) + 10, 10):
        for host in world.hosts.values():
            host.core.count({}, world.now + end)
    world.now += seconds


def test_a_black_hole_in_one_direction_is_gone_around_by_both_ends_until_it_is_mended():
    world = World("abc", lambda *_: True)
    world.run(SETTLING + 2)
    world.swallowed.add(("a", "b"))
    world.run(10)

    found = (BlackHole(source="a", target="b", size=FULL),)
    assert (list("acb"), list("bca")) == (world.path("a", "b"), world.path("b", "a"))
    assert list("ca") == world.path("c", "a")
    assert frozenset(found) == world.hosts["a"].core.holes()
    for host in "ab":
        told = {link.host: link.holes for link in world.hosts[host].core.links(())}
        assert {"b" if host == "a" else "a": found, "c": ()} == told

    world.swallowed.clear()
    world.run(10)
    assert (list("ab"), list("ba")) == (world.path("a", "b"), world.path("b", "a"))
    assert frozenset() == world.hosts["a"].core.holes()


def test_a_black_hole_is_no_way_around_where_nobody_relays():
    """As where nothing is encapsulated: what a relay would pass on is carried."""
    world = World("abc", lambda *_: True, relay=False, routings=("hops", "latency"))
    world.swallowed.add(("a", "b"))
    world.run(SETTLING + 10)

    assert (
        frozenset({BlackHole(source="a", target="b", size=FULL)}) == world.hosts["a"].core.holes()
    )
    assert (list("ab"), list("ba")) == (world.path("a", "b"), world.path("b", "a"))
    for host in world.hosts.values():
        turns = [host.core.router.whole(routing) for routing in host.core.router.routings]
        assert all(p.via == p.host and not p.backup for turn in turns for p in turn.paths)


def test_a_host_that_begins_anew_knows_of_a_black_hole_and_nobody_turns():
    world = World("abc", lambda *_: True)
    world.swallowed.add(("a", "b"))
    world.run(SETTLING + 10)
    assert list("acb") == world.path("a", "b")
    world.kill("a")
    world.run(1)
    world.begin("a")
    for _ in range(50):
        world.run(0.1)
        assert list("bca") == world.path("b", "a")


def test_a_host_whose_processes_are_dead_relays_and_comes_back_unnoticed():
    world = World("abc", line("abc"))
    world.run(SETTLING + 2)
    before = dict(world.hosts["a"].vias)
    world.kill("b")
    world.run(600)
    assert before == world.hosts["a"].vias

    world.begin("b")
    for _ in range(100):
        world.run(0.1)
        assert before == world.hosts["a"].vias


def test_nobody_else_can_answer_for_a_host():
    world = World("ab", lambda *_: True)
    world.run(SETTLING + 2)
    core = world.hosts["a"].core
    number = core._keys.number("b")
    right = Packet(ANSWER, 1, 2, number, 7)
    for wrong, fault in (
        (right, "replayed"),
        (right._replace(number=number ^ 1), "forged"),
        (right._replace(target=9), "of others"),
        (right._replace(source=2), "of others"),
        (right._replace(kind=QUESTION), "unanswered question"),
    ):
        before = core.refused[fault]
        core.hear(wrong.encode(), "10.0.0.2", world.now)
        assert before + 1 == core.refused[fault]
    core.hear(right.encode(), "10.0.0.9", world.now)
    core.hear(b"nothing", "10.0.0.2", world.now)
    assert (3, 1) == (core.refused["of others"], core.refused["no probe"])

    for message in (Ask(("a",)), Summary((), last=True)):
        core.flood.receive("b", encode(message), world.now)
    assert {"asked", "repeated"} <= core.flood.counts.keys()
    assert {"forged": 1, "no probe": 1, "of others": 3, "repeated": 1} == core.wrong()


def test_an_answer_of_a_host_that_left_is_nobodys_forgery_for_a_while():
    world = World("abc", lambda *_: True)
    world.run(SETTLING + 2)
    core = world.hosts["a"].core
    number = core._keys.number("c")
    left = world.hosts.pop("c")
    core.obey(world.orders(world.hosts["a"]))
    answer = Packet(ANSWER, 1, 3, number, 7).encode()
    core.hear(answer, str(left.address), world.now)
    assert (1, {}) == (core.refused["of who left"], core.wrong())
    core.hear(answer, str(left.address), world.now + LATELY + 1)
    assert {"of others": 1} == core.wrong()


def test_an_answer_of_a_host_whose_key_is_not_known_yet_is_no_forgery():
    world = World("ab", lambda *_: True)
    core = world.hosts["a"].core
    core.hear(Packet(ANSWER, 1, 2, 3, 4).encode(), "10.0.0.2", world.now)
    assert (1, {}) == (core.refused["of no key yet"], core.wrong())


def test_what_it_knows_is_told_of_each_routing_that_is_asked_for():
    world = World("abc", line("abc"), routings=("hops", "latency"))
    world.run(SETTLING + 2)
    core = world.hosts["a"].core
    assert ["hops", "latency"] == core.router.routings
    assert [("b", "c")] == [report.path for report in core.router.explain("latency", "c")]
    assert {"b", "c"} == {report.host for report in core.router.explain("hops", "")}

    (gone,) = core.obey(world.orders(world.hosts["a"], routings=("hops",)))
    assert ("latency", (), True) == (gone.routing, gone.paths, gone.whole)
    assert () == core.router.explain("latency", "c")
