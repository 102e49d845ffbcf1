"""Errors on their way from the agent to a caller."""

from __future__ import annotations

import pytest

from seaway import errors
from seaway.errors import Conflict, SeawayError
from seaway.model.wire import Refusal, report_of
from seaway.store.base import Changed

KINDS = [kind for kind in errors.all_kinds().values() if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_arrives_as_the_class_that_left(kind):
    arrived = report_of(kind("this is wrong", "do that")).error.error()

    assert (kind, "this is wrong", "do that") == (type(arrived), arrived.message, arrived.hint)


def test_an_error_of_an_inner_part_arrives_as_the_one_that_callers_know():
    assert Conflict is type(report_of(Changed("again")).error.error())


def test_an_error_of_a_newer_agent_arrives_as_the_base_of_all():
    refusal = Refusal(kind="Newfangled", message="this is wrong", hint="do that")

    assert SeawayError is type(refusal.error())
    assert "this is wrong (do that)" == str(refusal.error())


def test_a_message_without_advice_stands_alone():
    assert "this is wrong" == str(SeawayError("this is wrong"))
