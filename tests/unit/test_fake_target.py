"""The kernel in memory keeps the contract of the real targets."""

from __future__ import annotations

import errno

import contracts
from fakes_kernel import FakeTarget

OBJECTS = {"a": 1, "b": 2}


def test_the_fake_goes_from_nothing_to_its_objects_and_back():
    contracts.puts_and_deletes(FakeTarget("fake"), OBJECTS)


def test_the_fake_gives_an_existing_object_its_new_value():
    contracts.changes_what_is_there(FakeTarget("fake"), OBJECTS, {"b": 3})


def test_the_fake_finds_and_repairs_what_others_changed():
    fake = FakeTarget("fake")
    contracts.finds_and_repairs_drift(fake, OBJECTS, lambda: fake.objects.update(a=7))
    contracts.finds_and_repairs_drift(fake, OBJECTS, fake.objects.clear)


def test_the_fake_lets_one_bad_object_hold_back_no_other():
    fake = FakeTarget("fake")
    fake.refuses = {"bad": OSError(errno.EINVAL, "refused")}
    contracts.one_failure_holds_back_nothing(fake, OBJECTS, {"bad": 0})
