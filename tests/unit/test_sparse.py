"""What is found under many names is found as in a set or a dictionary for each of them."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from seaway.sparse import Found, Readers

names = st.integers(0, 2)
many = st.integers(0, 12)


@given(st.lists(st.tuples(names, many)))
def test_readers_are_a_set_for_each_name(steps: list[tuple[int, int]]) -> None:
    readers, expected = Readers(), defaultdict(set)
    for name, reader in steps:
        if reader in expected[name]:
            expected[name].remove(reader)
            readers.discard((name,), reader)
        else:
            expected[name].add(reader)
            assert (name,) == readers.add((name,), reader)
        assert sorted(expected[name]) == sorted(readers.of((name,)))
        assert sum(map(bool, expected.values())) == len(readers)


def test_a_name_that_several_look_at_is_kept_once() -> None:
    readers, name = Readers(), 7
    kept = [readers.add((name,), reader) for reader in range(20)]
    assert all(one is kept[1] for one in kept[1:])


@given(st.lists(st.tuples(names, many, st.sampled_from(("whole", "part", "none")))))
def test_what_is_found_is_a_dictionary_for_each_value(steps: list[tuple[int, int, str]]) -> None:
    facts = {key: f"fact {key}" for key in range(13)}
    found, expected = Found(facts), defaultdict(dict)
    for value, key, what in steps:
        if what == "none":
            if expected[value].pop(key, None):
                found.remove(value, key)
        else:
            part = facts[key] if what == "whole" else f"part {key}"
            expected[value][key] = part
            found.put(value, key, part, whole=what == "whole")
        assert expected[value] == found.of(value)
        assert sum(map(bool, expected.values())) == len(found)


def test_of_what_is_found_as_a_whole_there_is_the_latest() -> None:
    facts = {"a": 1}
    found = Found(facts)
    found.put("x", "a", 1, whole=True)
    facts["a"] = 2
    assert {"a": 2} == found.of("x")
