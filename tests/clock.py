"""A loop whose clock jumps to what comes next, so that what waits for seconds is tested at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Never waits. Where nothing would ever happen any more, it says so."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for ever"
            self.now += timeout
        return ready


class _Here(ThreadPoolExecutor):
    """What is done beside a loop is done at once: a clock that jumps cannot wait for a thread."""

    def submit(self, work: Callable[..., T], /, *given: Any, **named: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(work(*given, **named))
        except BaseException as error:  # noqa: BLE001, it belongs to who waits for it
            done.set_exception(error)
        return done


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)
        self.set_default_executor(_Here())

    async def shutdown_default_executor(self) -> None:
        """It has no threads."""

    def time(self) -> float:
        return self._clock.now

    def stand_still(self, seconds: float) -> None:
        """As if what runs now took so long: all that was due meanwhile comes in one turn."""
        self._clock.now += seconds


async def passes(seconds: float) -> None:
    """On such a loop, at once: everything happens that is due until then."""
    assert isinstance(asyncio.get_running_loop(), JumpingLoop)
    await asyncio.sleep(seconds)


def run(scenario: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(scenario)
