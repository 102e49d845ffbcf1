"""Ports that are published are nobody's source: which others remain, and how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_node_ports import exposed
from tests.unit.test_services import learn

from seaway.desired.indexes import INDEXES
from seaway.desired.network.ports import (
    RESERVED,
    added,
    left_ports,
    seen_reserved,
    shared,
    source_spans,
    unnoted,
)
from seaway.facts import Facts
from seaway.kernel.nft import ruleset
from seaway.model.facts import Before
from seaway.model.kernel import Masquerade, Reserved
from seaway.model.node_ports import records_of
from seaway.model.ports import Ports, merged, parse_ports, spans, written
from seaway.model.services import NodePort

port = st.integers(1, 65535)
few = st.frozensets(port, max_size=200)
many = st.builds(lambda step, at: frozenset(range(at, 65536, step)), st.integers(1, 40), port)


def all_of(found: tuple[tuple[int, int], ...]) -> set[int]:
    return {p for first, last in found for p in range(first, last + 1)}


@given(st.one_of(few, many))
def test_ports_that_were_written_are_read_again(ports):
    assert ports == parse_ports(written(ports)) == parse_ports(written(ports) + "\n")
    assert ports == all_of(tuple(spans(ports)))


def test_neighbours_are_written_as_the_kernel_does():
    assert "53,80-81,20000-20999" == written([81, 80, 53, *range(20000, 21000)])
    assert "" == written([])
    assert frozenset() == parse_ports("\n")


@given(st.one_of(few, many))
def test_no_source_is_a_published_port(published):
    found = source_spans(published)

    assert not all_of(found) & published
    assert list(found) == sorted(found)
    assert 1 >= len([s for s in found if s[1] < 1024])
    assert all(600 <= first <= last <= 65535 for first, last in found)
    assert not any(first < 1024 <= last for first, last in found)


@given(st.frozensets(port, max_size=62))
def test_up_to_62_publications_leave_whole_blocks(published):
    assert 1024 <= len([p for p in all_of(source_spans(published)) if p >= 1024])


@given(few, port)
def test_a_publication_beside_another_changes_nothing(published, other):
    beside = other ^ 1
    if min(other, beside) < 1024:
        return
    first = source_spans({*published, other})
    if any(last - start < 1023 for start, last in first if last >= 1024):
        return  # no block is left
    assert first == source_spans({*published, other, beside})


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ((), ((600, 1023), (1024, 65535))),
        ((80, 443, 8080, 8081, 65535), ((600, 1023), (1024, 7167), (8192, 64511))),
        ((993,), ((600, 992), (1024, 65535))),
        (range(1, 65536), ()),
        (range(1024, 65536, 2), ((600, 1023), *((p, p) for p in range(1025, 1056, 2)))),
    ],
)
def test_whole_blocks_are_taken_or_the_longest_gaps(published, expected):
    assert expected == source_spans(published)


def test_each_port_is_as_likely_as_every_other():
    """Of three spans of 1,000, 2,000 and 1,000 ports."""
    table = ruleset(Masquerade((), (), ((1000, 1009), (2000, 2999), (4000, 5999), (7000, 7999))))

    assert f"meta random < {2**32 * 1000 // 4000} masquerade to :2000-2999" in table
    assert f"meta random < {2**32 * 2000 // 3000} masquerade to :4000-5999" in table
    assert "meta l4proto { tcp, udp } masquerade to :7000-7999 fully-random" in table
    assert "th sport < 1024 masquerade to :1000-1009" in table


class List:
    """The kernel's list of reserved ports, what the store says of it, and who wants what."""

    def __init__(self, theirs: Ports) -> None:
        self.now = self.theirs = theirs
        self.ours = Ports()
        self.before = Before(host="h", sysctls={})

    def look(self) -> None:
        self.before = seen_reserved(self.before, self.now, self.ours)

    def put(self) -> None:
        """What the agent does, at once or after it was killed: it rests on records alone."""
        gone = added(self.before, self.ours) - self.ours
        self.now = merged(self.now, self.ours, gone)

    def publish(self, ports: Ports) -> None:
        self.ours |= ports

    def unpublish(self, ports: Ports) -> None:
        ended = ports & self.ours
        self.ours -= ports
        self.before = next(iter(left_ports(self.before, ended)), self.before)

    def add(self, ports: Ports) -> None:
        """Others do. One that is there because of us already, nobody can see them add."""
        new = ports - added(self.before, self.ours)
        self.now, self.theirs = self.now | new, self.theirs | new

    def overwrite(self, ports: Ports) -> None:
        """Others do, who do not know of us."""
        self.now = self.theirs = ports - added(self.before, self.ours)

    def uninstall(self) -> None:
        self.now = merged(self.now, Ports(), added(self.before, self.ours))


some = st.frozensets(st.integers(1, 6), max_size=4)
steps = st.lists(
    st.tuples(st.sampled_from(["publish", "unpublish", "add", "overwrite", "put", "look"]), some),
    max_size=12,
)


@given(some, steps)
def test_a_list_that_is_shared_keeps_what_others_have_in_it(theirs, steps):
    shared = List(theirs)
    shared.look()
    for step, ports in steps:
        given = () if step in ("put", "look") else (ports,)
        getattr(shared, step)(*given)
        if step in ("add", "overwrite"):  # the next look is before the next publication
            shared.look()
        assert shared.theirs <= shared.now
    shared.put()
    assert shared.theirs | shared.ours == shared.now
    shared.look()
    assert shared.theirs | shared.ours == parse_ports(shared.before.reserved) | shared.ours
    assert "" == shared.before.left
    shared.uninstall()
    assert shared.theirs == shared.now


def test_a_published_port_is_nobodys_source_and_is_given_back_by_a_host_that_was_off() -> None:
    made = Facts((RESERVED,), INDEXES)
    before, kernel = Before(host="h", sysctls={}, reserved="22"), frozenset((22,))
    taken = records_of(exposed(external_policy="Local", health_port=30090))
    learn(made, before, *taken)
    assert unnoted(made, before)
    assert {"reserved": {"ports": None}} == made.derive()

    noted = seen_reserved(before, kernel, frozenset(), shared(made))
    assert ("22", "30080,30090") == (noted.reserved, noted.left)
    assert not unnoted(made, noted)
    learn(made, noted)
    assert {"reserved": {"ports": Reserved("30080,30090", "")}} == made.derive()
    there = kernel | parse_ports("30080,30090")
    assert noted == seen_reserved(noted, there, frozenset(), shared(made))

    for record in taken:  # by another host
        made.change(NodePort, f"{record.port}-{record.protocol}", None)
    assert {"reserved": {"ports": Reserved("", "30080,30090")}} == made.derive()
    left = seen_reserved(noted, there, frozenset(), shared(made))
    assert noted == left
    gone = seen_reserved(left, kernel, frozenset(), shared(made))
    assert ("22", "") == (gone.reserved, gone.left)


def test_a_port_that_others_keep_free_stays_theirs() -> None:
    made, before = Facts((RESERVED,), INDEXES), Before(host="h", sysctls={})
    learn(made, *records_of(exposed()))
    seen = seen_reserved(before, frozenset((30080,)), frozenset(), shared(made))
    assert ("30080", "") == (seen.reserved, seen.left)
    assert not unnoted(made, seen)
