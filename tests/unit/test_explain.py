"""What is told of a way is what hosts do, and of every other way what was wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from linkstates import agreed, sites, with_holes, worlds
from seaway.desired.network.explain import Chart, Journey
from seaway.desired.network.graph import HOP, SHUNNED
from seaway.desired.network.paths import Routes
from seaway.desired.network.topology import Topology
from seaway.model.facts import Routing
from seaway.model.links import MOST, LinkState, Neighbour
from seaway.model.reports import BlackHole, RouteReport

calm = settings(deadline=None)


def chart(host: str, told: Sequence[LinkState], routing: Routing) -> Chart:
    topology, routes = Topology(), Routes(host, routing)
    for state in told:
        topology.change(state.host, state)
    routes.change(topology.take())
    return Chart(topology, routes, routing)


def told_of(told: Sequence[LinkState], to: str, routing: Routing = "latency") -> RouteReport:
    """From host a."""
    return chart("a", told, routing).to(to)


def reasons(told: Sequence[LinkState], to: str, routing: Routing = "latency") -> dict[str, str]:
    return {detour.via: detour.lost for detour in told_of(told, to, routing).detours}


@given(worlds(), st.sampled_from(("hops", "latency")))
@calm
def test_the_path_is_the_one_that_all_hosts_together_take(told, routing):
    charts = {state.host: chart(state.host, told, routing) for state in told}
    for source, end in permutations(charts, 2):
        report = charts[source].to(end)
        taken, here = [], source
        while here != end and (route := charts[here].found.get(end)):
            here = route.nexts[0]
            taken.append(here)
        assert tuple(taken) == report.path
        if report.path:
            holes = len({frozenset({hole.source, hole.target}) for hole in report.holes})
            weights = {
                "hops": (report.hops + SHUNNED // 2 * holes) * HOP + report.rtt,
                "latency": report.cost + SHUNNED // 2 * holes * MOST,
            }
            assert charts[source].found[end].distance == 2 * weights[routing]


@given(st.integers(0, 1 << 32), st.sampled_from(("hops", "latency")))
@settings(deadline=None, max_examples=20)
def test_no_detour_is_shorter_and_each_has_its_reason(seed, routing):
    told = sites(Random(seed))
    found = chart("a0", told, routing)
    for state in Random(seed).sample(told[1:], 15):
        report, journey = found.to(state.host), Journey(found, state.host)
        ways = [report.path] if report.path else []
        for detour in report.detours:
            assert detour.lost
            assert detour.via not in report.path[:1]
            if detour.path:
                ways.append(detour.path)
        lengths = [found.weigh(journey._length(way)) for way in ways]
        if report.path:
            assert sorted(lengths) == lengths


def test_the_reason_is_told_in_the_words_of_the_routing():
    told = agreed([("a", "b", 1), ("b", "z", 1), ("a", "c", 2), ("c", "z", 3), ("a", "z", 9)])
    assert {
        "c": "it costs 0.003 ms more",
        "z": "it costs 0.007 ms more",
    } == reasons(told, "z")
    assert {
        "b": "hops: 2, not 1",
        "c": "hops: 2, not 1",
    } == reasons(told, "z", "hops")


def test_of_equal_ways_the_ones_whose_names_come_first_are_taken():
    told = agreed([(end, middle, 1) for middle in "bcdef" for end in "az"])
    report = told_of(told, "z")
    assert ("b", "z") == report.path
    assert ("c", "d", "e") == report.equal
    assert {"f": "it is no shorter, and its name comes later"} == reasons(told, "z")


def test_a_longer_round_trip_is_told_where_the_hops_are_as_many():
    told = agreed([("a", "b", 1), ("b", "z", 1), ("a", "c", 2), ("c", "z", 3)])
    assert {"c": "its round trip takes 0.003 ms more"} == reasons(told, "z", "hops")


def test_a_way_that_leads_back_is_told_as_such():
    told = agreed([("a", "z", 1), ("a", "b", 1)])
    assert {"b": "it leads back through a"} == reasons(told, "z")


def test_who_says_that_a_link_is_down_is_told():
    told = agreed([("a", "b", 1), ("b", "z", 1), ("a", "z", 0)])
    assert {"z": "the link is down, says a and z"} == reasons(told, "z")
    told[0] = replace(told[0], neighbours=(told[0].neighbours[0], Neighbour("z", up=True)))
    assert {"z": "the link is down, says z"} == reasons(told, "z")


def test_a_link_that_one_end_alone_claims_is_told():
    told = agreed([("a", "b", 1), ("b", "z", 1)])
    told[2] = replace(told[2], neighbours=(*told[2].neighbours, Neighbour("a", up=True)))
    assert {"z": "only z tells of a link"} == reasons(told, "z")


def test_a_black_hole_is_told_on_the_way_and_as_what_is_wrong_with_a_detour():
    told = agreed([("a", "z", 1), ("a", "b", 1), ("b", "z", 1), ("a", "y", 1)])
    told = [with_holes(state, {"a"}) if state.host in "yz" else state for state in told]
    for routing in ("hops", "latency"):
        assert ("b", "z") == told_of(told, "z", routing).path
        lost = reasons(told, "z", routing)["z"]
        assert "packets of 1500 bytes and more do not pass from z to a" == lost
        assert (BlackHole(source="y", target="a", size=1500),) == told_of(told, "y", routing).holes


def test_a_link_that_is_taken_for_granted_is_told_as_not_measured():
    """All are in one segment; d has just joined, and nobody but c has probed it yet."""
    links = [("a", "b", 1), ("b", "c", 1), ("c", "d", 1)]
    told = agreed(links, **dict.fromkeys("abcd", ("s",)))
    report = told_of(told, "d", "hops")
    assert (("d",), ("a - d",)) == (report.path, report.unmeasured)
    assert () == told_of(agreed(links), "d", "hops").unmeasured


def test_a_host_that_drains_is_told_to_pass_nothing_on():
    told = agreed([("a", "b", 1), ("b", "z", 1), ("a", "z", 9)])
    told = [replace(state, relay=state.host != "b") for state in told]
    assert {"b": "b passes nothing on"} == reasons(told, "z")


def test_a_neighbour_from_which_nothing_leads_there_is_told():
    told = agreed([("a", "b", 1), ("a", "z", 1)])
    told = [replace(state, relay=state.host != "a") for state in told]
    assert {"b": "nothing leads from b to z"} == reasons(told, "z")


def test_nothing_leads_to_a_host_that_is_not_known():
    assert RouteReport(host="x", routing="latency", path=()) == told_of(
        agreed([("a", "b", 1)]), "x"
    )


# ── what one host alone connects ──


def reached(told: Sequence[LinkState]) -> set[tuple[str, str]]:
    """Pairs of which the first finds a path to the other."""
    hosts = [state.host for state in told]
    return {(host, end) for host in hosts for end in chart(host, told, "hops").found}


def test_who_relays_nothing_holds_no_others_together():
    """b and c both see a, which drains, and z."""
    told = agreed([("a", "b", 1), ("a", "c", 1), ("a", "z", 1), ("b", "z", 1), ("c", "z", 1)])
    told = [replace(state, relay=state.host != "a") for state in told]
    assert (("a", "b"), ("a", "c")) == chart("z", told, "hops").apart("z")
    told = [replace(state, relay=state.host == "z") for state in told]
    assert (("a", "b"), ("a", "c")) == chart("z", told, "hops").apart("z")


@given(worlds())
@calm
def test_hosts_are_told_apart_where_one_that_relays_no_more_would_part_them(told):
    before = reached(told)
    for state in told:
        idle = [replace(other, relay=other.relay and other is not state) for other in told]
        lost = {pair for pair in before - reached(idle) if state.host not in pair}
        groups = chart(state.host, told, "hops").apart(state.host)
        assert bool(lost) == bool(groups)
        for one, other in permutations(groups, 2):
            assert any({pair[0]} <= {*one} and {pair[1]} <= {*other} for pair in lost)


def test_the_one_in_the_middle_connects_both_sides():
    told = agreed([("a", "b", 1), ("b", "c", 1), ("b", "d", 1), ("d", "c", 1)])
    assert (("a",), ("c", "d")) == chart("a", told, "hops").apart("b")
    assert () == chart("a", told, "hops").apart("c")
    assert () == chart("a", told, "hops").apart("nobody")
