"""Paths of a host, from what others announce and from where their records say that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, ip_address
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from linkstates import NAMES, agreed, segment, states
from seaway.model.facts import Path
from seaway.model.links import LinkState, Neighbour
from seaway.routed.router import Router

HERE, THERE = "10.0.0.0/24", "10.9.0.0/24"
ROUTINGS = ("hops", "latency")
Underlays = Mapping[str, Sequence[IPv4Address]]


def placed(prefix: str, *names: str) -> dict[str, tuple[IPv4Address, ...]]:
    first = IPv4Address(prefix.partition("/")[0])
    return {name: (first + number,) for number, name in enumerate(names, 1)}


def router(told: Sequence[LinkState], underlays: Underlays, host: str) -> Router:
    made = Router(host)
    made.use(ROUTINGS)
    made.place(underlays)
    made.learn({state.host: state for state in told})
    made.compute()
    return made


def paths(made: Router) -> list[tuple[Path, ...]]:
    return [made.whole(routing).paths for routing in ROUTINGS]


def vias(made: Router, routing: int = 0) -> dict[str, str]:
    return {path.host: path.via for path in paths(made)[routing]}


def large() -> list[LinkState]:
    """A segment in which nobody probes all others."""
    return [replace(s, segments=(HERE,)) for s in segment("a", 30, Random(1))]


def with_liar(*segments: str) -> list[LinkState]:
    """It has one link, to a3, and x behind it."""
    told = [*large(), *agreed([("liar", "a3", 1), ("liar", "x", 1)], liar=(), x=())]
    found = {state.host: state for state in told if state.host != "a3"}
    (host,) = [state for state in told if state.host == "a3" and state.segments]
    found["a3"] = replace(host, neighbours=(*host.neighbours, Neighbour("liar", True, 1, 1)))
    found["liar"] = replace(found["liar"], segments=segments)
    return list(found.values())


ALL = [f"a{number}" for number in range(30)]
TRUE = placed(HERE, *ALL) | placed(THERE, "liar", "x")


@pytest.mark.parametrize("claims", [(), (HERE,), (HERE, "nonsense"), ("10.0.0.0/33",)])
def test_who_is_elsewhere_and_says_it_is_in_a_segment_is_granted_no_link_there(claims):
    for host in ("a0", "a15", "x"):
        honest = router(with_liar(), TRUE, host)
        assert paths(honest) == paths(router(with_liar(*claims), TRUE, host))
    assert "a3" == vias(router(with_liar(*claims), TRUE, "a0"))["x"]


def test_nor_does_it_have_links_that_were_measured_forgotten():
    """As if the segment gave them."""
    assert "liar" == vias(router(with_liar(HERE), TRUE, "a3"))["liar"]


def test_who_is_there_by_its_record_is_granted_them():
    here = TRUE | {"liar": (ip_address("10.0.0.99"),)}
    assert "liar" == vias(router(with_liar(HERE), here, "a0"))["liar"]
    assert "a3" == vias(router(with_liar(), here, "a0"))["liar"]


@given(
    st.lists(st.one_of(states(NAMES[:6], segments=(HERE, THERE)), st.integers(0, 5)), max_size=20),
    st.lists(
        st.dictionaries(
            st.sampled_from(NAMES[:6]),
            st.sampled_from([(ip_address("10.0.0.1"),), (ip_address("10.9.0.1"),), ()]),
        ),
        max_size=20,
    ),
)
@settings(deadline=None, max_examples=60)
def test_whatever_came_before_equal_announcements_and_records_make_equal_paths(words, records):
    host, known, underlays = NAMES[0], dict[str, LinkState](), {}
    made = router((), {}, host)
    for number, word in enumerate(words):
        if isinstance(word, LinkState):
            known[word.host] = word
            made.learn({word.host: word})
        else:
            known.pop(NAMES[word], None)
            made.learn({NAMES[word]: None})
        if number < len(records):
            underlays = records[number]
            made.place(underlays)
        if number % 3 == 0:
            made.compute()
    made.compute()

    assert paths(router(list(known.values()), underlays, host)) == paths(made)
