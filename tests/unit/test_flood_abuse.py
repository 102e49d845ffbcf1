"""Who lies, forges, floods or talks nonsense harms nobody but himself."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes_keys import FakeKeys
from flooding import Net, hear, line, signed, state
from seaway.routed.flood import PENALTY, THEIRS
from seaway.routed.messages import Announcement, Ask, Known, Message, Signed, Summary, encode
from seaway.routed.session import WRONG

calm = settings(deadline=None)


def test_a_forged_one_is_dropped_counted_and_not_passed_on():
    net = line("a", "b", "c")
    before = net.known("b")

    assert hear(net, "b", "c", signed("a", 99, by="c"))
    assert before == net.known("b")
    assert not net.floods["b"].waits("a")
    assert 1 == net.floods["b"].counts["forged"]


def test_a_host_announces_itself_alone_whoever_its_session_is_with():
    """Its own signature, its own credential, and another's name."""
    net = line("a", "b", "c")
    body = encode(Signed(99, state("a")))
    keys = FakeKeys("c")
    hear(net, "b", "c", Announcement(body, keys.sign(body), 0, keys.credential))

    assert state("a") == net.states("b")["a"]
    assert 1 == net.floods["b"].counts["forged"]


def test_a_host_of_another_cluster_is_not_listened_to_until_it_is_one_of_ours():
    net = line("a", "b", "c")
    net.floods["b"].admit({"a"})
    assert {"a", "b"} == net.known("b").keys()
    assert hear(net, "b", "a", signed("c", 9))
    assert 1 == net.floods["b"].counts["stranger"]

    net.floods["b"].admit({"a", "c"})
    net.settle()
    assert state("c") == net.states("b")["c"]


def test_with_a_stranger_there_is_no_session():
    assert not Net("ab").floods["a"].admits("x", 0.0)


@pytest.mark.parametrize("bad", [b"", b"\x93", b"\xc1" * 9, encode(signed("c", 9))[:-3]])
def test_who_sends_what_is_no_message_is_cut_off_and_others_are_not(bad):
    net = line("a", "b", "c")
    flood = net.floods["b"]

    assert [True] * WRONG[0] + [False] == [flood.receive("c", bad, net.now) for _ in range(21)]
    assert WRONG[0] + 1 == flood.counts["malformed"]
    net.cut("b", "c")
    assert not flood.admits("c", net.now + PENALTY / 2)
    assert flood.admits("c", net.now + PENALTY + 1)
    assert hear(net, "b", "a", signed("a", 9, 9))


def hear_bytes(net: Net, data: bytes) -> bool:
    return net.floods["b"].receive("c", data, net.now)


@pytest.mark.parametrize(
    "useless", [signed("a", 0), signed("x", 9), Ask(("a",) * 500)], ids=["old", "stranger", "ask"]
)
def test_a_flood_of_what_says_nothing_new_ends_the_session(useless):
    net = line("a", "b", "c")
    data = encode(useless)

    heard = sum(1 for _ in takewhile(bool, (hear_bytes(net, data) for _ in range(30_000))))
    assert 100 < heard < 20_000


def test_a_summary_without_an_end_ends_the_session_and_fills_no_memory():
    net = line("a", "b", "c")
    net.cut("b", "c")
    net.connect("b", "c")
    parts = (
        Summary(tuple(Known(f"x{part}-{n}", 1, b"x") for n in range(500)), last=False)
        for part in range(1000)
    )
    heard = sum(1 for _ in takewhile(bool, (hear(net, "b", "c", part) for part in parts)))

    assert WRONG[0] + 2 == heard
    assert {} == net.floods["b"]._sessions["c"]._theirs


class Counting(FakeKeys):
    """How often something was verified."""

    verified = 0

    def holds(self, host: str, credential: bytes, body: bytes, signature: bytes) -> bool:
        self.verified += 1
        return super().holds(host, credential, body, signature)


def flooded(net: Net, source: str, seconds: float, messages: Iterable[Message]) -> int:
    """Those messages come to `b`, a thousand each second, until it has enough: how many came."""
    end, came = net.now + seconds, 0
    for message in messages:
        if net.now >= end or not hear(net, "b", source, message):
            break
        came += 1
        net.now += 0.001
        if came % 100 == 0:
            net.floods["b"].tick(net.now)
    return came


def test_a_host_that_floods_with_what_is_new_is_not_verified_each_time_and_is_cut_off():
    net = line("a", "b", "c")
    keys = net.floods["b"]._keys = Counting("b")
    came = flooded(net, "a", 60, (signed("a", 10 + n, n) for n in range(60_000)))

    assert 10_000 < came < 15_000
    assert keys.verified <= THEIRS[0] + THEIRS[1] * came / 1000 + 1
    assert not net.floods["b"].admits("a", net.now)


def test_who_forges_while_a_host_announces_all_the_time_hides_nothing_and_is_cut_off():
    net = line("a", "b", "c")
    for number in range(40):
        hear(net, "b", "a", signed("a", 10 + number, number))
    assert hear(net, "b", "c", signed("a", 99, 7, by="c"))
    net.pass_time(1)
    net.pass_time(1)
    assert state("a", 39) == net.states("b")["a"]
    assert 1 == net.floods["b"].counts["forged"]

    for number in range(40, 40 + 2 * WRONG[0]):
        for more in range(THEIRS[0]):  # so that what is forged is early
            hear(net, "b", "a", signed("a", 100 * number + more, number))
        if not hear(net, "b", "c", signed("a", 100 * number + 99, 7, by="c")):
            break
        net.pass_time(0.3)
    assert not net.floods["b"].admits("c", net.now)
    assert net.floods["b"].admits("a", net.now)


@given(st.binary(max_size=200))
@calm
def test_whatever_comes_is_read_or_refused(data):
    net = Net("ab")
    net.connect("a", "b")
    net.floods["a"].receive("b", data, 0.0)


@given(st.data())
@calm
def test_so_is_a_message_of_which_something_was_changed_on_the_way(data):
    net = Net("abc")
    net.connect("a", "b")
    sent = bytearray(
        encode(data.draw(st.sampled_from([signed("c", 3), Summary((), last=True), Ask(("c",))])))
    )
    sent[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    net.floods["a"].receive("b", bytes(sent), 0.0)
    assert net.states("a").get("c", state("c")) == state("c")
