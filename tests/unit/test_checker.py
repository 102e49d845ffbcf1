"""When who is checked, and what of it is recorded, by a clock that jumps; and real checks of real
servers on loopback.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.agents import Agent, run

import clock
import contracts
from seaway.checking.asking import ask, request
from seaway.checking.checker import AT_ONCE, Checker, Failing
from seaway.errors import Unavailable
from seaway.facts import Facts
from seaway.model.checks import UNASKED, Checked, Checks
from seaway.model.facts import endpoint_id
from seaway.model.requests import NewService
from seaway.model.services import Check, Health, Service, ServicePort
from waiting import until

TCP = Check(by="tcp")
KEY = "n/web"


def places(*names: str) -> tuple[Checked, ...]:
    return tuple(Checked(endpoint=n, address=ip_address("127.0.0.1"), port=80) for n in names)


def checks(*names: str, check: Check = TCP, service: str = "web") -> Checks:
    return Checks(service=service, check=check, places=places(*names))


@dataclass
class Ward:
    """A checker, and those that it checks: who is `ill` fails, for that reason."""

    ill: dict[str, str | None] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    facts: Facts = field(default_factory=lambda: Facts(()))
    recorded: list[dict[str, dict[str, str]]] = field(default_factory=list)
    begun: dict[str, Checks] = field(default_factory=dict)
    lost: bool = False  # the store
    takes: float = 0.0  # seconds to answer
    most: int = 0  # asked at once
    _now: int = 0

    def __post_init__(self) -> None:
        self.checker = Checker("h", self.facts, self.ask, random.Random(7).random)

    async def ask(self, place: Checked, _: Check) -> str | None:
        self.asked.append((asyncio.get_running_loop().time(), place.endpoint))
        self._now += 1
        self.most = max(self.most, self._now)
        await clock.passes(self.takes)
        self._now -= 1
        return self.ill.get(place.endpoint, "")

    async def record(self, failing: Failing) -> None:
        if self.lost:
            raise Unavailable("the store is lost")
        self.recorded.append({endpoint: dict(why) for endpoint, why in failing.items()})
        for endpoint, why in failing.items():
            self.know(endpoint, dict(why))

    async def settle(self, keys: list[tuple[str, Hashable]]) -> None:
        """As the agent that starts: what it derives for these is put."""
        await asyncio.sleep(0)
        self.checker.put({str(key): self.begun[str(key)] for _, key in keys})

    def know(self, endpoint: str, why: dict[str, str]) -> None:
        health = Health(host="h", endpoint=endpoint, network="n", failing=why)
        self.facts.change(Health, f"h/{endpoint}", health if why else None)

    @property
    def failing(self) -> dict[str, dict[str, str]]:
        return {health.endpoint: health.failing for health in self.facts.all(Health)}

    def times(self, endpoint: str) -> list[float]:
        return [at for at, name in self.asked if name == endpoint]


def lived(scenario: Callable[[Ward], Coroutine[Any, Any, None]], **given_: Any) -> None:
    async def whole() -> None:
        ward = Ward(**given_)

        working = asyncio.ensure_future(ward.checker.run(ward.record, ward.settle))
        try:
            await scenario(ward)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    clock.run(whole())


def test_it_is_a_target_like_any_other() -> None:
    async def scenario(ward: Ward) -> None:  # noqa: RUF029, it needs a loop
        contracts.puts_and_deletes(ward.checker, {KEY: checks("a", "b"), "n/db": checks("a")})
        contracts.changes_what_is_there(
            ward.checker, {KEY: checks("a", "b")}, {KEY: checks("b", "c", check=Check(by="tcp"))}
        )

    lived(scenario)


def test_only_what_turns_is_recorded() -> None:
    async def scenario(ward: Ward) -> None:
        ward.checker.put({KEY: checks("a", "b")})
        await clock.passes(100)
        assert [] == ward.recorded

        ward.ill["a"] = "connection refused"
        await clock.passes(35)
        ward.ill["a"] = "status 500"
        await clock.passes(100)
        assert [{"a": {"web": "connection refused"}}] == ward.recorded

        del ward.ill["a"]
        await clock.passes(12)
        assert [{"a": {}}] == ward.recorded[1:]
        assert {} == ward.failing

    lived(scenario)


def test_one_bad_result_is_none() -> None:
    async def scenario(ward: Ward) -> None:
        ward.checker.put({KEY: checks("a", check=replace(TCP, interval=1))})
        await clock.passes(2)
        for _ in range(50):
            ward.ill["a"] = "connection refused"
            await clock.passes(1.5)
            del ward.ill["a"]
            await clock.passes(1.5)
        assert [] == ward.recorded

    lived(scenario)


def test_an_endpoint_fails_for_each_service_by_its_own() -> None:
    async def scenario(ward: Ward) -> None:
        slow = replace(TCP, failures=10)
        ward.ill["a"] = "connection refused"
        ward.checker.put({KEY: checks("a"), "n/db": checks("a", check=slow, service="db")})
        await clock.passes(60)
        assert {"a": {"web": "connection refused"}} == ward.failing
        await clock.passes(60)
        assert {"a": dict.fromkeys(("web", "db"), "connection refused")} == ward.failing
        ward.checker.delete({KEY})
        await clock.passes(1)
        assert {"a": {"db": "connection refused"}} == ward.failing

    lived(scenario)


def test_what_was_recorded_holds_until_it_is_checked_anew() -> None:
    async def scenario(ward: Ward) -> None:
        ward.know("a", {"web": "connection refused"})
        ward.know("gone", {"web": "connection refused"})
        ward.know("b", {"web": "status 500", "none": "connection refused"})
        ward.ill["b"] = "connection refused"
        web = Service(name="web", network="n", selector={"app": "web"}, check=TCP)
        ward.facts.change(Service, KEY, web)
        ward.begun[KEY] = checks("a", "b", check=replace(TCP, successes=2))
        await clock.passes(0.01)
        assert {"a": {"web": "connection refused"}, "b": {"web": "status 500"}} == ward.failing
        await clock.passes(22)
        assert {"b": {"web": "status 500"}} == ward.failing

    lived(scenario)


def test_who_is_attached_is_asked_at_once_and_often_until_it_serves() -> None:
    async def scenario(ward: Ward) -> None:
        ward.checker.put({KEY: checks()})
        await clock.passes(5)
        ward.know("a", {"web": UNASKED})
        ward.ill["a"] = "connection refused"
        ward.checker.put({KEY: checks("a")})
        await clock.passes(0.1)
        assert {"a": {"web": "connection refused"}} == ward.failing
        await clock.passes(2)
        ward.ill["a"] = "status 503"
        await clock.passes(2)
        assert {"a": {"web": "connection refused"}} == ward.failing
        del ward.ill["a"]
        await clock.passes(5)
        assert {} == ward.failing
        # From now on it is one like the others.
        ward.ill["a"] = "connection refused"
        await clock.passes(15)
        assert {} == ward.failing

    lived(scenario)


def test_what_is_recorded_besides_is_put_right() -> None:
    """Of an endpoint that went and came under the same id before anybody looked."""

    async def scenario(ward: Ward) -> None:
        ward.checker.put({KEY: checks("a", "b")})
        await clock.passes(20)
        ward.know("a", {"web": UNASKED})
        ward.ill["b"] = "connection refused"
        await clock.passes(40)
        assert {"b"} == ward.failing.keys()
        ward.know("b", {})
        await clock.passes(12)
        assert {"b"} == ward.failing.keys()

    lived(scenario)


def test_who_goes_leaves_nothing_and_a_late_result_is_nobody_s() -> None:
    async def scenario(ward: Ward) -> None:
        ward.ill |= dict.fromkeys("ab", "connection refused")
        ward.checker.put({KEY: checks("a", "b")})
        await clock.passes(60)
        assert {"a", "b"} == ward.failing.keys()
        ward.takes = 1.0
        begun = len(ward.asked)
        while len(ward.asked) == begun:
            await clock.passes(0.1)
        ward.checker.put({KEY: checks("b")})
        await clock.passes(0.01)
        assert {"b"} == ward.failing.keys()
        ward.checker.delete({KEY})
        await clock.passes(100)
        assert {} == ward.failing
        asked = len(ward.asked)
        await clock.passes(100)
        assert asked == len(ward.asked)

    lived(scenario)


def test_what_cannot_be_recorded_is_once_the_store_is_back() -> None:
    async def scenario(ward: Ward) -> None:
        ward.lost = True
        ward.ill |= {"a": "connection refused", "b": "connection refused"}
        ward.checker.put({KEY: checks("a", "b")})
        await clock.passes(60)
        del ward.ill["b"]
        await clock.passes(60)
        ward.lost = False
        await clock.passes(2)
        assert [{"a": {"web": "connection refused"}, "b": {}}] == ward.recorded

    lived(scenario)


def test_what_this_host_has_no_means_to_ask_says_nothing() -> None:
    async def scenario(ward: Ward) -> None:
        ward.know("b", {"web": "status 500"})
        ward.ill |= {"a": None, "b": None}
        ward.checker.put({KEY: checks("a", "b")})
        await clock.passes(100)
        assert {"b": {"web": "status 500"}} == ward.failing
        assert 8 < len(ward.times("a")) < 13

    lived(scenario)


def test_thousands_are_spread_over_the_interval() -> None:
    many = [f"{n}" for n in range(5000)]

    async def scenario(ward: Ward) -> None:
        ward.takes = 0.001
        ward.checker.put({KEY: checks(*many)})
        await clock.passes(30)
        seconds = Counter(int(at) for at, _ in ward.asked)
        assert 15_000 - 500 < len(ward.asked) < 15_000 + 500
        assert all(300 < seconds[second] < 700 for second in range(30))
        assert ward.most <= AT_ONCE
        apart = [b - a for n in many[::100] for a, b in pairwise(ward.times(n))]
        assert apart
        assert all(9 <= one <= 11.1 for one in apart)

    lived(scenario)


def test_no_more_than_so_many_are_asked_at_once_and_none_is_forgotten() -> None:
    many = [f"{n}" for n in range(1000)]

    async def scenario(ward: Ward) -> None:
        ward.takes = 1.0
        ward.checker.put({KEY: checks(*many, check=replace(TCP, interval=1))})
        await clock.passes(100)
        assert AT_ONCE == ward.most
        counts = Counter(name for _, name in ward.asked)
        assert len(many) == len(counts)
        assert max(counts.values()) - min(counts.values()) <= 2

    lived(scenario)


def test_another_check_takes_the_place_of_the_old_one_and_nothing_turns_by_that() -> None:
    async def scenario(ward: Ward) -> None:
        ward.ill["a"] = "connection refused"
        ward.checker.put({KEY: checks("a")})
        await clock.passes(60)
        del ward.ill["a"]
        ward.checker.put({KEY: checks("a", check=replace(TCP, interval=2, successes=3))})
        await clock.passes(0.01)
        assert {"a"} == ward.failing.keys()
        await clock.passes(20)
        assert {} == ward.failing

    lived(scenario)


def test_a_result_of_what_was_asked_before_a_change_counts_for_nothing() -> None:
    strict = replace(TCP, failures=1)

    async def scenario(ward: Ward) -> None:
        ward.takes = 5.0
        ward.ill["a"] = "connection refused"
        ward.checker.put({KEY: checks("a", check=strict)})
        while not ward.asked:
            await clock.passes(0.1)
        elsewhere = tuple(replace(place, port=81) for place in places("a"))
        ward.checker.put({KEY: Checks(service="web", check=strict, places=elsewhere)})
        await clock.passes(6)  # it is asked anew at once
        assert (2, {}) == (len(ward.asked), ward.failing)
        await clock.passes(4)
        assert {"a"} == ward.failing.keys()

    lived(scenario)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from((KEY, "n/db")), st.sets(st.sampled_from("abc"))),
        st.tuples(st.just("delete"), st.sampled_from((KEY, "n/db")), st.just(set())),
        st.tuples(st.just("ill"), st.just(""), st.sets(st.sampled_from("abc"))),
        st.tuples(st.just("lost"), st.just(""), st.sets(st.just("x"))),
        st.tuples(st.just("passes"), st.sampled_from(("0", "0.3", "4", "31")), st.just(set())),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(steps, st.sampled_from((0.0, 0.5)))
def test_in_the_end_what_is_recorded_is_what_is_so(
    done: list[tuple[str, str, set[str]]], takes: float
) -> None:
    async def scenario(ward: Ward) -> None:
        ward.takes = takes
        there: dict[str, set[str]] = defaultdict(set)
        for what, word, names in done:
            if what == "put":
                there[word] = names
                ward.checker.put({word: checks(*sorted(names), service=word)})
            elif what == "delete":
                there.pop(word, None)
                ward.checker.delete({word})
            elif what == "ill":
                ward.ill = dict.fromkeys(names, "connection refused")
            elif what == "lost":
                ward.lost = bool(names)
            else:
                await clock.passes(float(word))
        ward.lost = False
        await clock.passes(60)
        expected: dict[str, dict[str, str]] = defaultdict(dict)
        for key, names in there.items():
            for name in names & ward.ill.keys():
                expected[name][key] = "connection refused"
        assert expected == ward.failing

    lived(scenario)


# Real ones


@contextmanager
def server(answer: bytes | None, *, family: int = 4, piece: int = 4096) -> Iterator[int]:
    """Its port. It answers each with these bytes, in pieces, and closes; None: it never does."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with socket.socket(kind) as listening:
        listening.bind(("127.0.0.1" if family == 4 else "::1", 0))
        listening.listen(16)
        thread = threading.Thread(target=_serve, args=(listening, answer, piece))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def _serve(listening: socket.socket, answer: bytes | None, piece: int) -> None:
    kept = []
    while True:
        try:
            made, _ = listening.accept()
        except OSError:
            break
        if answer is None:
            kept.append(made)
            continue
        with made:
            try:
                made.recv(4096)
                for start in range(0, len(answer), piece):
                    made.sendall(answer[start : start + piece])
                made.shutdown(socket.SHUT_WR)
                while made.recv(4096):
                    pass
            except OSError:
                pass
    for made in kept:
        made.close()


