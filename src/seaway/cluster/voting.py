"""Which control host votes in the etcd that Seaway runs: the next step of one of them. Pure.

An even number of voters bears no more failures than one less, and has one more that may fail. So
the second control host is a learner until the third is there, and so is the fourth until the fifth.
Each host takes the steps of its own: who takes one is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from seaway.errors import Conflict
from seaway.model.seats import Seat

MOST: Final = 5  # members


class Add(NamedTuple):
    """This host becomes a learner."""


class Promote(NamedTuple):
    """A learner becomes a voter."""

    id: int


class Remove(NamedTuple):
    """A member is none any more."""

    id: int


Step = Add | Promote | Remove


def next_step(me: str, control: Sequence[str], seats: Sequence[Seat]) -> Step | None:
    """None: there is nothing to do for now. `me`, `control`: of this and of all control hosts, in
    their order, the URL where their member is met. Etcd bears one learner at a time.
    """
    voters = [seat for seat in seats if not seat.learner]
    learner = next((seat for seat in seats if seat.learner), None)
    gone = next((seat for seat in seats if seat.peer not in control), None)
    if gone and (gone.learner or len(voters) > 1):
        return Remove(gone.id)
    mine = next((seat for seat in seats if seat.peer == me), None)
    even = len(voters) % 2 == 0
    if mine is None:
        return _come(seats, learner)
    if mine.learner:
        needed = even or voters == [gone]  # who alone has a vote wants to go
        return Promote(mine.id) if needed else None
    missing = set(control) - {seat.peer for seat in seats}
    if even and not (learner or missing) and mine.peer == _last(control, voters):
        return Remove(mine.id)  # and comes back as a learner
    return None


def _come(seats: Sequence[Seat], learner: Seat | None) -> Step | None:
    if len(seats) >= MOST:
        return None
    return Promote(learner.id) if learner else Add()


def _last(control: Sequence[str], voters: Sequence[Seat]) -> str:
    return max((seat.peer for seat in voters), key=lambda peer: [*control, peer].index(peer))


def leave(who: str, seats: Sequence[Seat]) -> Step | None:
    """What must be done before this one may go; None: nothing any more."""
    mine = next((seat for seat in seats if seat.peer == who), None)
    if mine is None or mine.learner:
        return Remove(mine.id) if mine else None
    others = [seat for seat in seats if seat.id != mine.id]
    if any(not seat.learner for seat in others):
        return Remove(mine.id)
    if not others:
        raise Conflict(
            "the records of the whole cluster are on this host alone",
            "first have another control host join: seaway token create --control",
        )
    return Promote(others[0].id)


def urls(control: Sequence[str], seats: Sequence[Seat], without: str = "") -> tuple[str, ...]:
    """URLs where hosts ask: of the voters, in the order of their hosts."""
    found = [s for s in seats if s.client and not s.learner and s.peer != without]
    return tuple(s.client for s in sorted(found, key=lambda s: [*control, s.peer].index(s.peer)))
