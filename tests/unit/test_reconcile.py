"""The reconciler against a fake kernel: puts, deletes, failures, drift."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import pytest
from tests.fakes_kernel import FakeTarget

from seaway.model.kernel import Inside, Link
from seaway.reconcile import Reconciler


def apply(reconciler: Reconciler) -> None:
    gone = reconciler.gone()
    reconciler.deleted(gone, reconciler.target.delete(gone))
    reconciler.put()


def test_what_a_dead_agent_left_is_cleared_and_what_is_right_is_not_touched() -> None:
    target = FakeTarget("links", {"a": 1, "old": 9})
    reconciler = Reconciler(target)
    reconciler.want({"a": 1, "b": 2})
    reconciler.audit()
    apply(reconciler)

    assert {"a": 1, "b": 2} == target.read()
    assert [("delete", {"old"}), ("put", {"b": 2})] == target.calls


def test_a_key_that_fails_holds_back_no_other_and_is_tried_again() -> None:
    target = FakeTarget("links")
    target.refuses = {"bad": OSError(errno.EBUSY, "busy")}
    reconciler = Reconciler(target)
    reconciler.want({"bad": 1, "good": 2})
    apply(reconciler)
    assert {"good": 2} == target.read()
    assert {"bad"} == reconciler.failed.keys()
    assert not reconciler.pending("bad")

    target.refuses = {}
    reconciler.retry()
    apply(reconciler)
    assert {"bad": 1, "good": 2} == target.read()
    assert {} == reconciler.failed


def test_after_a_sync_the_next_plan_is_empty() -> None:
    target = FakeTarget("links")
    reconciler = Reconciler(target)
    for _ in range(3):
        reconciler.want({"a": 1})
        apply(reconciler)
    assert [("put", {"a": 1})] == [c for c in target.calls if c[1]]


def test_drift_is_named_and_repaired() -> None:
    target = FakeTarget("links")
    reconciler = Reconciler(target)
    reconciler.want({"deleted": 1, "changed": 2, "same": 3})
    apply(reconciler)
    del target.objects["deleted"]
    target.objects |= {"changed": 7, "planted": 8}

    drift = reconciler.audit()
    apply(reconciler)

    assert {"deleted": (None, 1), "changed": (7, 2), "planted": (8, None)} == drift
    assert {"deleted": 1, "changed": 2, "same": 3} == target.read()
    assert {} == reconciler.audit()


def test_after_a_reading_that_was_as_it_should_be_a_change_of_ours_is_expected() -> None:
    target = FakeTarget("links", {})
    reconciler = Reconciler(target)
    for value in (1, 2):
        reconciler.want({"a": value})
        apply(reconciler)
        assert {} == reconciler.audit()

    target.objects["a"] = 1  # as it was read before
    assert {"a": (1, 2)} == reconciler.audit()

    reconciler.want({"a": None})
    apply(reconciler)
    target.objects["a"] = 2
    assert {"a": (2, None)} == reconciler.audit()


def test_what_cannot_be_read_back_is_known_after_an_audit_all_the_same() -> None:
    target = FakeTarget("links")
    reconciler = Reconciler(target)
    inside = Inside("/run/netns/a", 7, "eth0", "02:00:00:00:00:01", (), True, ())
    reconciler.want({"a": Link("a", "02:00:00:00:00:02", 1500, inside)})
    apply(reconciler)
    target.objects["a"] = Link("a", "02:00:00:00:00:02", 1500)
    assert {} == reconciler.audit()

    del target.objects["a"]
    reconciler.audit()
    apply(reconciler)

    assert inside == target.objects["a"].inside


def test_a_key_wanted_again_while_its_delete_is_under_way_is_there_in_the_end() -> None:
    target = FakeTarget("links")
    reconciler = Reconciler(target)
    reconciler.want({"a": 1})
    apply(reconciler)
    reconciler.want({"a": None})
    gone = reconciler.gone()
    reconciler.want({"a": 2})
    reconciler.put()
    assert reconciler.pending("a")
    assert {"a": 1} == target.read()

    reconciler.deleted(gone, target.delete(gone))
    reconciler.put()
    assert {"a": 2} == target.read()
    assert not reconciler.pending("a")


def test_a_key_wanted_otherwise_while_its_put_is_under_way_gets_there_in_the_end() -> None:
    target = FakeTarget("nft")
    reconciler = Reconciler(target)
    for later in (2, None):
        reconciler.want({"a": 1})
        put = reconciler.wanted()
        assert {"a": 1} == put
        reconciler.want({"a": later})
        assert {} == reconciler.wanted()
        assert set() == reconciler.gone()
        assert {} == reconciler.compare({"a": 7})

        reconciler.done(put, reconciler.write(put))
        assert reconciler.pending("a")
        apply(reconciler)
        assert later == target.read().get("a")
        assert {} == reconciler.audit()


@pytest.mark.parametrize("held", [{}, {"a": 7}])
def test_what_failed_rests_until_it_is_retried_or_something_else_is_wanted(held):
    target = FakeTarget("routes", held)
    target.refuses = {"a": OSError(errno.EBUSY, "busy")}
    reconciler = Reconciler(target)
    reconciler.want({"a": None if held else 1})
    reconciler.audit()
    apply(reconciler)
    tried = len(target.calls)

    reconciler.want({"b": 2})
    apply(reconciler)
    assert [("put", {"b": 2})] == target.calls[tried:]

    reconciler.retry()
    apply(reconciler)
    reconciler.want({"a": 3})
    apply(reconciler)
    assert tried + 3 == len(target.calls)


def test_what_failed_was_tried_until_something_else_is_wanted() -> None:
    target = FakeTarget("nft")
    target.refuses = {"a": OSError(errno.ETIMEDOUT, "nft hangs")}
    reconciler = Reconciler(target)
    reconciler.want({"a": 1})
    assert reconciler.untried
    reconciler.put()
    assert not reconciler.untried
    reconciler.want({"a": 1})
    assert not reconciler.untried
    reconciler.want({"a": 2})
    assert reconciler.untried


def test_a_notification_of_our_own_change_is_no_suspicion() -> None:
    target = FakeTarget("links")
    reconciler = Reconciler(target)
    reconciler.want({"a": 1})
    assert not reconciler.differs("a", None)
    apply(reconciler)
    assert not reconciler.differs("a", 1)
    assert reconciler.differs("a", None)
    assert reconciler.differs("b", 1)


def test_a_target_that_fails_as_a_whole_holds_up_nothing_and_is_tried_again() -> None:
    class Busy(FakeTarget):
        busy = True

        def _check(self) -> None:
            if self.busy:
                raise OSError(errno.EBUSY, "busy")

        def read(self) -> dict[str, int]:
            self._check()
            return super().read()

        def put(self, objects: Mapping[str, int]) -> dict[str, OSError]:
            self._check()
            return super().put(objects)

    target = Busy("routes")
    reconciler = Reconciler(target)
    assert {} == reconciler.audit()
    reconciler.want({"a": 1})
    reconciler.put()
    assert {"a"} == reconciler.failed.keys()

    target.busy = False
    reconciler.retry()
    reconciler.put()
    assert {"a": 1} == target.objects
    assert {} == reconciler.audit()


def test_many_keys_are_put_in_parts_as_often_as_there_is_more() -> None:
    target = FakeTarget("links", {"1": 1})
    target.refuses = {"3": OSError(errno.EBUSY, "busy")}
    reconciler = Reconciler(target)
    reconciler.audit()
    reconciler.want({str(n): n for n in range(1, 8)})
    more = [reconciler.put(most=3) for _ in range(2)]
    more.append(reconciler.put(most=3))

    assert [True, True, False] == more
    assert {str(n): n for n in range(1, 8) if n != 3} == target.read()
    assert {"3"} == reconciler.failed.keys()