def asked(port: int, check: Check, address: str = "127.0.0.1") -> str | None:
    place = Checked(endpoint="a", address=ip_address(address), port=port)
    return asyncio.run(ask(place, check))


HTTP = Check(by="http", path="/ready")


@pytest.mark.parametrize(
    ("answer", "check", "expected"),
    [
        (b"", TCP, ""),
        (None, TCP, ""),
        (b"HTTP/1.1 200 OK\r\n\r\n", HTTP, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", HTTP, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", HTTP, ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", HTTP, "status 404"),
        (b"HTTP/1.1 503 No\r\n\r\n" + b"x" * 100_000, HTTP, "status 503"),
        (b"SSH-2.0-x\r\n", HTTP, "its answer is no HTTP/1"),
        (b"HTTP/1.1 200 " + b"x" * 100_000, HTTP, "its answer is no HTTP/1"),
        (b"", HTTP, "it closed without an answer"),
        (b"HTTP/1.1 200 OK", HTTP, "it closed without an answer"),
        (None, HTTP, "no answer within 1 s"),
    ],
)
def test_a_server_is_asked_and_its_answer_judged(
    answer: bytes | None, check: Check, expected: str
) -> None:
    with server(answer) as port:
        assert expected == asked(port, check)


def test_an_answer_may_come_in_pieces_and_by_ipv6() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n", family=6, piece=1) as port:
        assert asked(port, HTTP, "::1") == ""


def test_where_nobody_listens_it_is_refused() -> None:
    with server(b"") as port:
        pass
    assert "connection refused" == asked(port, TCP) == asked(port, HTTP)


def test_a_request_is_one_of_http() -> None:
    place = Checked(endpoint="a", address=ip_address("fd00::1"), port=8080)
    assert request(place, "/ready?x=1").splitlines() == [
        b"GET /ready?x=1 HTTP/1.1",
        b"Host: [fd00::1]:8080",
        b"User-Agent: seaway",
        b"Accept: */*",
        b"Connection: close",
        b"",
    ]


# As records


def test_results_are_records_that_go_with_their_reason(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        intents = agent.intents
        one = await agent.attach("a", labels={"app": "web"})
        two = await agent.attach("b", labels={"app": "web"})
        port = ServicePort(port=80, target=8080)
        new = NewService(name="web", ports=(port,), selector={"app": "web"}, check=TCP)
        await intents.create_service(new)
        assert {"default/web"} == agent.kernel["checks"].read().keys()

        failing = {one.id: {"web": "connection refused"}, "0" * 16: {"web": "status 500"}}
        await intents.record_health(failing)
        assert {f"health/h/{one.id}"} == await folder(agent)
        told = intents.service("web")
        assert (2, 1) == (told.known, told.chosen)
        assert {"its check fails: connection refused", "it is ready"} == {
            backend.why for backend in told.backends
        }

        before = (await agent.store.load()).revision
        await intents.record_health(failing)
        assert before == (await agent.store.load()).revision
        await intents.record_health({one.id: {}, two.id: {}})
        assert set() == await folder(agent)
        assert 2 == intents.service("web").chosen

    run(tmp_path, scenario)


def test_a_new_backend_gets_no_connection_before_it_has_passed(tmp_path: Path) -> None:
    """The whole way: attached, found, asked, recorded, chosen."""

    async def scenario(agent: Agent) -> None:
        answers = {"one": "connection refused"}

        async def asked(place: Checked, _: Check) -> str:  # noqa: RUF029, as the real one
            return answers.get(names[place.endpoint], "")

        names: dict[str, str] = {}
        intents, kernel = agent.intents, agent.kernel["checks"]
        checker = Checker("h", intents.facts, asked)
        kernel.on_put = lambda key, wanted: checker.put({key: wanted})
        running = checker.run(intents.record_health, intents.convergence.settle)
        working = asyncio.ensure_future(running)
        try:
            port = ServicePort(port=80, target=8080)
            new = NewService(name="web", ports=(port,), selector={"app": "web"}, check=TCP)
            await intents.create_service(new)
            for name in ("one", "two"):
                names[endpoint_id(name, "eth0")] = name
                await agent.attach(name, labels={"app": "web"})
            assert not chosen(agent)["one"]
            await until(lambda: {"one": False, "two": True} == chosen(agent))
            assert "its check fails: connection refused" in whys(agent)
            answers.clear()
            await until(lambda: {"one": True, "two": True} == chosen(agent))
            assert set() == await folder(agent)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    run(tmp_path, scenario)


def chosen(agent: Agent) -> dict[str, bool]:
    return {b.name: b.chosen for b in agent.intents.service("web").backends}


def whys(agent: Agent) -> set[str]:
    return {b.why for b in agent.intents.service("web").backends}


async def folder(agent: Agent) -> set[str]:
    items = (await agent.store.load()).items
    return {key for key in items if key.startswith("health/")}
