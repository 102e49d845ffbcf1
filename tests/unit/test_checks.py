"""Checks as they are written, whom a host checks, what follows from a result, and who is chosen."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.test_services import (
    PATH,
    PEER,
    VIP,
    VIP6,
    endpoint,
    endpoints,
    key,
    learn,
    places,
    service,
    services,
)

from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.desired.transport.checks import unasked
from seaway.desired.transport.services import SERVICES, judged
from seaway.errors import Invalid, SeawayError
from seaway.facts import Facts, View
from seaway.model.checks import Checks, Standing, check_form, judge, pace, parse_check, written
from seaway.model.facts import Endpoint, Host
from seaway.model.http_status import MOST, NoHttp, status_of
from seaway.model.requests import NewService
from seaway.model.service_forms import check_service
from seaway.model.services import Check, Health, Service, ServicePort

TCP = Check(by="tcp")
CHECKED = service(check=TCP)


# As they are written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Check()),
        ("tcp", TCP),
        ("tcp,port=admin", Check(by="tcp", port="admin")),
        ("http:/", Check(by="http", path="/")),
        (
            "http:/ready?x=1%2C2,port=8081,interval=5s,timeout=2s,failures=2,successes=4",
            Check(
                by="http",
                path="/ready?x=1%2C2",
                port=8081,
                interval=5,
                timeout=2,
                failures=2,
                successes=4,
            ),
        ),
        ("tcp, interval=1m", Check(by="tcp", interval=60)),
    ],
)
def test_a_check_is_written_as_what_is_asked_and_what_is_unusual(
    text: str, expected: Check
) -> None:
    assert expected == parse_check(text)
    assert expected == parse_check(written(expected))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' is no check"),
        ("udp", "'udp' is no check"),
        ("tcp:/x", "a check by tcp asks for no path"),
        ("http", "'' is no path that can be asked for"),
        ("http:ready", "'ready' is no path"),
        ("http:/a b", "no path"),
        ("http:/a\r\nX: y", "no path"),
        ("http:/\u00e9", "no path"),
        (f"http:/{'a' * 1024}", "no path"),
        ("http:/a,b", "'b' is nothing that a check has"),
        ("tcp,interval", "'interval' is nothing that a check has"),
        ("tcp,by=http", "'by=http' is nothing that a check has"),
        ("tcp,interval=soon", "'soon' is no span of time"),
        ("tcp,interval=0s", "an interval of 0 s is out of range"),
        ("tcp,interval=2h", "an interval of 7200 s is out of range"),
        ("tcp,timeout=11s", "a timeout of 11 s is out of range (expected 1s to the interval"),
        ("tcp,failures=0", "0 failures are out of range"),
        ("tcp,successes=101", "101 successes are out of range"),
        ("tcp,failures=-1", "'-1' is no number"),
        ("tcp,failures=9999999999", "'9999999999' is no number"),
        ("none,interval=5s", "'none,interval=5s' is no check"),
    ],
)
def test_what_is_wrong_with_a_check_is_told(text: str, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_check(text)
    assert told in f"{caught.value.message} ({caught.value.hint})"


@given(st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    with suppress(SeawayError):
        made = parse_check(text)
        assert made == parse_check(written(made))


some_checks = st.builds(
    Check,
    by=st.sampled_from(("tcp", "http")),
    path=st.from_regex(r"/[!-+\--~]{0,20}", fullmatch=True),
    port=st.one_of(st.integers(0, 65535), st.sampled_from(("http", "admin-2"))),
    interval=st.integers(1, 3600),
    timeout=st.integers(1, 3600),
    failures=st.integers(1, 100),
    successes=st.integers(1, 100),
).map(
    lambda c: replace(c, path=c.path if c.by == "http" else "", timeout=min(c.timeout, c.interval))
)


@given(some_checks)
def test_every_check_is_read_as_it_was_written(check: Check) -> None:
    check_form(check)
    assert check == parse_check(written(check))


PORTS = (ServicePort(port=80, target=80),)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"check": TCP, "selector": {}}, "service 'w' has no selector, and its check is of endp"),
        ({"check": TCP, "ports": (replace(PORTS[0], protocol="udp"),)}, "has no TCP port that"),
        ({"check": TCP, "headless": True, "ports": ()}, "service 'w' has no TCP port that could"),
        ({"check": Check(by="tcp", port=70000)}, "port 70000 of a check is out of range"),
        ({"check": Check(by="tcp", port="Http")}, "'Http' is no name of a port of an endpoint"),
        ({"check": Check(by="tcp", port="")}, "'' is no name of a port"),
        ({"check": Check(interval=5)}, "a check that is none has nothing more"),
        ({"check": Check(by="http")}, "'' is no path"),
    ],
)
def test_a_check_that_its_service_cannot_have_is_refused(wanted: dict[str, Any], told: str) -> None:
    given_ = {"name": "w", "ports": PORTS, "selector": {"app": "web"}} | wanted
    with pytest.raises(Invalid) as caught:
        check_service(NewService(**given_))
    assert told in caught.value.message


# What an HTTP server says


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", None),
        (b"HTT", None),
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 204\n", 204),
        (b"HTTP/1.1 404 Not \xff Found\r\nX: y\r\n\r\nbody", 404),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n", 503),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.1 103 Early Hints\nHTTP/1.1 200 OK\n", None),  # that is one of its fields
    ],
)
def test_the_status_is_that_of_the_final_answer(received: bytes, expected: int | None) -> None:
    assert expected == status_of(received)


@pytest.mark.parametrize(
    "received",
    [
        b"SSH-2.0-x\r\n",
        b"\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 099 OK\r\n",
        b"HTTP/1.1  200 OK\r\n",
        b"HTTP/1.1 200OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nnothing",
        b"HTTP/1.1 200 " + b"x" * MOST,
        b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * MOST,
    ],
)
def test_what_is_no_http_is_told_as_such(received: bytes) -> None:
    with pytest.raises(NoHttp):
        status_of(received)


pieces = st.sampled_from(
    (
        *(b"HTTP/1.1", b"HTTP/1.0 ", b" 200", b" 100 ", b"103", b"OK", b"\r\n", b"\n", b"\r"),
        *(b"\r\n\r\n", b"X: y", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 500 No\r\n", b"\x00"),
    )
)
answers = st.lists(st.one_of(pieces, pieces, st.binary(max_size=6))).map(b"".join)


def told_of(received: bytes) -> int | str | None:
    try:
        return status_of(received)
    except NoHttp:
        return "none"


@given(st.one_of(answers, st.binary()), st.one_of(answers, st.binary()))
def test_what_is_told_of_any_bytes_is_not_changed_by_more(begun: bytes, more: bytes) -> None:
    told = told_of(begun)
    assert told is None or told == "none" or 101 <= int(told) <= 999
    if told is not None:
        assert told == told_of(begun + more)


# What follows from a result


@pytest.mark.parametrize(
    ("results", "check", "expected"),
    [
        # three bad ones in a row, one good one
        ("xx", TCP, "++"),
        ("xxx", TCP, "++-"),
        ("xxoxxx", TCP, "+++++-"),
        ("xxxoxx", TCP, "++-+++"),
        ("xox", replace(TCP, failures=1, successes=2), "---"),
        ("xoxoo", replace(TCP, failures=1, successes=2), "----+"),
    ],
)
def test_it_turns_after_so_many_results_in_a_row(results: str, check: Check, expected: str) -> None:
    standing, told = Standing(), ""
    for result in results:
        standing = judge(standing, result == "o", check)
        told += "-" if standing.failing else "+"
    assert expected == told


def test_a_new_one_is_asked_often_until_it_passes() -> None:
    standing, waits = Standing(failing=True, new=True), []
    for _ in range(6):
        standing = judge(standing, False, TCP)
        assert standing.failing
        waits.append(pace(standing, TCP))
    assert [1, 2, 4, 8, 10, 10] == waits

    standing = judge(standing, True, TCP)
    assert (False, 10) == (standing.failing, pace(standing, TCP))
    assert not judge(standing, False, TCP).failing  # it is not new any more


@given(st.lists(st.booleans()), some_checks)
def test_it_stands_as_the_results_in_a_row_say(results: list[bool], check: Check) -> None:
    standing, row = Standing(), 0
    for number, passed in enumerate(results):
        before = standing
        standing = judge(before, passed, check)
        row = row + 1 if number and results[number - 1] == passed else 1
        if standing.failing != before.failing:
            assert standing.failing is not passed
            assert row == (check.successes if passed else check.failures)
        elif passed == before.failing:
            assert row < (check.successes if passed else check.failures)


# Whom a host checks


def all_of(*facts: Any) -> Facts:
    made = Facts(DERIVATIONS, INDEXES)
    learn(made, Host(name="h", addresses=(), zone="a"), *facts)
    return made


def checked(made: Facts) -> Any:
    return made.derive().get("checks", {})


def told(checks: Checks) -> list[str]:
    return [f"{place.address} {place.port}" for place in checks.places]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["10.0.0.1 8080", "10.0.0.2 8080"]),
        ({"check": Check()}, None),
        ({"check": replace(TCP, port=9000)}, ["10.0.0.1 9000", "10.0.0.2 9000"]),
        ({"check": replace(TCP, port="admin")}, ["10.0.0.2 9002"]),
        ({"addresses": (VIP6,)}, ["fd00::1 8080", "fd00::2 8080"]),
        ({"addresses": (VIP, VIP6)}, ["10.0.0.1 8080", "10.0.0.2 8080"]),
        ({"addresses": (), "headless": True}, ["10.0.0.1 8080", "10.0.0.2 8080"]),
        ({"selector": {"app": "none"}}, []),
        # what no intent lets through, and a record may be all the same
        ({"selector": {}}, None),
        ({"ports": ()}, []),
    ],
)
def test_a_host_checks_its_own_endpoints(wanted: dict[str, Any], expected: list[str]) -> None:
    found = checked(
        all_of(
            service(**{"check": TCP} | wanted),
            endpoint(1),
            endpoint(2, port_names={"admin": 9002}, ready=False),
            endpoint(3, "p"),
            endpoint(4, labels={"app": "db"}),
        )
    )
    assert expected == (told(found["n/web"]) if found.get("n/web") else None)


def test_who_is_attached_fails_what_it_was_not_asked_yet() -> None:
    made = all_of(
        CHECKED,
        replace(CHECKED, name="two", selector={"app": "web", "tier": "front"}),
        replace(CHECKED, name="three", selector={"tier": "front"}),
        replace(CHECKED, name="other", network="other"),
        replace(CHECKED, name="unchecked", check=Check()),
        replace(CHECKED, name="odd", selector={}),
        replace(CHECKED, name="portless", check=replace(TCP, port="admin")),
    )

    def failing(**labels: str) -> set[str]:
        health = unasked(endpoint(1, labels=labels), View(made))
        assert health is None or {"it was not asked yet"} == set(health.failing.values())
        return set(health.failing) if health else set()

    assert {"web"} == failing(app="web")
    assert {"web", "two", "three"} == failing(app="web", tier="front", more="x")
    assert set() == failing(app="db") == failing()


@given(st.lists(services), endpoints.map(lambda e: replace(e, host="h")))
def test_who_is_attached_fails_exactly_what_it_will_be_asked(
    there: list[Service], new: Endpoint
) -> None:
    made = all_of(*there)
    health = unasked(new, View(made))
    learn(made, new)
    asked = {checks.service for checks in checked(made).values() if checks and checks.places}
    assert asked == (set(health.failing) if health else set())


def test_who_comes_and_goes_is_checked_and_is_not() -> None:
    made = all_of(CHECKED, endpoint(1))
    assert ["10.0.0.1 8080"] == told(checked(made)["n/web"])
    learn(made, endpoint(2))
    assert ["10.0.0.1 8080", "10.0.0.2 8080"] == told(checked(made)["n/web"])
    made.change(Endpoint, endpoint(1).id, None)
    assert ["10.0.0.2 8080"] == told(checked(made)["n/web"])
    learn(made, service(check=Check()))
    assert {"n/web": None} == checked(made)


# Who is chosen


def health(number: int, host: str = "h", **failing: str) -> Health:
    return Health(
        host=host,
        endpoint=f"{number:016x}",
        network="n",
        failing=failing or {"web": "connection refused"},
    )


def served(*facts: Any) -> list[str]:
    made = Facts((SERVICES,), INDEXES)
    learn(made, Host(name="h", addresses=(), zone="a"), PEER, PATH, *facts)
    return places(made.derive()["services"][key()])  # type: ignore[arg-type]


BOTH = ["10.0.0.1 8080", "10.0.0.2 8080"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((CHECKED, endpoint(1), endpoint(2, "p")), BOTH),
        ((CHECKED, endpoint(1), endpoint(2, "p"), health(1)), BOTH[1:]),
        ((CHECKED, endpoint(1), endpoint(2, "p"), health(2, "p")), BOTH[:1]),
        # as where none is ready: nobody; but what terminates and passes
        ((CHECKED, endpoint(1), endpoint(2, "p"), health(1), health(2, "p")), []),
        ((CHECKED, endpoint(1, terminating=True), endpoint(2, "p"), health(2, "p")), BOTH[:1]),
        ((CHECKED, endpoint(1, terminating=True), endpoint(2, "p"), health(1)), BOTH[1:]),
        ((CHECKED, endpoint(1, terminating=True), health(1)), []),
        # who takes what is not ready takes that too
        ((service(check=TCP, publish_not_ready=True), endpoint(1), health(1)), BOTH[:1]),
        # who has not the port that is asked, fails
        (
            (
                service(check=replace(TCP, port="admin")),
                endpoint(1),
                endpoint(2, "p", port_names={"admin": 1}),
            ),
            BOTH[1:],
        ),
        # another service's check, and one that this one has no more
        ((CHECKED, endpoint(1), health(1, other="x")), BOTH[:1]),
        ((service(), endpoint(1), health(1)), BOTH[:1]),
        # what other hosts say of an endpoint that is called the same is about that one
        ((CHECKED, endpoint(1), health(1, "p")), BOTH[:1]),
        ((CHECKED, endpoint(1), replace(health(1), network="other")), BOTH[:1]),
    ],
)
def test_who_fails_the_check_of_a_service_is_not_chosen(
    facts: tuple[Any, ...], expected: list[str]
) -> None:
    assert expected == served(*facts)


def test_a_result_makes_only_those_services_stale_that_it_is_of() -> None:
    db = Service(
        name="db",
        network="n",
        ports=(ServicePort(port=5432, target=5432),),
        addresses=(VIP6,),
        selector={"app": "web"},
        check=TCP,
    )
    made = all_of(CHECKED, db, endpoint(1))
    made.derive()
    learn(made, health(1))
    assert {key()} == set(made.derive()["services"])
    learn(made, health(1, web="connection refused", db="status 500"))
    assert {key(VIP6, 5432)} == set(made.derive()["services"])
    made.change(Health, "h/0000000000000001", None)
    assert {key(), key(VIP6, 5432)} == set(made.derive()["services"])


def test_why_it_is_not_chosen_is_told() -> None:
    of = service(check=TCP)
    made = all_of(of, endpoint(1), endpoint(2, terminating=True), health(1), health(2))
    assert ["its check fails: connection refused"] * 2 == [
        one.lost for one in judged(of, View(made))
    ]
    taken = replace(of, publish_not_ready=True)
    assert [
        "its check fails (connection refused), and the service takes that",
    ] * 2 == [one.why for one in judged(taken, View(made))]


def test_names_tell_of_who_passes() -> None:
    headless = service(addresses=(), headless=True, check=TCP)
    made = all_of(headless, endpoint(1), endpoint(2), health(1))
    named = made.derive()["names"]["n", "web"]
    assert ["e2"] == [task.name for task in named.tasks]  # type: ignore[union-attr]
