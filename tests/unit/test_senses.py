"""What is asked of the kernel about load has nobody wait, however long it takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from ipaddress import ip_address
from itertools import count

import pytest

from fakes_keys import FakeKeys
from seaway.model.routing import Member, Orders
from seaway.routed.core import Core
from seaway.routed.senses import COUNT, Feeling, Senses
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
        return dict.fromkeys(hosts, len(self.asked) << 30)

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
    core,
):
    slow = Slow()

    async def scenario() -> None:
        clock = count(0, COUNT).__next__
        feeling = asyncio.create_task(Feeling(Senses(slow, slow), core, clock).feel())
        await until(lambda: slow.asked)  # the loop goes on, though nobody answers yet
        assert (["look"], 1) == (slow.asked, slow.at_once)
        slow.may.set()
        await until(lambda: core.talk.hosts)
        feeling.cancel()

    asyncio.run(scenario())
    assert (1, ["look", "read"] * 2) == (slow.most, slow.asked[:4])
