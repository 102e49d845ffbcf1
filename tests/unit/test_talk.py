"""To whom most is sent, and who is probed for it: by a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.routed.neighbours import TALK
from seaway.routed.talk import LEAST, MORE, QUIET, SWAP, Talk

EVERY = 10  # seconds
calm = settings(deadline=None, max_examples=60)


class World:
    """One host, and what it sends."""

    def __init__(self) -> None:
        self.talk = Talk()
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        self.talk.look({}, self.now)

    def send(self, rates: Mapping[str, float], seconds: float = 6 * EVERY) -> None:
        """So many bytes a second to each."""
        for _ in range(round(seconds / EVERY)):
            self.now += EVERY
            self.counts.update({host: round(rate * EVERY) for host, rate in rates.items()})
            self.talk.look(dict(self.counts), self.now)


def names(count: int, first: str = "h") -> list[str]:
    return [f"{first}{number:02}" for number in range(count)]


def test_the_hosts_that_most_is_sent_to_are_chosen():
    world, hosts = World(), names(40)
    world.send({host: LEAST * (1 + number) for number, host in enumerate(hosts)})

    assert {*hosts[-TALK:]} == {*world.talk.hosts}


def test_a_few_bytes_are_not_worth_a_probe():
    world = World()
    world.send({"a": LEAST / 2, "b": LEAST * 2})

    assert ("b",) == world.talk.hosts


def test_who_is_quiet_keeps_the_place_for_a_while():
    world = World()
    world.send({"a": 2 * LEAST})
    world.send({}, QUIET - EVERY)
    assert ("a",) == world.talk.hosts
    world.send({}, 4 * EVERY)
    assert () == world.talk.hosts


def test_another_takes_a_place_by_twice_as_much_and_not_by_a_little_more():
    world, hosts = World(), names(TALK)
    rates = dict.fromkeys(hosts, 10 * LEAST)
    world.send(rates)
    world.send(rates | {"new": 10 * LEAST * (MORE - 0.2)}, 10 * SWAP)
    assert "new" not in world.talk.hosts
    world.send(rates | {"new": 10 * LEAST * (MORE + 0.2)}, 2 * SWAP)

    assert "new" in world.talk.hosts
    assert TALK == len(world.talk.hosts)


def test_a_count_that_began_anew_is_all_new():
    """The way there was forgotten, or the programs were replaced."""
    world = World()
    world.send({"a": 100 * LEAST})
    world.counts["a"] = 0
    world.send({"a": 2 * LEAST}, EVERY)
    assert ("a",) == world.talk.hosts

    world.send({"a": 0.0}, 2 * QUIET)
    assert () == world.talk.hosts


def test_what_was_sent_before_the_first_look_says_nothing_of_now():
    talk = Talk()
    for now in range(0, 100, EVERY):
        talk.look({"a": 1 << 40}, float(now))

    assert () == talk.hosts


@given(st.lists(st.dictionaries(st.sampled_from(names(40)), st.integers(0, 10**6)), max_size=80))
@calm
def test_however_it_changes_few_changes_are_told(spells):
    """Each is announced to the whole cluster."""
    world, told = World(), []
    for rates in spells:
        world.send(rates, EVERY)
        told.append(world.talk.hosts)
        assert TALK >= len({*world.talk.hosts}) == len(world.talk.hosts)
    gone = sum(len({*a} - {*b}) for a, b in pairwise(told))
    minutes = world.now / 60

    assert gone <= minutes + 1 + TALK * (world.now // QUIET)
