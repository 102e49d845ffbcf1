"""Whom hosts probe: few, mostly each other, and enough that all hold together."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.routed.neighbours import PROBED, RETURNED, TALK, chosen, with_others

calm = settings(deadline=None, max_examples=50)
sizes = st.integers(1, 120)


def names(count: int, prefix: str = "h") -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def all_chosen(hosts: list[str], segments: dict[str, list[str]]) -> dict[str, set[str]]:
    """By everybody, each of which knows the segments that it is in."""
    return {
        host: chosen(host, hosts, {n: m for n, m in segments.items() if host in m})
        for host in hosts
    }


def reached(found: dict[str, set[str]], start: str) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        for other in found[todo.pop()] - seen:
            seen.add(other)
            todo.append(other)
    return seen


@given(sizes)
@calm
def test_both_ends_choose_each_other(count):
    found = all_chosen(names(count), {})
    assert all(one in found[other] for one in found for other in found[one])


@given(sizes, sizes)
@calm
def test_nobody_probes_too_many_and_all_hold_together(count, other):
    hosts = [*names(count, "a"), *names(other, "b")]
    found = all_chosen(hosts, {"a": names(count, "a"), "b": names(other, "b")})

    assert max(len(chosen) for chosen in found.values()) <= PROBED
    assert set(hosts) == reached(found, hosts[0])
    inside = {host: {o for o in found[host] if o[0] == host[0]} for host in hosts}
    assert {h for h in hosts if h[0] == "a"} == reached(inside, hosts[0])


@given(st.integers(1, PROBED + 1))
@calm
def test_where_there_are_few_all_are_probed(count):
    hosts = names(count)
    assert {host: {*hosts} - {host} for host in hosts} == all_chosen(hosts, {})


def test_from_anybody_to_anybody_it_is_some_steps():
    found = all_chosen(names(1000), {"all": names(1000)})
    ring, steps = {"h0000"}, 0
    while len(ring) < 1000:
        ring |= {other for host in ring for other in found[host]}
        steps += 1

    assert steps <= 6


def test_another_host_changes_little_for_the_others():
    before = all_chosen(names(200), {})
    after = all_chosen(sorted([*names(200), "h0100x"]), {})

    changed = sum(len(before[host] ^ after[host]) for host in before)
    assert changed <= 2 * 2 * 200  # of 3,200 links


def test_a_host_in_two_segments_probes_in_both_and_elsewhere():
    one, two, rest = names(40, "a"), names(40, "b"), names(40, "c")
    found = chosen("a0000", [*one, *two, *rest], {"a": one, "b": ["a0000", *two]})

    assert {"a", "b"} <= {name[0] for name in found}
    assert PROBED == len(found)


def test_nobody_probes_itself_or_who_is_no_member():
    hosts = names(30)
    assert "h0000" not in chosen("h0000", hosts, {"s": ["h0000", "stranger"]})
    assert "stranger" not in chosen("h0000", hosts, {"s": ["h0000", "stranger"]})
    assert {"h0001"} == with_others(set(), ["stranger", "h0001"], ["stranger"], hosts)


@pytest.mark.parametrize(("talk", "probed_by"), [(100, 0), (0, 200), (100, 200)])
def test_those_that_most_is_sent_to_are_probed_too_and_those_that_probe_us(talk, probed_by):
    hosts = names(400)
    talked, probers = hosts[:talk], hosts[200 : 200 + probed_by]
    found = with_others(set(), talked, probers, hosts)

    assert {*talked[:TALK], *probers[:RETURNED]} == found


def test_who_is_probed_already_takes_no_place_of_those_that_probe_us():
    hosts = names(400)
    found = with_others({*hosts[:16]}, [], hosts, hosts)

    assert {*hosts[: 16 + RETURNED]} == found
