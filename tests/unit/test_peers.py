"""What a host makes of errors of the agents through which it reaches the store."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from fakes_store import FakeStore
from passed import passed_on
from seaway.errors import (
    Conflict,
    Forbidden,
    Invalid,
    SeawayError,
    SystemFailed,
    Unavailable,
    Undecodable,
)
from seaway.model.store import Changes, Committed
from seaway.store.base import Changed, Missed, Moment
from seaway.store.peers import VIA, PeerStore

FAILURES = [
    SystemFailed("no space left on device"),
    SeawayError("the agent met a defect (HTTP 500)"),
    Undecodable("that is no answer"),
    Forbidden("this cluster has no host 'two'"),
]


def told(store: PeerStore, act: str) -> Any:
    async def whole() -> Any:
        try:
            if act == "load":
                return await store.load()
            if act == "commit":
                return await store.commit({"a": b"1"})
            async with aclosing(store.watch(Moment(0))) as commits:
                return await anext(commits)
        finally:
            await store.close()

    return asyncio.run(whole())


def failing(*errors: SeawayError) -> PeerStore:
    """Each place fails in its own way."""
    by_place = {f"place {n}": error for n, error in enumerate(errors)}

    async def ask(at: str, *_given: object) -> Any:  # noqa: RUF029, the shape of what asks
        raise by_place[at]

    return PeerStore("two", tuple(by_place), ask)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("act", ["load", "commit", "watch"])
def test_what_a_neighbour_fails_in_is_told_as_the_store_being_out_of_reach(act, error):
    with pytest.raises(Unavailable) as raised:
        told(failing(error), act)
    assert error.message == raised.value.message


def test_of_what_is_read_the_next_one_is_asked_and_all_reasons_are_told():
    with pytest.raises(Unavailable, match=r"^one; two$"):
        told(failing(SystemFailed("one"), Unavailable("two")), "load")
    with pytest.raises(Unavailable, match=r"^one$"):
        told(failing(SystemFailed("one"), Unavailable("two")), "commit")


@pytest.mark.parametrize(
    ("act", "error", "kind"),
    [
        ("commit", Conflict("'a' was changed"), Changed),
        ("watch", Conflict("not known"), Missed),
        ("commit", Invalid("that is no record"), Invalid),
    ],
)
def test_what_the_store_itself_decides_is_told_as_it_is(act, error, kind):
    with pytest.raises(kind, match=error.message):
        told(failing(error, SystemFailed("never asked")), act)


def test_a_disk_that_is_full_where_the_records_lie_keeps_a_change_waiting(tmp_path):
    store = FakeStore(tmp_path / "store.db")
    store.refuses["a"] = SystemFailed("no space left on device")
    with pytest.raises(Unavailable, match="no space"):
        told(passed_on(store), "commit")


def test_hosts_that_are_met_later_are_asked_after_the_one_that_answered():
    asked = []

    async def ask(at: str, *_given: object) -> Any:  # noqa: RUF029, the shape of what asks
        asked.append(at)
        raise Unavailable(at)

    store = PeerStore("two", ("a", "b"), ask)
    store._prefer("b")
    store.meet(("c", "a", "b"))
    with pytest.raises(Unavailable):
        told(store, "load")
    assert ["b", "a", "c"] == asked


class Neighbours:
    """Of two, "dead" says nothing for ever, unless it has a reason; "live" answers."""

    def __init__(self, refusal: SeawayError | None = None) -> None:
        self.asked: list[str] = []
        self._refusal = refusal

    async def ask(self, at: str, method: str, *_given: object) -> Any:
        self.asked.append(at)
        if at == "dead" and self._refusal:
            raise self._refusal
        if at == "dead":
            await asyncio.get_running_loop().create_future()
        return Changes((), ("live",)) if method == "GET" else Committed(1, "")


def test_what_is_changed_next_is_asked_elsewhere_where_one_failed():
    neighbours = Neighbours(Unavailable("gone"))
    store = PeerStore("two", ("dead", "live"), neighbours.ask)

    with pytest.raises(Unavailable, match=r"^gone$"):
        told(store, "commit")
    told(store, "commit")

    assert ["dead", "live"] == neighbours.asked


def test_what_is_changed_next_is_asked_elsewhere_where_one_was_not_waited_for():
    neighbours = Neighbours()
    store = PeerStore("two", ("dead", "live"), neighbours.ask)

    async def impatient() -> None:
        async with asyncio.timeout(0.01):
            await store.commit({"a": b"1"})

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    told(store, "commit")

    assert ["dead", "live"] == neighbours.asked


def test_a_neighbour_that_tells_nothing_of_changes_is_given_up():
    neighbours = Neighbours()
    store = PeerStore("two", ("dead", "live"), neighbours.ask, within=0.01)

    told(store, "watch")

    assert ["dead", "live"] == neighbours.asked
    assert ("live",) == store.chain


def test_a_neighbour_that_says_nothing_to_a_change_is_given_up():
    store = PeerStore("two", ("dead", "live"), Neighbours().ask, within=0.01)

    with pytest.raises(Unavailable, match=r"^dead does not answer$"):
        told(store, "commit")


def test_what_fails_for_others_says_nothing_of_where_this_host_is_answered():
    neighbours = Neighbours(Unavailable("in a circle"))
    store = PeerStore("two", ("dead", "live"), neighbours.ask)

    async def passed() -> None:
        VIA.set(("three",))
        await store.commit({"a": b"1"})

    for _ in range(2):
        with pytest.raises(Unavailable, match="in a circle"):
            asyncio.run(passed())

    assert ["dead", "dead"] == neighbours.asked
