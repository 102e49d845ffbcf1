"""Ports that are published are nobody's source: which others remain, and how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.desired.network.ports import added, left_ports, seen_reserved, source_spans
from seaway.kernel.nft import ruleset
from seaway.model.facts import Before
from seaway.model.kernel import Masquerade
from seaway.model.ports import Ports, merged, parse_ports, spans, written

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
