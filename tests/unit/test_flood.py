"""All hosts that are connected come to know the same, whatever happened on the way there."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec.structs import replace

from fakes_keys import FakeKeys
from flooding import NAMES, Net, hear, line, signed, state
from seaway.model.links import LinkState, Neighbour
from seaway.routed.database import REFRESH
from seaway.routed.flood import AGEING, THEIRS, Flood
from seaway.routed.messages import LAST, Announcement, Ask, Known, Summary, decode, encode
from seaway.routed.session import WRONG

calm = settings(deadline=None)

names = st.sampled_from(NAMES)
pairs = st.tuples(names, names).filter(lambda pair: pair[0] < pair[1])


class Flooding(RuleBasedStateMachine):
    """Any topology, any delay, streams that break, hosts that begin anew."""

    @initialize(links=st.sets(pairs, max_size=9))
    def begin(self, links: set[tuple[str, str]]) -> None:
        self.net = Net()
        self.number = 0
        for name in NAMES:
            self.net.announce(name, 0)
        for pair in sorted(links):
            self.net.connect(*pair)

    @rule(name=names)
    def announce(self, name: str) -> None:
        self.number += 1
        self.net.announce(name, self.number)

    @rule(pair=pairs)
    def connect(self, pair: tuple[str, str]) -> None:
        self.net.connect(*pair)

    @rule(pair=pairs)
    def cut(self, pair: tuple[str, str]) -> None:
        self.net.cut(*pair)

    @rule(side=st.sets(names))
    def part(self, side: set[str]) -> None:
        for one, other in list(self.net.flying):
            if (one in side) != (other in side):
                self.net.cut(one, other)

    @rule(name=names)
    def restart(self, name: str) -> None:
        self.net.restart(name)

    @rule(steps=st.lists(st.integers(0, 99), max_size=20))
    def carry(self, steps: list[int]) -> None:
        for step in steps:
            if ways := sorted(self.net.flying):
                self.net.carry(*ways[step % len(ways)])

    @rule(seconds=st.sampled_from((0.1, 1.0, 10.0, REFRESH)))
    def pass_time(self, seconds: float) -> None:
        if seconds == REFRESH:  # for so long nothing is on its way
            self.net.deliver()
        self.net.pass_time(seconds)

    def teardown(self) -> None:
        if not hasattr(self, "net"):
            return
        self.net.settle()
        for part in self.net.parts():
            found = [self.net.known(name) for name in sorted(part)]
            assert [found[0]] * len(found) == found
            known = self.net.states(min(part))
            assert {n: self.net.told[n] for n in part} == {n: known[n] for n in part}
            assert not any(
                flood.counts[fault]
                for flood in self.net.floods.values()
                for fault in ("forged", "malformed")
            )


Flooding.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFlooding = Flooding.TestCase


# ── one rule at a time ──


def test_what_is_new_is_passed_on_to_all_but_whom_it_came_from():
    net = line("a", "b", "c")
    net.announce("a", 2)
    net.carry("a", "b")

    assert not net.floods["b"].waits("a")
    assert net.floods["b"].waits("c")


def test_it_comes_by_several_ways_and_is_passed_on_once():
    net = line("a", "b", "c")
    net.connect("a", "c")
    net.settle()
    before = net.floods["b"].counts["known"]
    net.announce("a", 2)
    net.carry("a", "b")
    net.carry("a", "c")

    assert net.floods["b"].waits("c")  # nobody knows yet that c has it
    net.carry("c", "b")
    assert not net.floods["b"].waits("c")
    assert before + 1 == net.floods["b"].counts["known"]


def test_a_host_that_began_anew_hears_its_earlier_word_also_from_who_heard_it_late():
    net = line("a", "b", "c")
    for number in (2, 3):
        net.pass_time(1)
        net.announce("a", number)
    net.cut("b", "c")
    net.settle()  # b knows it, c does not
    net.restart("a")
    net.connect("a", "c")
    net.settle()
    net.connect("b", "c")
    net.settle()

    assert net.known("a") == net.known("b") == net.known("c")


def test_an_old_one_changes_nothing_and_who_sends_it_is_told_the_new_one():
    net = line("a", "b", "c")
    net.announce("a", 2)
    net.settle()
    before = net.known("b")

    assert hear(net, "b", "c", signed("a", 0, 9))
    assert before == net.known("b")
    assert 1 == net.floods["b"].counts["old"]
    (message,) = map(decode, net.floods["b"].send("c", net.now, 9))
    assert before["a"][1] == message.body


def test_a_neighbour_is_heard_once_all_that_it_knows_is_here():
    """Paths by what was remembered would stand for a moment: `routed` waits for that."""
    net = Net(NAMES[:3])
    for name in NAMES[:3]:
        net.announce(name)
    net.connect("h1", "h2")
    while net.carry("h1", "h2") or net.carry("h2", "h1"):
        pass
    flood = net.floods["h0"]
    assert not flood.heard("h1")
    net.connect("h0", "h1")
    seen = [(flood.heard("h1"), len(flood.entries))]
    while net.carry("h1", "h0", 1) or net.carry("h0", "h1", 1):
        seen.append((flood.heard("h1"), len(flood.entries)))
    assert (True, 3) == seen[-1]
    assert {3} == {known for heard, known in seen if heard}
    assert {1, 3} <= {known for _, known in seen}
    assert not flood.heard("h2")


def test_a_summary_is_told_once_a_session():
    net = line("a", "b", "c")
    heard = [hear(net, "b", "c", Summary((), last=True)) for _ in range(WRONG[0] + 1)]

    assert False is heard[-1]
    assert WRONG[0] + 1 == net.floods["b"].counts["repeated"]


def test_who_knows_of_many_hosts_that_are_no_members_here_yet_is_heard_to_the_end():
    net = line("a", "b", "c")
    net.cut("b", "c")
    net.connect("b", "c")
    for part in range(10):
        known = tuple(Known(f"x{part}-{n}", 1, b"x") for n in range(500))
        assert hear(net, "b", "c", Summary(known, last=part == 9))
    sent = [decode(data) for data in net.floods["b"].send("c", net.now, 99)]

    assert 3 == sum(isinstance(message, Announcement) for message in sent)


def test_who_asks_for_hosts_that_nobody_knows_is_sent_nothing():
    net = line("a", "b", "c")
    assert hear(net, "b", "c", Ask(tuple(f"x{n}" for n in range(500))))
    assert not net.floods["b"].waits("c")


def test_of_a_host_that_announces_all_the_time_the_last_is_passed_on_and_not_each():
    net = line("a", "b")
    for number in range(200):
        hear(net, "b", "a", signed("a", 10 + number, number))
    assert net.known("b")["a"][0] < 100
    assert state("a", 199) not in net.states("b").values()

    net.pass_time(1)
    assert state("a", 199) == net.states("b")["a"]


def test_the_credential_that_came_too_early_counts_for_what_came_after_it():
    net = line("a", "b", "c")
    for number in range(20):
        hear(net, "b", "a", signed("a", 10 + number, number))
    net.floods["b"]._credentials.clear()
    hear(net, "b", "a", signed("a", 30, 30))
    hear(net, "b", "a", replace(signed("a", 31, 31), credential=b""))
    net.pass_time(1)

    assert state("a", 31) == net.states("b")["a"]
    assert 0 == net.floods["b"].counts["unsigned"]


def test_an_earlier_one_that_took_longer_does_not_hide_the_last():
    net = line("a", "b")
    last = 10 + THEIRS[0]
    for number in range(10, last + 1):
        hear(net, "b", "a", signed("a", number, number))
    assert state("a", last) != net.states("b")["a"]
    net.now += 1  # nobody looked yet whether it is time
    hear(net, "b", "a", signed("a", last - 1, last - 1))

    net.pass_time(1)
    assert state("a", last) == net.states("b")["a"]


def test_the_last_number_there_is_can_be_read():
    net = Net("ab")
    net.floods["a"] = Flood("a", FakeKeys("a"), LAST)
    net.floods["a"].admit({"b"})
    net.connect("a", "b")
    net.announce("a")
    net.settle()

    assert LAST == net.known("b")["a"][0]


def test_a_host_whose_links_change_all_the_time_announces_the_last_state_and_not_each():
    net = line("a", "b")
    for number in range(200):
        net.announce("a", number)
    assert net.known("a")["a"][0] < 20

    net.settle()
    assert state("a", 199) == net.states("b")["a"]


def test_the_same_state_is_not_announced_again():
    net = line("a", "b")
    before = net.known("a")
    net.announce("a")
    assert before == net.known("a")


def test_what_did_not_change_is_announced_again_before_it_is_too_old():
    net = line("a", "b")
    net.pass_time(REFRESH)
    net.settle()
    assert 2 == net.known("b")["a"][0]


def test_a_host_that_is_heard_of_no_more_is_forgotten_when_no_link_leads_to_it():
    net = line("a", "b", "c")
    net.cut("b", "c")
    net.floods.pop("c")
    for _ in range(4):
        net.pass_time(REFRESH)
        net.settle()

    assert {"a", "b"} == net.known("a").keys()
    assert 1 == net.floods["a"].counts["aged out"]


def test_a_host_whose_processes_are_dead_is_kept_while_it_answers_probes():
    """So is one behind it, to which it told of a link."""
    net = line("a", "b", "c")
    for name, other in (("a", "b"), ("b", "c")):
        net.told[name] = LinkState(name, (Neighbour(other, up=True),))
        net.floods[name].announce(net.told[name], net.now)
    net.settle()
    for dead in ("b", "c"):
        net.floods.pop(dead)
    net.flying.clear()
    for _ in range(5):
        net.pass_time(REFRESH)
    assert {"a", "b", "c"} == net.known("a").keys()

    net.floods["a"].announce(LinkState("a", (Neighbour("b", up=False),)), net.now)
    net.pass_time(AGEING)
    assert {"a"} == net.known("a").keys()


def test_age_goes_with_it_so_that_nothing_old_is_passed_around_for_ever():
    net = line("a", "b", "c")
    net.pass_time(100)
    net.restart("c")
    net.connect("b", "c")
    net.settle()

    ages = [net.now - net.floods[name].entries["a"].born for name in ("b", "c")]
    assert ages[0] == pytest.approx(ages[1], abs=1.5)


def test_who_says_that_it_is_younger_is_believed_for_it_keeps_a_host_alive_only():
    net = line("a", "b", "c")
    net.pass_time(100)
    (message,) = [entry for host, entry in net.floods["b"].entries.items() if host == "a"]
    hear(net, "b", "c", Announcement(message.body, message.signature, 7))

    assert 7 == net.now - net.floods["b"].entries["a"].born


def test_a_host_that_began_anew_goes_on_above_its_number():
    net = line("a", "b", "c")
    for number in range(5):
        net.pass_time(1)
        net.announce("a", number)
    net.settle()
    before = net.known("c")["a"][0]
    net.restart("a")
    net.announce("a", 77)
    net.connect("a", "b")
    net.settle()

    assert net.known("c")["a"][0] > before
    assert state("a", 77) == net.states("c")["a"]


def test_a_number_that_is_used_twice_does_no_harm():
    net = line("a", "b")
    net.told["a"] = state("a", 2)
    net.restart("a")
    assert net.known("a")["a"][0] == net.known("b")["a"][0]
    net.connect("a", "b")
    net.settle()

    assert state("a", 2) == net.states("b")["a"]
    assert net.known("a") == net.known("b")


def test_credentials_go_once_a_session():
    net = line("a", "b")
    for number in (2, 3):
        net.announce("a", number)
        (message,) = map(decode, net.floods["a"].send("b", net.now, 9))
        assert b"" == message.credential

    net.cut("a", "b")
    net.connect("a", "b")
    net.carry("b", "a")
    sent = [decode(data) for data in net.floods["a"].send("b", net.now, 9)]
    assert [FakeKeys("a").credential] == [m.credential for m in sent if isinstance(m, Announcement)]


def test_who_has_no_credential_asks_for_it():
    net = line("a", "b", "c")
    bare = replace(signed("a", 99, 9), credential=b"")
    net.floods["b"]._credentials.clear()
    hear(net, "b", "c", bare)

    assert 1 == net.floods["b"].counts["unsigned"]
    assert [Ask(("a",))] == [decode(data) for data in net.floods["b"].send("c", net.now, 9)]


def test_who_asks_for_one_is_sent_the_credential_again():
    net = line("a", "b", "c")
    assert hear(net, "b", "c", Ask(("a",)))
    (message,) = map(decode, net.floods["b"].send("c", net.now, 9))

    assert FakeKeys("a").credential == message.credential


def test_a_thousand_hosts_are_told_in_parts():
    many = [f"m{number}" for number in range(1200)]
    net = Net("ab")
    for flood in net.floods.values():
        flood.admit({*many, "a", "b"})
    net.connect("a", "b")
    net.settle()
    for name in many:
        hear(net, "a", "b", signed(name, 1))
    net.settle()
    net.cut("a", "b")
    net.floods["b"] = Flood("b", FakeKeys("b"))
    net.floods["b"].admit({*many, "a"})
    net.connect("a", "b")
    net.settle()

    assert net.known("a") == net.known("b")
    assert 1200 <= len(net.known("b"))


@pytest.mark.parametrize(
    "message", [signed("a", 3), Summary((Known("a", 2, b"x"),), last=False), Ask(("a", "b"))]
)
def test_what_is_encoded_is_decoded_to_the_same(message):
    assert message == decode(encode(message))


def test_what_a_newer_version_adds_is_left_alone():
    whole = msgspec.msgpack.decode(encode(signed("a", 3)))
    assert signed("a", 3) == decode(msgspec.msgpack.encode([*whole, "new"]))
