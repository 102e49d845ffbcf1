"""Facts into the kernel: derive what is stale, and have each reconciler write it.

Everything that changed while the loop was busy is written in one go. Puts run in the order
of the list, because a thing exists before what refers to it. Deletes run in the same order:
an endpoint's device goes first and takes along what hangs on it, so that it is never there
without its programs. Deletes are the kernel's slow part (it waits for its readers), so they
run beside the loop, and those that come meanwhile go together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Iterable, Sequence

import structlog

from seaway.facts import Facts
from seaway.model.reports import Drift, Failure
from seaway.reconcile import Reconciler, Target

log = structlog.get_logger(__name__)

_REMEMBERED = 100  # of the latest drift

Key = tuple[str, Hashable]  # a target's name, and one of its keys


class Convergence:
    """`slow` names the targets whose deletes may run in a thread of their own."""

    def __init__(
        self, facts: Facts, targets: Sequence[Target], slow: Iterable[str] = ("links",)
    ) -> None:
        self._facts = facts
        self._reconcilers = [Reconciler(target) for target in targets]
        self._by_name = {r.name: r for r in self._reconcilers}
        self._slow = frozenset(slow)
        self._asked = asyncio.Event()
        self._turn: asyncio.Future[None] | None = None
        self.drift: deque[Drift] = deque(maxlen=_REMEMBERED)
        self.drift_total = 0

    async def settle(self, keys: Iterable[Key] = ()) -> None:
        """Return when all stale facts are derived, and these keys were tried.

        What failed is told by `failure`.
        """
        wanted = list(keys)
        self._asked.set()
        while self._facts.stale or any(self._by_name[t].pending(k) for t, k in wanted):
            if self._turn is None:
                self._turn = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._turn)

    async def run(self) -> None:
        """Write whenever somebody asks. The one task that changes the kernel."""
        async with asyncio.TaskGroup() as group:
            deleting: asyncio.Task[None] | None = None
            while True:
                await self._asked.wait()
                self._asked.clear()
                self.write()
                if deleting is None or deleting.done():
                    gone = [(r, keys) for r in self._reconcilers if (keys := r.gone())]
                    if gone:
                        deleting = group.create_task(self._delete(gone), name="deletes")
                self._turned()

    def write(self) -> None:
        """Derive and put until nothing is stale: what a put observes makes more stale."""
        while True:
            for name, desired in self._facts.derive().items():
                self._by_name[name].want(desired)
            for reconciler in self._reconcilers:
                reconciler.put()
            if not self._facts.stale:
                return

    async def _delete(self, gone: Sequence[tuple[Reconciler, set[Hashable]]]) -> None:
        for reconciler, keys in gone:
            if reconciler.name in self._slow:
                failed = await asyncio.to_thread(reconciler.delete, keys)
            else:
                failed = reconciler.delete(keys)
            reconciler.deleted(keys, failed)
        asyncio.get_running_loop().call_soon(self._asked.set)  # once this task is done
        self._turned()

    def _turned(self) -> None:
        turn, self._turn = self._turn, None
        if turn and not turn.done():
            turn.set_result(None)

    def ask(self) -> None:
        """Facts changed: have them written."""
        self._asked.set()

    def retry(self) -> None:
        """What failed is tried again."""
        if any(r.failed for r in self._reconcilers):
            self._asked.set()

    def failure(self, target: str, key: Hashable) -> OSError | None:
        return self._by_name[target].failed.get(key)

    def failures(self) -> list[Failure]:
        return [
            Failure(target=r.name, key=str(key), error=str(error))
            for r in self._reconcilers
            for key, error in r.failed.items()
        ]

    def adopt(self) -> None:
        """At start: read what is there, and make due what differs. Not drift: we were away."""
        for reconciler in self._reconcilers:
            differences = reconciler.audit()
            if differences:
                log.info("differs at start", target=reconciler.name, keys=len(differences))

    def differs(self, target: str, key: Hashable, actual: object | None) -> bool:
        return self._by_name[target].differs(key, actual)

    def audit(self, target: str) -> None:
        """Read one kind back, report by name what others changed, and have it repaired."""
        for key, (found, expected) in self._by_name[target].audit().items():
            told = ("missing" if found is None else str(found), str(expected or "nothing"))
            self.report(target, str(key), *told)
            self._asked.set()

    def report(self, target: str, key: str, found: str, expected: str) -> None:
        """A drift that was found, and is being repaired."""
        drift = Drift(target=target, key=key, found=found, expected=expected, at=time.time())
        self.drift.append(drift)
        self.drift_total += 1
        log.warning("drift", target=target, key=key, found=found)
