"""Paths against an oracle; forwarding by all hosts' tables at once; order and history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from linkstates import NAMES, agreed, scattered, sites, sound, states, with_holes, worlds
from oracle_paths import FAR, Map, added
from seaway.desired.network.graph import HOP
from seaway.desired.network.paths import Route, Routes
from seaway.desired.network.topology import Topology
from seaway.desired.network.ways import EQUAL
from seaway.model.facts import SHARED, Path, Routing
from seaway.model.links import LinkState, Neighbour

calm = settings(deadline=None)

routings = st.sampled_from(("hops", "latency"))
seeds = st.integers(0, 1 << 32)
large = settings(deadline=None, max_examples=20)
Tables = Mapping[str, Mapping[str, Route]]


def routes(host: str, told: Sequence[LinkState], routing: Routing) -> dict[str, Route]:
    """From nothing."""
    topology, found = Topology(), Routes(host, routing)
    for state in told:
        topology.change(state.host, state)
    found.change(topology.take())
    return found.found


def tables(told: Sequence[LinkState], routing: Routing) -> Tables:
    return {state.host: routes(state.host, told, routing) for state in told}


def weight(cost: tuple[float, ...], routing: Routing) -> float:
    return 2 * (cost[0] * HOP + cost[1]) if routing == "hops" else 2 * cost[0]


# ── against the oracle ──


@given(worlds(), routings)
@calm
def test_distances_and_next_hops_are_those_of_the_definition(told, routing):
    drawn = Map.of(told, routing)
    for source, found in tables(told, routing).items():
        far = drawn.distances(source)
        expected = {h: weight(c, routing) for h, c in far.items() if c != FAR and h != source}
        assert expected == {host: route.distance for host, route in found.items()}
        assert {h: drawn.nexts(source, h) for h in expected} == {
            h: r.nexts for h, r in found.items()
        }


@given(worlds())
@calm
def test_fewest_hops_are_those_that_going_out_ring_by_ring_finds(told):
    told = sound(told)
    drawn = Map.of(told, "hops")
    for source, found in tables(told, "hops").items():
        expected = {h: hops for h, hops in drawn.fewest_hops(source).items() if h != source}
        assert expected == {h: route.distance // (2 * HOP) for h, route in found.items()}


@given(worlds(), routings)
@calm
def test_an_alternate_is_given_where_there_is_one_and_the_best_is(told, routing):
    drawn = Map.of(told, routing)
    for source, found in tables(told, routing).items():
        for end, route in found.items():
            assert best_alternate(drawn, source, end, route.nexts[0]) == route.backup


def best_alternate(drawn: Map, source: str, end: str, first: str) -> str:
    """By RFC 5286, from the map."""
    from_here, ranked = drawn.distances(source), []
    for other in drawn.hosts:
        away = drawn.away.get((source, other))
        if away is None or other == first or not (other == end or other in drawn.relays):
            continue
        to = drawn.distances(other)
        back = to[source] if source in drawn.relays else FAR
        if other != end and to[end] >= added(back, from_here[end]):
            continue
        through = added(to[first], drawn.distances(first)[end])
        protects = end in {other, first} or to[end] < through
        ranked.append((not protects, added(away, to[end]), other))
    return min(ranked)[-1] if ranked else ""


# ── forwarding ──


@given(worlds(), routings, st.data())
@calm
def test_hosts_that_know_the_same_forward_without_a_loop(told, routing, data):
    found = tables(told, routing)
    choose = Random(data.draw(seeds)).choice  # whichever of equal next hops they take
    for source, end in permutations(found, 2):
        visited = [source]
        while visited[-1] != end and (route := found[visited[-1]].get(end)):
            visited.append(choose(route.nexts))
            assert len(set(visited)) == len(visited)
        assert (end in found[source]) == (visited[-1] == end)


@given(worlds(), routings)
@calm
def test_a_backup_leads_around_any_one_link_that_failed_without_a_loop(told, routing):
    found = tables(told, routing)
    links = {
        frozenset({host, n.host})
        for state in told
        for n in state.neighbours
        for host in [state.host]
    }
    for dead in links:
        for source, end in permutations(found, 2):
            forwarded(found, source, end, dead)


def forwarded(found: Tables, source: str, end: str, dead: frozenset[str]) -> str:
    """Where a packet ends up while the two ends of a dead link, and nobody else, know of it."""
    visited = [source]
    while visited[-1] != end and (route := found[visited[-1]].get(end)):
        via = route.nexts[0]
        if {visited[-1], via} == dead:
            via = route.backup
            if not via:
                return "lost"
            assert {visited[-1], via} != dead
        visited.append(via)
        assert len(set(visited)) == len(visited)
    assert visited[-1] == end or end not in found[source]
    return visited[-1]


@pytest.mark.parametrize("routing", ["hops", "latency"])
@given(seed=seeds)
@large
def test_neither_does_it_loop_through_segments(routing, seed):
    told = sites(Random(seed))
    found, chance = tables(told, routing), Random(seed)
    pairs = list(permutations(found, 2))
    for source, end in chance.sample(pairs, 100):
        forwarded(found, source, end, frozenset())
        if route := found[source].get(end):
            forwarded(found, source, end, frozenset({source, route.nexts[0]}))


# ── order and history ──


@given(
    st.lists(states(NAMES[:5], segments=("s",)), max_size=12),
    st.lists(st.sampled_from(NAMES[:5]), max_size=5),
    routings,
    st.data(),
)
@calm
def test_what_changed_gives_the_same_as_all_from_nothing(told, forgotten, routing, data):
    events = data.draw(
        st.permutations([*((s.host, s) for s in told), *((h, None) for h in forgotten)])
    )
    topology, found, last = Topology(), Routes(NAMES[0], routing), dict[str, LinkState | None]()
    for host, state in events:
        topology.change(host, state)
        last[host] = state
        if data.draw(st.booleans()):  # a burst is taken at once
            turned = dict(found.found)
            turned |= found.change(topology.take())
            assert {h: r for h, r in turned.items() if r} == found.found
            kept = [state for state in last.values() if state]
            assert routes(NAMES[0], data.draw(st.permutations(kept)), routing) == found.found


@pytest.mark.parametrize("routing", ["hops", "latency"])
@given(seed=seeds)
@large
def test_so_it_does_where_there_are_many(routing, seed):
    chance = Random(seed)
    now = {state.host: state for state in chance.choice((many, sites))(chance)}
    host = min(now)
    topology, found = Topology(), Routes(host, routing)
    for state in now.values():
        topology.change(state.host, state)
    found.change(topology.take())
    for _ in range(8):
        for changed in chance.choices(sorted(now), k=chance.choice((1, 1, 2, 10))):
            now[changed] = another(now[changed], chance)
            topology.change(changed, now[changed])
        found.change(topology.take())
        assert routes(host, list(now.values()), routing) == found.found


def many(chance: Random) -> list[LinkState]:
    return scattered(150, 5, chance)


def another(state: LinkState, chance: Random) -> LinkState:
    """It has another link, or a longer or shorter one, or is no relay, or in other segments."""
    neighbours = list(state.neighbours)
    if not neighbours or chance.random() < 0.1:
        return replace(state, relay=not state.relay)
    if chance.random() < 0.1:
        return replace(state, segments=chance.choice(((), ("a",), ("b",), ("a", "b"))))
    number, length = chance.randrange(len(neighbours)), chance.randint(0, 9)
    hole = chance.choice((0, 0, 1500))
    other = neighbours[number].host
    neighbours[number] = Neighbour(other, length > 0, length, max(1, length), hole=hole)
    return replace(state, neighbours=tuple(neighbours))


@given(worlds(), routings, st.data())
@calm
def test_of_hosts_that_are_forgotten_nothing_is_kept(told, routing, data):
    topology, found = Topology(), Routes(NAMES[0], routing)
    for state in told:
        topology.change(state.host, state)
    found.change(topology.take())
    for state in data.draw(st.permutations(told)):
        topology.change(state.host, None)
        found.change(topology.take())
    assert {} == found.found
    assert [] == list(found.graph.arrivals())
    assert ({}, {}, {}) == (topology.links.states, topology.links._counted, topology.links._failed)


# ── what hosts say of themselves ──


@given(worlds(), st.data())
@calm
def test_a_link_that_one_end_alone_claims_attracts_nothing(told, data):
    liar = data.draw(st.sampled_from(told))
    believed = {n.host for n in liar.neighbours}
    invented = [Neighbour(s.host, True) for s in told if s.host not in {liar.host, *believed}]
    claims = replace(liar, neighbours=(*liar.neighbours, *invented))
    others = [state for state in told if state != liar]
    victims = [
        replace(
            s,
            neighbours=tuple(n for n in s.neighbours if n.host != liar.host or n.host in believed),
        )
        for s in others
    ]
    for routing in ("hops", "latency"):
        before = tables([*victims, liar], routing)
        assert before == tables([*victims, claims], routing)


@given(worlds(), routings, st.data())
@calm
def test_a_host_that_lies_is_no_nearer_than_the_other_ends_say(told, routing, data):
    """Whatever it claims, no way through it is shorter than if it had agreed with each of them."""
    liar = data.draw(st.sampled_from(told))
    others = [state for state in told if state != liar]
    words = {s.host: n for s in others for n in s.neighbours if n.host == liar.host}
    agreeing = replace(
        liar, neighbours=tuple(replace(n, host=host) for host, n in words.items()), relay=True
    )
    lie = replace(data.draw(states([s.host for s in told])), host=liar.host, segments=())
    lie = replace(lie, neighbours=tuple(n for n in lie.neighbours if n.host != liar.host))
    best, found = tables([*others, agreeing], routing), tables([*others, lie], routing)
    for state in others:
        for end, route in found[state.host].items():
            assert best[state.host][end].distance <= route.distance


def test_a_path_is_told_as_a_fact():
    told = agreed([("a", "b", 1), ("b", "c", 1), ("a", "d", 2), ("d", "c", 2)])
    found = routes("a", told, "hops")
    assert [
        Path(host="b", via="b"),
        Path(host="c", via="b", backup="d"),
        Path(host="d", via="d"),
    ] == [route.path(host, "hops") for host, route in sorted(found.items())]


def test_flows_are_shared_over_the_first_of_those_that_are_as_near():
    names = [f"m{number}" for number in range(SHARED + 1)]
    told = agreed([(end, name, 1) for name in names for end in ("a", "z")])
    path = routes("a", told, "hops")["z"].path("z", "hops")

    assert tuple(names[:SHARED]) == path.nexts
    assert names[0] == path.via
    assert path.backup in names[1:]


def test_a_host_that_drains_is_left_out_and_reached_all_the_same():
    told = agreed([("a", "b", 1), ("b", "c", 1), ("a", "d", 5), ("d", "c", 5)])
    drained = [replace(s, relay=s.host != "b") for s in told]
    assert ("d",) == routes("a", drained, "latency")["c"].nexts
    assert ("b",) == routes("a", drained, "latency")["b"].nexts
    assert ("c",) == routes("b", drained, "latency")["c"].nexts


@pytest.mark.parametrize("routing", ["hops", "latency"])
@pytest.mark.parametrize("finder", ["a", "b"])
def test_a_black_hole_is_gone_around_whichever_end_found_it(routing, finder):
    told = agreed([("a", "b", 1), ("a", "c", 900), ("c", "d", 900), ("d", "b", 900)])
    told = [with_holes(state, {"a", "b"}) if state.host == finder else state for state in told]
    assert ("c",) == routes("a", told, routing)["b"].nexts
    assert ("d",) == routes("b", told, routing)["a"].nexts
    assert "b" == routes("a", told, routing)["b"].backup


@pytest.mark.parametrize("routing", ["hops", "latency"])
def test_a_black_hole_is_taken_where_there_is_no_other_way(routing):
    told = agreed([("a", "b", 1), ("b", "c", 1)])
    told = [with_holes(state, "abc") for state in told]
    assert {"b": ("b",), "c": ("b",)} == {
        host: route.nexts for host, route in routes("a", told, routing).items()
    }


@pytest.mark.parametrize("routing", ["hops", "latency"])
def test_of_ways_with_black_holes_the_one_with_the_fewest_is_taken(routing):
    told = agreed([("a", "b", 1), ("b", "z", 1), ("a", "c", 9), ("c", "d", 9), ("d", "z", 9)])
    told = [with_holes(state, "bd") if state.host in "az" else state for state in told]
    assert ("c",) == routes("a", told, routing)["z"].nexts


def test_so_many_black_holes_in_a_row_are_counted_exactly():
    """As the sums say that are compared: see `graph`."""
    names = [f"h{number:03}" for number in range(701)]
    told = agreed([(one, other, 1) for one, other in pairwise(names)])
    told = [with_holes(state, names) for state in told]
    (far,) = [r.distance for host, r in routes(names[0], told, "hops").items() if host == names[-1]]
    assert 700 * (34 * HOP + 2) == far < 2**53


def test_a_busy_link_is_avoided_by_latency_and_not_by_hops():
    told = agreed([("a", "c", 9), ("a", "b", 1), ("b", "c", 1)])
    assert ("b",) == routes("a", told, "latency")["c"].nexts
    assert ("c",) == routes("a", told, "hops")["c"].nexts


def test_of_many_equal_next_hops_the_first_by_name_are_kept():
    names = [f"m{number:02}" for number in range(EQUAL + 2)]
    told = agreed([(end, name, 1) for name in names for end in ("a", "z")])
    assert tuple(names[:EQUAL]) == routes("a", told, "hops")["z"].nexts


def test_a_link_that_is_longer_now_may_be_no_backup_any_more():
    links = [("a", "b", 10), ("b", "z", 10), ("a", "c", 10), ("c", "z", 12)]
    found, topology = Routes("a", "latency"), Topology()
    for length, backup in ((21, "z"), (30, "c")):
        for state in agreed([*links, ("a", "z", length)]):
            topology.change(state.host, replace(state, relay=state.host != "z"))
        found.change(topology.take())
        assert Route(("b",), backup, 40.0) == found.found["z"]
