"""The host as intents look at it: what they wait for."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any, cast

import pytest

from seaway.bpf.counters import OF_SOCKETS
from seaway.surroundings import HostSurroundings


class Links:
    """Links whose other ends are idle for so many questions."""

    def __init__(self, answers: Iterator[bool]) -> None:
        self._answers = answers
        self.asked = 0

    def idle(self, _name: str) -> bool:
        self.asked += 1
        return next(self._answers)


def gone() -> Iterator[bool]:
    yield True
    raise OSError(errno.ENODEV, "no such device")


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        (repeat(False), 1),
        (chain([True] * 3, repeat(False)), 4),
        (repeat(True), 60),
        (gone(), 2),
    ],
    ids=["at once", "soon", "never", "gone"],
)
def test_a_container_that_cannot_send_yet_is_waited_for_a_moment_and_the_loop_goes_on(
    answers: Iterator[bool], asked: int
) -> None:
    async def scenario() -> None:
        links, others = Links(answers), 0
        host = HostSurroundings(
            cast("Any", links), *(cast("Any", None),) * 2, "", "", *(cast("Any", None),) * 4
        )
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            waiting = group.create_task(host.at_work("swy1"))
            while not waiting.done():
                others += 1
                await asyncio.sleep(0)
        assert asked == links.asked
        assert others >= asked - 10  # it is held up for a moment, then goes on

    asyncio.run(scenario())


class Counted:
    """What the programs counted, by device and reason."""

    def __init__(self, **sockets: int) -> None:
        self.counts = {(7, "isolated"): 3} | {(OF_SOCKETS, r): n for r, n in sockets.items()}

    def drops(self) -> dict[tuple[int, str], int]:
        return dict(self.counts)

    def purge(self, ifindexes: set[int]) -> None:
        self.counts = {k: n for k, n in self.counts.items() if k[0] not in ifindexes}


def test_what_was_counted_outlives_its_device_and_what_sockets_were_refused_has_none() -> None:
    counted = Counted(refused=2, isolated=1)
    host = HostSurroundings(
        *(cast("Any", None), cast("Any", counted), cast("Any", None)),
        *("", "", *(cast("Any", None),) * 4),
    )
    expected = {(7, "isolated"): 3, (OF_SOCKETS, "isolated"): 1, (OF_SOCKETS, "refused"): 2}
    for present in ({7}, {7, 8}):
        host.forget_devices(present)
        assert expected == host.drops()
    host.forget_devices({8})
    assert {(OF_SOCKETS, "isolated"): 4, (OF_SOCKETS, "refused"): 2} == host.drops()
