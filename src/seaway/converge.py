"""Facts into the kernel: derive what is stale, and have each reconciler write it.

Everything that changed while the loop was busy is written in one go. Puts run in the order
of the list, because a thing exists before what refers to it. Deletes run in the same order:
an endpoint's device goes first and takes along what hangs on it, so that it is never there
without its programs. Deletes are the kernel's slow part (it waits for its readers), so they
run beside the loop, and those that come meanwhile go together. A target whose every call is slow
is served beside the loop by a task of its own; what refers to it waits
(docs/decisions/order.md).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import structlog

from seaway.facts import Facts
from seaway.model.differences import differing, named
from seaway.model.reports import Drift, Failure
from seaway.reconcile import Difference, Reconciler, Target

log = structlog.get_logger(__name__)

_REMEMBERED = 100  # of the latest drift: more than there are pins, which may all go at once
TOLD_WITHIN: Final = 1.0  # seconds until we are told what `routed` has written
_PIECES: Final = 10
_AT_ONCE: Final = 500  # keys: some 20 ms

Key = tuple[str, Hashable]  # a target's name, and one of its keys
_SLOW: Final = ("links",)
_TOLD_LATER: Final = ("paths",)  # `routed` writes them first
_BESIDE: Final = MappingProxyType({"nft": ("links",), "accepts": (), "names": (), "holders": ()})


class Convergence:
    """`slow` names the targets whose deletes may run in a thread of their own.

    `beside`: those whose every call does, each with the kinds whose new keys wait for its puts.
    """

    def __init__(
        self,
        facts: Facts,
        targets: Sequence[Target],
        slow: Iterable[str] = _SLOW,
        beside: Mapping[str, Sequence[str]] = _BESIDE,
    ) -> None:
        self._facts = facts
        self._reconcilers = [Reconciler(target) for target in targets]
        self._by_name = {r.name: r for r in self._reconcilers}
        self._slow = frozenset(slow)
        self._beside = {n: asyncio.Event() for n in beside if n in self._by_name}
        self._waits_for = {kind: n for n in self._beside for kind in beside[n]}
        # Of those beside the loop: to be read back, and who waits for that.
        self._doubted: dict[str, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._turn: asyncio.Future[None] | None = None
        self.drift: deque[Drift] = deque(maxlen=_REMEMBERED)
        self.drift_total = 0

    async def settle(self, keys: Iterable[Key] = ()) -> None:
        """Return when all stale facts are derived, and these keys were tried.

        What failed is told by `failure`.
        """
        wanted = list(keys)
        await self._until(lambda: not any(self._by_name[t].pending(k) for t, k in wanted))

    async def settle_all(self, target: str) -> None:
        """The same of all keys of a target."""
        await self._until(lambda: not self._by_name[target].restless)

    async def _until(self, tried: Callable[[], bool]) -> None:
        self._wake.set()
        while self._facts.stale or not tried():
            if self._turn is None:
                self._turn = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._turn)

    async def run(self) -> None:
        """Write whenever somebody asks. The one task that changes the kernel."""
        async with asyncio.TaskGroup() as group:
            deleting: asyncio.Task[None] | None = None
            for name, wake in self._beside.items():
                group.create_task(self._serve_beside(self._by_name[name], wake), name=name)
            while True:
                await self._wake.wait()
                self._wake.clear()
                for _ in self._writing(_AT_ONCE):
                    await asyncio.sleep(0)
                for name, wake in self._beside.items():
                    if self._by_name[name].restless:
                        wake.set()
                if deleting is None or deleting.done():
                    gone = [(r, keys) for r in self._here() if (keys := r.gone())]
                    if gone:
                        deleting = group.create_task(self._delete(gone), name="deletes")
                self._turned()

    def _here(self) -> Iterable[Reconciler]:
        """Those whose puts run on the loop."""
        return (r for r in self._reconcilers if r.name not in self._beside)

    def write(self) -> None:
        """Derive and put until nothing is stale: what a put observes makes more stale."""
        for _ in self._writing():
            pass

    def _writing(self, most: int | None = None) -> Iterator[None]:
        """The same with pauses: who asks something must not wait for thousands of published ports.

        Nothing is put before all is derived: what refers to one another changes together.
        """
        while True:
            while True:
                for name, desired in self._facts.derive(most).items():
                    self._by_name[name].want(desired)
                if not self._facts.stale:
                    break
                yield
            for reconciler in self._here():
                first = self._waits_for.get(reconciler.name)
                new = first is None or not self._by_name[first].untried
                while reconciler.put(new=new, most=most):
                    yield
            if not self._facts.stale:
                return

    async def _serve_beside(self, reconciler: Reconciler, wake: asyncio.Event) -> None:
        """One call after another, each in a thread."""
        while True:
            await wake.wait()
            wake.clear()
            if gone := reconciler.gone():
                reconciler.deleted(gone, await asyncio.to_thread(reconciler.delete, gone))
            if put := reconciler.wanted():
                reconciler.done(put, await asyncio.to_thread(reconciler.write, put))
            if doubted := self._doubted.pop(reconciler.name, None):
                actual = await asyncio.to_thread(reconciler.read)
                self._repair(reconciler.name, {} if actual is None else reconciler.compare(actual))
                doubted.set_result(None)
            if gone or put:
                self._wake.set()  # what waited for it goes on
                self._turned()

    async def _delete(self, gone: Sequence[tuple[Reconciler, set[Hashable]]]) -> None:
        for reconciler, keys in gone:
            if reconciler.name in self._slow:
                failed = await asyncio.to_thread(reconciler.delete, keys)
            else:
                failed = reconciler.delete(keys)
            reconciler.deleted(keys, failed)
        if self._facts.stale or any(reconciler.restless for reconciler in self._here()):
            asyncio.get_running_loop().call_soon(self._wake.set)  # once this task is done
        self._turned()

    def _turned(self) -> None:
        turn, self._turn = self._turn, None
        if turn and not turn.done():
            turn.set_result(None)

    def ask(self) -> None:
        """Facts changed: have them written."""
        self._wake.set()

    def retry(self) -> None:
        """What failed is tried again."""
        for reconciler in self._reconcilers:
            reconciler.retry()
        for name, wake in self._beside.items():
            if self._by_name[name].failed:
                wake.set()
        if any(r.failed for r in self._reconcilers):
            self._wake.set()

    @property
    def failing(self) -> bool:
        return any(r.failed for r in self._reconcilers)

    def failure(self, target: str, key: Hashable) -> OSError | None:
        return self._by_name[target].failed.get(key)

    def pending(self, target: str, key: Hashable) -> bool:
        """Whether this key is still to be written."""
        return self._by_name[target].pending(key)

    def failures(self) -> list[Failure]:
        return [
            Failure(target=r.name, key=named(key), error=str(error))
            for r in self._reconcilers
            for key, error in r.failed.items()
        ]

    def adopt(self) -> list[Key]:
        """At start: read what is there, and make due what differs. Not drift: we were away.

        Returns what is to be tried before anybody is served: an address whose record went is
        free, but the link that had it may be there still. Not what is served beside the loop.
        """
        due: list[Key] = []
        for reconciler in self._reconcilers:
            differences = reconciler.audit()
            if differences:
                log.info("differs at start", target=reconciler.name, keys=len(differences))
            if reconciler.name not in self._beside:
                due += [(reconciler.name, key) for key in differences]
        return due

    def differs(self, target: str, key: Hashable, actual: object | None) -> bool:
        return self._by_name[target].differs(key, actual)

    def audit(self, target: str) -> None:
        """Read one kind back, report by name what others changed, and have it repaired.

        Of a target beside the loop: soon.
        """
        if target in self._beside:
            self._doubt(target)
        else:
            self._repair(target, self._by_name[target].audit())

    async def sweep(self, target: str) -> None:
        """An audit in its turn, after which others have theirs."""
        if target in _TOLD_LATER:
            await self.audit_twice(target)
            return
        self.audit(target)
        await asyncio.sleep(0)

    async def audit_twice(self, target: str) -> None:
        """The same of a kind that is written by another process of ours as well, a moment before we
        are told: what differs counts if it does so for longer.

        It waits in pieces: when the loop stands still, that takes one of them, and in the others
        what we were told meanwhile is read and derived.
        """
        reconciler = self._by_name[target]
        if first := reconciler.differing():
            for _ in range(_PIECES):
                await asyncio.sleep(TOLD_WITHIN / _PIECES)
            then = reconciler.differing()
            lasting = [k for k, found in first.items() if k in then and then[k] == found]
            await self.check((target, key) for key in lasting)

    def _doubt(self, target: str) -> asyncio.Future[None]:
        """Done when it was read back. What differed is due then."""
        self._beside[target].set()
        fresh = asyncio.get_running_loop().create_future()
        return self._doubted.setdefault(target, fresh)

    async def check(self, keys: Iterable[Key]) -> list[Key]:
        """Read these alone back. What differs is reported and repaired as in an audit."""
        by_target: dict[str, list[Hashable]] = defaultdict(list)
        for target, key in keys:
            by_target[target].append(key)
        found: list[Key] = []
        for target, few in by_target.items():
            if target in self._beside:
                await asyncio.shield(self._doubt(target))
            else:
                self._repair(target, self._by_name[target].check(few))
            found += [(target, key) for key in few if self.pending(target, key)]
        return found

    def _repair(self, target: str, differences: Mapping[Hashable, Difference]) -> None:
        for key, (found, expected) in differences.items():
            self.report(target, named(key), *differing(found, expected))
            self._wake.set()

    def report(self, target: str, key: str, found: str, expected: str) -> None:
        """A drift that was found, and is being repaired."""
        drift = Drift(target=target, key=key, found=found, expected=expected, at=time.time())
        self.drift.append(drift)
        self.drift_total += 1
        log.warning("drift", target=target, key=key, found=found)
