"""Hosts of one segment as one node: what is taken for granted, and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from linkstates import agreed, segment, with_holes
from oracle_paths import Map
from seaway.desired.network.segments import LEAVING, SMALL, Hub
from seaway.desired.network.topology import Topology
from seaway.model.links import LinkState, Neighbour

HOSTS = 30
ALL = [f"a{number}" for number in range(HOSTS)]


def whole(**changed: LinkState | None) -> list[LinkState]:
    """A segment in which every link answers, but for what is changed."""
    told: dict[str, LinkState | None] = {s.host: s for s in segment("a", HOSTS, Random(1))}
    return [state for state in (told | changed).values() if state]


def but(host: str, *failed: str) -> LinkState:
    """What that host says then: these do not answer."""
    (state,) = [s for s in whole() if s.host == host]
    kept = [n for n in state.neighbours if n.host not in failed]
    return replace(state, neighbours=(*kept, *(Neighbour(f, up=False) for f in failed)))


def hops(told: Sequence[LinkState], source: str) -> dict[str, int]:
    return Map.of(told, "hops").fewest_hops(source)


def hubs(told: Sequence[LinkState]) -> set[Hub]:
    topology = Topology()
    for state in told:
        topology.change(state.host, state)
    topology.take()
    return {node for _, node in topology.all().edges if isinstance(node, Hub)}


def test_each_host_reaches_each_other_though_it_probes_only_some():
    assert dict.fromkeys(ALL, 1) | {"a3": 0} == hops(whole(), "a3")
    assert {Hub("a", "a0")} == hubs(whole())


def test_all_that_is_typical_is_made_of_links_that_were_measured():
    drawn = Map.of(whole(), "latency")
    costs = [n.cost for state in whole() for n in state.neighbours]
    assert min(costs) <= drawn.away["a0", "a15"][0] <= max(costs)


def test_two_whose_link_failed_reach_each_other_by_a_third_and_all_others_without():
    told = whole(a3=but("a3", "a7"))
    assert 2 == hops(told, "a3")["a7"]
    assert dict.fromkeys(ALL, 1) | {"a3": 0, "a7": 2} == hops(told, "a3")
    assert dict.fromkeys(ALL, 1) | {"a7": 0, "a3": 2} == hops(told, "a7")


def test_a_host_that_says_of_all_others_that_they_are_gone_harms_itself_alone():
    told = whole(a3=but("a3", *(name for name in ALL if name != "a3")))
    assert {"a3": 0} == hops(told, "a3")
    assert dict.fromkeys(ALL, 1) | {"a0": 0} == hops(told, "a0") | {"a3": 1}
    assert "a3" not in hops(told, "a0")


def test_a_host_that_died_is_reached_no_more_though_it_cannot_say_so():
    around = [f"a{(9 + offset) % HOSTS}" for offset in (1, 2, 4, 8, -1, -2, -4, -8)]
    told = whole(**{name: but(name, "a9") for name in around})
    assert "a9" not in hops(told, "a0")


def test_a_host_that_says_it_is_there_and_is_seen_by_none_attracts_nothing():
    claims = tuple(Neighbour(name, up=True) for name in ALL)
    told = whole(liar=LinkState("liar", claims, ("a",)))
    assert "liar" not in hops(told, "a0")


def test_two_between_whom_is_a_black_hole_go_by_a_third_and_need_not():
    told = [with_holes(state, {"a7"}) if state.host == "a3" else state for state in whole()]
    far = Map.of(told, "hops").distances("a3")
    assert 2 == far["a7"][0]
    assert {1} == {far[name][0] for name in ALL if name not in {"a3", "a7"}}
    assert 1 == hops(told, "a3")["a7"]


def test_a_host_behind_a_black_hole_is_reached_directly_by_all():
    """None of them knows of a better way, though each probes only some."""
    told = [with_holes(state, {"a9"}) for state in whole()]
    drawn = Map.of(told, "hops")
    assert {("a9",)} == {drawn.nexts(name, "a9") for name in ("a0", "a8", "a20")}
    assert {1} == {drawn.distances("a0")[name][0] for name in ALL if name not in {"a0", "a9"}}


def test_a_segment_that_breaks_in_two_is_two():
    halves = [set(ALL[: HOSTS // 2]), set(ALL[HOSTS // 2 :])]
    told = []
    for state in whole():
        (mine,) = [half for half in halves if state.host in half]
        told.append(but(state.host, *(n.host for n in state.neighbours if n.host not in mine)))
    assert halves[0] == hops(told, ALL[0]).keys()
    assert halves[1] == hops(told, ALL[-1]).keys()


def test_what_has_the_same_name_elsewhere_is_another_segment():
    here = segment("a", 20, Random(1))
    there = [replace(s, segments=("a",)) for s in segment("b", 20, Random(2))]
    assert {Hub("a", "a0"), Hub("a", "b0")} == hubs([*here, *there])
    assert {state.host for state in here} == hops([*here, *there], "a0").keys()


def test_where_all_of_a_small_segment_probe_each_other_nothing_is_taken_for_granted():
    names = [f"a{n}" for n in range(SMALL)]
    links = [(one, other, 0) for one, other in combinations(names, 2)]
    line = [(one, other, 1) for one, other in pairwise(names)]
    told = agreed(
        {link[:2]: link for link in links + line}.values(), **dict.fromkeys(names, ("a",))
    )
    assert {name: n for n, name in enumerate(names)} == hops(told, "a0")
    assert set() == hubs(told)


def test_a_link_there_is_as_long_as_it_was_measured():
    names = [f"a{n}" for n in range(4)]
    links = [(one, other, 1 + n) for n, (one, other) in enumerate(combinations(names, 2))]
    drawn = Map.of(agreed(links, **dict.fromkeys(names, ("a",))), "latency")
    assert {(one, other): float(cost) for one, other, cost in links} == {
        pair: away[0] for pair, away in drawn.away.items() if pair[0] < pair[1]
    }


def test_a_link_that_failed_is_an_exception_in_every_segment_that_its_ends_share():
    told = [replace(s, segments=("a", "b")) for s in whole(a3=but("a3", "a7"))]
    assert 2 == hops(told, "a3")["a7"]


def test_where_too_many_failed_some_hosts_count_on_links_that_they_probe():
    failed = [(f"a{n}", f"a{n + 1}") for n in range(0, 2 * LEAVING + 4, 2)]
    links = {
        (f"a{n}", f"a{(n + offset) % 50}"): 1 for n in range(50) for offset in (1, 2, 4, 8)
    } | dict.fromkeys(failed, 0)
    told = agreed(
        [(*pair, up) for pair, up in links.items()], **{f"a{n}": ("a",) for n in range(50)}
    )
    assert dict.fromkeys(failed, 2) == {pair: hops(told, pair[0])[pair[1]] for pair in failed}
    assert {0: 1, 1: 47, 2: 2} == Counter(hops(told, "a49").values())


@given(st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=40)
def test_two_of_a_part_are_neighbours_unless_their_link_failed(seed):
    told = segment("a", HOSTS, Random(seed), broken=0.06)
    topology = Topology()
    for state in told:
        topology.change(state.host, state)
    topology.take()
    away, failed = Map.of(told, "hops").away, topology.links.failed
    for one in ALL:
        assert {o for o in ALL if o != one and o not in failed(one)} == {
            other for first, other in away if first == one
        }


def test_two_that_share_two_segments_keep_their_link_when_one_of_them_grows_large():
    small = agreed([("b0", "b1", 3)], b0=("b",), b1=("b",))
    large = segment("b", SMALL + 1, Random(1))
    both = {"b0": ("a", "b"), "b1": ("a", "b")}
    topology, known = Topology(), {}
    for told in (small, large):
        for state in told:
            topology.change(state.host, replace(state, segments=both.get(state.host, ("b",))))
        known |= topology.take().edges
    assert known["b0", "b1"]
    assert {pair: length for pair, length in known.items() if length} == topology.all().edges
