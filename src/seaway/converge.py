"""Facts into the kernel: derive what is stale, and have each reconciler write it.

Everything that changed while the loop was busy is written in one go. Puts run in the order
of the list, because a thing exists before what refers to it. Deletes run in the same order:
an endpoint's device goes first and takes along what hangs on it, so that it is never there
without its programs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Sequence

import structlog

from seaway.facts import Facts
from seaway.model.reports import Drift, Failure
from seaway.reconcile import Difference, Reconciler, Target

log = structlog.get_logger(__name__)

_REMEMBERED = 100  # of the latest drift


class Convergence:
    def __init__(self, facts: Facts, targets: Sequence[Target]) -> None:
        self._facts = facts
        self._reconcilers = [Reconciler(target) for target in targets]
        self._by_name = {r.name: r for r in self._reconcilers}
        self._settled: asyncio.Future[None] | None = None
        self.drift: deque[Drift] = deque(maxlen=_REMEMBERED)
        self.drift_total = 0

    async def settle(self) -> None:
        """Return when all that is known by now has been tried; failures are told by key."""
        if self._settled is None:
            loop = asyncio.get_running_loop()
            self._settled = loop.create_future()
            loop.call_soon(self._settle)
        await asyncio.shield(self._settled)

    def _settle(self) -> None:
        settled, self._settled = self._settled, None
        assert settled is not None
        try:
            self.run()
        except BaseException as error:  # a defect: whoever waits raises it
            settled.set_exception(error)
        else:
            settled.set_result(None)

    def run(self) -> None:
        """Write until nothing is stale: what a put observes makes more keys stale."""
        self._write()
        while self._facts.stale:
            self._write()

    def _write(self) -> None:
        for name, desired in self._facts.derive().items():
            self._by_name[name].want(desired)
        for reconciler in self._reconcilers:
            reconciler.delete()
        for reconciler in self._reconcilers:
            reconciler.put()

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

    def audit(self, target: str) -> bool:
        """Read one kind back, report by name what others changed, and repair it."""
        differences = self._by_name[target].audit()
        for key, difference in differences.items():
            self._report(target, key, difference)
        return bool(differences)

    def _report(self, target: str, key: Hashable, difference: Difference) -> None:
        found, expected = difference
        drift = Drift(
            target=target,
            key=str(key),
            found="missing" if found is None else str(found),
            expected="nothing" if expected is None else str(expected),
            at=time.time(),
        )
        self.drift.append(drift)
        self.drift_total += 1
        log.warning("drift", target=target, key=drift.key, found=drift.found)
