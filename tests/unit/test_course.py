"""The oracle of storms, by small storms of which it is plain who had to hear whom.

a ── b
│    │      a link that came up is young for 10 s; another way is promised within 1 s
d ── c
"""

from __future__ import annotations

import pytest
from tests.course import Absence, Change, Course, Fault, Loss

AB, BC, CD, DA = (frozenset(pair) for pair in ("ab", "bc", "cd", "da"))


@pytest.fixture
def course():
    return Course([AB, BC, CD, DA], young=10.0, promised=1.0)


def lost(first, last, pair="ab"):
    return Loss((pair[0], pair[1]), first, last)


def late(course, *losses):
    return [(round(fault.late, 3), fault.caused) for fault in course.judge(losses)]


def test_what_is_lost_while_nothing_happens_is_a_fault(course):
    loss = lost(50.0, 50.0)
    assert [Fault(loss, 0.0, caused=False)] == course.judge([loss])


def test_as_a_routed_begins_anew_they_miss_each_other_for_no_longer_than_promised(course):
    course.absences.append(Absence("c", 50.0, 53.0))
    assert [] == course.judge([lost(53.2, 53.2), lost(51.0, 51.9)])
    assert [(1.0, False)] == late(course, lost(51.0, 52.0))
    assert [(0.0, False)] == late(course, lost(54.1, 54.1))
    assert [(0.0, False)] == late(course, lost(49.9, 49.9))


def test_a_dead_link_may_be_felt_for_as_long_as_promised(course):
    course.changes.append(Change(50.0, 50.1, AB, up=False))
    assert [] == course.judge([lost(49.8, 51.0), lost(50.0, 51.1, "bd")])
    assert [(0.4, True)] == late(course, lost(50.2, 51.6))  # no longer than that at a time
    assert [(0.5, False)] == late(course, lost(52.0, 52.5))


def test_who_is_cut_off_hears_nobody_and_the_others_do(course):
    course.changes += [Change(50.0, 50.1, AB, up=False), Change(50.1, 50.2, DA, up=False)]
    assert [] == course.judge([lost(50.0, 500.0), lost(50.0, 51.0, "bd")])
    assert [(4.0, False)] == late(course, lost(55.0, 59.0, "bd"))


def test_a_link_that_came_up_connects_once_it_is_believed(course):
    course.changes += [
        Change(50.0, 50.0, AB, up=False),
        Change(50.0, 50.0, DA, up=False),
        Change(60.0, 60.0, DA, up=True),
    ]
    assert [] == course.judge([lost(50.0, 70.9)])
    assert [(0.5, True)] == late(course, lost(50.0, 71.5))
    assert [10.9] == [round(wait, 3) for wait in course.waits([lost(50.0, 70.9)])]


def test_while_links_are_young_packets_may_miss_each_other_for_a_moment(course):
    course.changes += [Change(50.0, 50.0, AB, up=False), Change(52.0, 52.0, AB, up=True)]
    assert [] == course.judge([lost(55.0, 55.8), lost(58.0, 58.1, "bd")])
    assert [(0.5, True)] == late(course, lost(55.0, 56.5))


def test_who_finds_no_paths_may_lead_them_astray_but_not_where_he_is_not(course):
    course.changes.append(Change(50.0, 50.0, AB, up=False))
    course.absences.append(Absence("c", 49.5, 56.0))
    assert [] == course.judge([lost(50.0, 57.0)])
    assert [(0.5, True)] == late(course, lost(50.0, 57.5))
    course.changes.append(Change(50.0, 50.0, BC, up=False))
    assert [(5.0, True)] == late(course, lost(50.0, 56.0, "ad"))


def test_who_was_absent_while_nothing_changed_harms_nobody(course):
    course.absences.append(Absence("c", 49.5, 56.0))
    assert [(2.0, False)] == late(course, lost(50.0, 52.0))


def test_outages_are_those_of_dead_links_where_all_was_well_besides(course):
    course.changes += [Change(50.0, 50.1, AB, up=False), Change(90.0, 90.0, CD, up=False)]
    found = [lost(50.0, 50.6), lost(90.0, 99.0, "dc"), lost(30.0, 31.0)]
    assert [0.6] == [round(outage, 3) for outage in course.outages(found)]
