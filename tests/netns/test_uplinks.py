"""Devices that live by router advertisements go on living by them, and no others.

┌──────── host ────────┐
│ up0 ── up1, up2 ── up3 │   proto ra: what a router told
└──────────────────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from namespaces import Netns, namespaces
from seaway.desired.indexes import INDEXES
from seaway.desired.network.ports import left_ports
from seaway.facts import Facts
from seaway.kernel.reserved import SETTING, ReservedTarget
from seaway.kernel.sysctls import SysctlTarget
from seaway.model.facts import Before, Uplinks
from seaway.records import Records
from seaway.store.sqlite import SqliteStore
from seaway.uplinks import Lookout


@pytest.fixture
def host() -> Iterator[Netns]:
    with namespaces() as make:
        made = make()
        for one, other in (("up0", "up1"), ("up2", "up3")):
            made.run(f"ip link add {one} type veth peer name {other}")
            made.run(f"ip link set {one} up; ip link set {other} up")
        yield made


def believes(host: Netns, device: str, value: int) -> None:
    host.run(f"sysctl -q -w net.ipv6.conf.{device}.accept_ra={value}")


def routed(host: Netns, device: str) -> None:
    host.run(f"ip -6 route add default dev {device} proto ra metric 1{device[-1]}")


@asynccontextmanager
async def lookout(host: Netns, folder: Path) -> AsyncIterator[Lookout]:
    """As an agent has it that starts now."""
    store, facts = SqliteStore(folder / "store.db"), Facts((), INDEXES)
    records = Records(store, facts)
    await records.load()
    try:
        reserved = ReservedTarget(host.path)
        yield Lookout("h", facts, records, SysctlTarget(host.path), reserved, host.path)
    finally:
        await store.close()


async def found(lookout: Lookout, *, anew: bool = True) -> tuple[tuple[str, ...], dict[str, str]]:
    """Who is to believe advertisements, and what is recorded of the time before."""
    await lookout.look(anew=anew)
    uplinks, before = lookout.facts.get(Uplinks, "host"), lookout.facts.get(Before, "h")
    assert uplinks
    assert before
    told = {n.split(".")[-2]: v for n, v in before.sysctls.items() if n.endswith("accept_ra")}
    return uplinks.by_advertisement, told


def play(host: Netns, folder: Path, *agents: Callable[[Lookout], Awaitable[None]]) -> None:
    """One agent after another, over one store."""

    async def whole() -> None:
        for scenario in agents:
            async with lookout(host, folder) as made:
                await scenario(made)

    asyncio.run(whole())


def test_only_a_device_that_believes_advertisements_is_told_to_go_on(host, tmp_path):
    for device, value in {"up0": 1, "up1": 0, "up2": 2}.items():
        believes(host, device, value)
        routed(host, device)

    async def scenario(here: Lookout) -> None:
        assert (("up0",), {"up0": "1"}) == await found(here)

    play(host, tmp_path, scenario)


def test_a_device_that_has_its_route_later_is_found_when_it_is_looked_for_again(host, tmp_path):
    async def scenario(here: Lookout) -> None:
        assert ((), {}) == await found(here)
        routed(host, "up0")
        assert (("up0",), {"up0": "1"}) == await found(here)

    play(host, tmp_path, scenario)


def test_the_next_agent_knows_what_it_was_before_the_first(host, tmp_path):
    async def first(here: Lookout) -> None:
        routed(host, "up0")
        await found(here)
        believes(host, "up0", 2)  # as the reconciler does
        host.run("ip -6 route del default dev up0 proto ra")

    async def second(here: Lookout) -> None:
        assert (("up0",), {"up0": "1"}) == await found(here)
        host.run("ip link del up0")
        assert ((), {"up0": "1"}) == await found(here)
        host.run("ip link add up0 type veth peer name up1; ip link set up0 up")
        assert (("up0",), {"up0": "1"}) == await found(here)

    play(host, tmp_path, first, second)


def test_who_wants_no_advertisements_any_more_is_left_with_that(host, tmp_path):
    async def scenario(here: Lookout) -> None:
        routed(host, "up0")
        await found(here)
        believes(host, "up0", 0)
        assert ((), {}) == await found(here, anew=False)

    play(host, tmp_path, scenario)


def test_what_others_reserve_is_known_and_what_was_ours_until_it_is_gone(host, tmp_path):
    def has(ports: str) -> None:
        host.run(f"sysctl -q -w {SETTING}={ports}")

    async def knows(here: Lookout) -> tuple[str, str]:
        await here.look()
        before = here.facts.get(Before, "h")
        return before.reserved, before.left

    async def first(here: Lookout) -> None:
        has("5000")
        assert ("5000", "") == await knows(here)
        before = here.facts.get(Before, "h")
        await here.records.commit(left_ports(before, [80]))
        has("80,5000,6000")

    async def second(here: Lookout) -> None:
        assert ("5000,6000", "80") == await knows(here)
        has("6000")
        assert ("6000", "") == await knows(here)

    play(host, tmp_path, first, second)
