"""What is asked of the kernel about load has nobody wait, however long it takes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection
from ipaddress import ip_address

import pytest

from fakes_keys import FakeKeys
from seaway.model.routing import Member, Orders
from seaway.routed import senses
from seaway.routed.core import Core
from seaway.routed.senses import Feeling, Senses
from waiting import until


class Slow:
    """The kernel makes devices, and answers when it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.asked: list[str] = []
        self.at_once = self.most = 0

    def look(self, _devices: Collection[int], _now: float) -> dict[int, float]:
        self._answer("look")
        return {}

    def read(self, hosts: Collection[int]) -> dict[int, int]:
        self._answer("read")
        return dict.fromkeys(hosts, 1 << 30)

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        assert self.may.wait(60)
        self.at_once -= 1


@pytest.fixture
def core() -> Core:
    """Of a host that probes nobody of its own choice, in a segment of many."""
    members = tuple(
        Member(name=f"h{n:02}", number=n, underlay=(ip_address(f"192.0.2.{n}"),))
        for n in range(2, 40)
    )
    here = (ip_address("192.0.2.1"),)
    orders = Orders(host="h01", number=1, underlay=here, members=members)
    made = Core(orders, FakeKeys("h01"), lambda: 1, lambda _: 1500, 0)
    made.obey(orders)
    return made


def test_a_kernel_that_answers_late_keeps_nobody_from_probing_and_is_asked_one_thing_at_a_time(
    core, monkeypatch
):
    monkeypatch.setattr(senses, "WEIGH", 0.01)
    monkeypatch.setattr(senses, "COUNT", 0.02)
    slow = Slow()

    async def scenario() -> None:
        feeling = asyncio.create_task(Feeling(Senses(slow, slow), core, time.monotonic).feel())
        await until(lambda: slow.asked)
        for _ in range(10):  # the loop goes on
            await asyncio.sleep(senses.WEIGH)
        assert ["look"] == slow.asked
        slow.may.set()
        await until(lambda: slow.asked.count("read") > 1)
        feeling.cancel()

    asyncio.run(scenario())
    assert 1 == slow.most


def test_what_is_seen_is_told_to_the_core(core, monkeypatch):
    monkeypatch.setattr(senses, "WEIGH", 0.01)
    monkeypatch.setattr(senses, "COUNT", 0.02)
    slow, counted = Slow(), []
    monkeypatch.setattr(core, "count", lambda sent, _: counted.append(sent))
    slow.may.set()

    async def scenario() -> None:
        feeling = asyncio.create_task(Feeling(Senses(slow, slow), core, time.monotonic).feel())
        await until(lambda: counted)
        feeling.cancel()

    asyncio.run(scenario())
    assert dict.fromkeys(core.unprobed(), 1 << 30) == counted[0]
