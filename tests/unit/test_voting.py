"""Who votes in the etcd that Seaway runs: the steps of all control hosts, in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.cluster import voting
from seaway.cluster.voting import Add, Promote, Remove
from seaway.errors import Conflict
from seaway.model.seats import Seat

HOSTS = [f"https://192.0.2.{n}:2380" for n in range(1, 8)]


def seat(number, *, learner=False):
    peer = HOSTS[number - 1]
    return Seat(number, peer, peer.replace("2380", "2379"), learner)


class Members:
    """What etcd 3.4 does with steps, and refuses. `control`: numbers of control hosts."""

    def __init__(self):
        self.control = [1]
        self.seats = [seat(1)]

    def peers(self):
        return [HOSTS[number - 1] for number in self.control]

    def step(self, number):
        """Of that host; whether there was one."""
        me = HOSTS[number - 1]
        step = voting.next_step(me, self.peers(), self.seats)
        if step is not None:
            self.take(step, number)
        return step is not None

    def take(self, step, number):
        learners = [s for s in self.seats if s.learner]
        match step:
            case Add():
                assert [] == learners
                assert number not in {s.id for s in self.seats}
                self.seats.append(seat(number, learner=True))
            case Promote(id=id_):
                self.seats = [s._replace(learner=s.learner and s.id != id_) for s in self.seats]
            case Remove(id=id_):
                if self.voters == [id_]:
                    return  # etcd refuses
                self.seats = [s for s in self.seats if s.id != id_]
        assert self.voters

    @property
    def voters(self):
        return [s.id for s in self.seats if not s.learner]

    def settle(self, order):
        """All take their steps, one after the other, until none has any."""
        for _ in range(60):
            if 0 == sum(self.step(number) for number in order if number in self.control):
                return
        raise AssertionError(f"they do not come to rest: {self.seats}")

    def alone(self, number):
        return [s.id for s in self.seats] == [number]

    def go(self, number):
        """A step of one that leaves; whether it may go now."""
        step = voting.leave(HOSTS[number - 1], self.seats)
        if step is not None:
            self.take(step, number)
        return step is None


def test_the_second_is_a_learner_until_the_third_is_there_and_so_on():
    members, seen = Members(), []
    for number in range(1, 8):
        members.control = list(range(1, number + 1))
        members.settle(members.control)
        seen.append((len(members.voters), len(members.seats)))
    assert [(1, 1), (1, 2), (3, 3), (3, 4), (5, 5), (5, 5), (5, 5)] == seen


def test_only_who_is_there_makes_an_even_number_of_voters():
    members = Members()
    members.control = [1, 2]
    members.settle([1, 2])
    members.control = [1, 2, 3]
    members.settle([1, 2])  # the third does nothing yet
    assert [1] == members.voters
    members.settle([3])
    assert [1, 2, 3] == members.voters


@given(st.data())
def test_in_any_order_of_steps_and_events_an_odd_number_votes_in_the_end(data):
    members, going = Members(), []
    for _ in range(data.draw(st.integers(1, 30), label="events")):
        absent = [n for n in range(1, 8) if n not in {*members.control, *going}]
        event = data.draw(st.sampled_from(["join", "leave", "step", "step", "go"]))
        if event == "join" and absent:
            members.control = sorted([*members.control, data.draw(st.sampled_from(absent))])
        elif event == "leave" and len(members.control) > 1:
            number = data.draw(st.sampled_from(members.control))
            if [s.id for s in members.seats] != [number]:
                going.append(number)
                members.control.remove(number)
        elif event == "go" and going:
            number = data.draw(st.sampled_from(going))
            if members.alone(number):
                continue  # it is told so, and waits for a learner
            if members.go(number):
                going.remove(number)
        else:
            members.step(data.draw(st.sampled_from(members.control)))
    members.settle(data.draw(st.permutations(members.control)))
    number = len(members.control)
    assert min(5, number - (number % 2 == 0)) == len(members.voters)
    assert min(5, number) == len(members.seats)
    assert {s.id for s in members.seats} <= {*members.control}


def test_the_last_one_that_has_the_records_does_not_leave():
    with pytest.raises(Conflict, match="on this host alone"):
        voting.leave(HOSTS[0], [seat(1)])
    assert Promote(2) == voting.leave(HOSTS[0], [seat(1), seat(2, learner=True)])
    assert Remove(1) == voting.leave(HOSTS[0], [seat(1), seat(2)])
    assert voting.leave(HOSTS[2], [seat(1), seat(2)]) is None


def test_a_member_of_no_control_host_is_removed_but_not_the_last_voter():
    assert Remove(2) == voting.next_step(HOSTS[0], HOSTS[:1], [seat(1), seat(2)])
    assert Remove(2) == voting.next_step(HOSTS[0], HOSTS[:1], [seat(1), seat(2, learner=True)])
    moved = [HOSTS[0].replace("192.0.2.1", "192.0.2.99")]
    assert Add() == voting.next_step(moved[0], moved, [seat(1)])


def test_hosts_ask_voters_that_were_started_in_the_order_of_hosts():
    seats = [seat(3), seat(1), seat(2, learner=True), seat(4)._replace(client="")]
    assert ("https://192.0.2.1:2379", "https://192.0.2.3:2379") == voting.urls(HOSTS, seats)
    assert ("https://192.0.2.3:2379",) == voting.urls(HOSTS, seats, without=HOSTS[0])
