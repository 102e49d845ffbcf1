"""Bring the kernel from what it holds to what it should hold, one key at a time.

Targets act; the reconciler only chooses what and when. It remembers what it put, so a
change costs no reading back; `audit` reads back, at start and against drift.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import structlog

from seaway.collecting import uncollected

log = structlog.get_logger(__name__)

_SORTED = 1000  # keys: more of them are not worth it

Settle = Callable[[list[tuple[str, Hashable]]], Awaitable[None]]  # see `Convergence.settle`


class Target(Protocol):
    """The only code that creates or removes its kind of kernel object.

    A failure is given back per key; the others are done all the same.
    """

    name: str

    def read(self) -> Mapping[Any, Any]:
        """Ours only, known without any memory."""

    def put(self, objects: Mapping[Any, Any]) -> Mapping[Any, OSError]:
        """Create, or bring to these values what exists. May be repeated."""

    def delete(self, keys: set[Any]) -> Mapping[Any, OSError]:
        """Gone is no error."""


@runtime_checkable
class Single(Protocol):
    """A target that can be asked for a few of its keys without reading all."""

    def look(self, keys: Collection[Any]) -> Mapping[Any, Any]:
        """What is there of these."""


@runtime_checkable
class Remembering(Protocol):
    """A target that gives the same objects again where nothing changed. The reconciler holds these
    then, not equal ones of its own: each is there once, and compared at no cost.
    """

    remembers: bool  # it does


Difference = tuple[object | None, object | None]  # found, expected


class Reconciler:
    """Of one target. What failed stays due, and rests until `retry`: others' changes are no
    reason to try it again.

    A key whose delete or put is under way (a slow one runs beside the loop) is busy: nothing else
    is done to it until then.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.failed: dict[Hashable, OSError] = {}
        self._held: dict[Hashable, object] = {}
        self._shared = False  # whether what is held is what was read
        self._due: dict[Hashable, object | None] = {}
        self._busy: set[Hashable] = set()
        self._resting: set[Hashable] = set()

    @property
    def name(self) -> str:
        return self.target.name

    def want(self, desired: Mapping[Hashable, object | None]) -> None:
        """Say what these keys should hold; None: nothing. Cheap, and safe to repeat."""
        for key in self.failed.keys() & desired.keys():
            if self._due.get(key) != desired[key]:
                del self.failed[key]  # it was another value that failed
                self._resting.discard(key)
        self._due |= desired

    def pending(self, key: Hashable) -> bool:
        """Whether this key is still to be tried."""
        return key in self._busy or (key in self._due and key not in self.failed)

    @property
    def restless(self) -> bool:
        """Whether something is due that did not fail: it is not to wait for a retry."""
        return any(key not in self.failed for key in self._due)

    @property
    def untried(self) -> bool:
        """Whether something that should be there, and is not, was not tried yet."""
        return any(
            v is not None and k not in self.failed and self._held.get(k) != v
            for k, v in self._due.items()
        )

    def retry(self) -> None:
        """What failed may be tried again."""
        self._resting.clear()

    def gone(self) -> set[Hashable]:
        """Take what is due to be deleted; it is busy until `deleted`."""
        not_now = self._busy | self._resting
        due = {k for k, v in self._due.items() if v is None and k not in not_now}
        absent = {k for k in due if k not in self._held}
        self._settle(dict.fromkeys(absent), {})
        self._busy |= due - absent
        return due - absent

    def deleted(self, keys: set[Hashable], failed: Mapping[Hashable, OSError]) -> None:
        self._busy -= keys
        for key in keys - failed.keys():
            self._hold(key, None)
        # What was wanted again meanwhile stays due.
        self._settle({k: None for k in keys if self._due.get(k, 0) is None}, failed)
        log.info("deleted", target=self.name, keys=_told(keys - failed.keys()))

    def put(self, *, new: bool = True, most: int | None = None) -> bool:
        """Put what is due to be there and is not known to be. Not `new`: only what was there.

        Whether there is more than `most`.
        """
        if wanted := self.wanted(new=new, most=most):
            self.done(wanted, self.write(wanted))
        return len(wanted) == most

    def wanted(self, *, new: bool = True, most: int | None = None) -> dict[Hashable, object]:
        """Take what is due to be put, or so much of it; it is busy until `done`."""
        there: dict[Hashable, object] = {}
        put = dict(islice(self._differing(there, new=new), most))
        self._settle(there, {})
        self._busy |= put.keys()
        return put

    def _differing(
        self, there: dict[Hashable, object], *, new: bool
    ) -> Iterator[tuple[Hashable, object]]:
        """What is due to be put. What is so already, is noted in `there`."""
        for key, value in self._due.items():
            if value is None or key in self._busy or key in self._resting:
                continue
            held = self._held.get(key)
            if held == value:
                there[key] = value
            elif new or held is not None:
                yield key, value

    def done(self, put: Mapping[Hashable, object], failed: Mapping[Hashable, OSError]) -> None:
        self._busy -= put.keys()
        for key in put.keys() - failed.keys():
            self._hold(key, put[key])
        # What was wanted otherwise meanwhile stays due.
        self._settle({k: v for k, v in put.items() if self._due.get(k) == v}, failed)
        log.info("put", target=self.name, keys=_told(put.keys() - failed.keys()))

    def write(self, put: Mapping[Hashable, object]) -> Mapping[Hashable, OSError]:
        """What of these could not be put. May run in a thread."""
        return self._tried(self.target.put, put)

    def delete(self, keys: set[Hashable]) -> Mapping[Hashable, OSError]:
        """The same for deletes."""
        return self._tried(self.target.delete, keys)

    def _tried(
        self, act: Callable[[Any], Mapping[Hashable, OSError]], keys: Collection[Hashable]
    ) -> Mapping[Hashable, OSError]:
        """A target that fails as a whole fails for each of its keys; the others go on."""
        try:
            with uncollected():
                return act(keys)
        except OSError as error:
            return dict.fromkeys(keys, error)

    def _settle(
        self, wanted: Mapping[Hashable, object | None], failed: Mapping[Hashable, OSError]
    ) -> None:
        for key, value in wanted.items():
            if key in failed:
                if str(self.failed.get(key)) != str(failed[key]):
                    log.error("failed", target=self.name, key=str(key), error=str(failed[key]))
                self.failed[key] = failed[key]
                self._resting.add(key)
                continue
            self.failed.pop(key, None)
            self._resting.discard(key)
            del self._due[key]
            self._hold(key, value)
        if not self._due:
            self._due = {}  # a dictionary stays as large as it ever was

    def differs(self, key: Hashable, actual: object | None) -> bool:
        """Whether a notification about this key is worth an audit: we did not do this."""
        if key in self._due or key in self._busy:
            return False
        return self._held.get(key) != actual

    def audit(self) -> dict[Hashable, Difference]:
        """Read back. Returns what somebody else changed, and makes it due again."""
        actual = self.read()
        return {} if actual is None else self.compare(actual)

    def differing(self) -> dict[Hashable, object | None]:
        """What is there otherwise than it should be, as it is there. Nothing follows from that."""
        actual = self.read()
        if actual is None or self._agrees(actual):
            return {}
        keys = (self._held.keys() | actual.keys()) - self._due.keys() - self._busy
        return {k: actual.get(k) for k in keys if actual.get(k) != self._held.get(k)}

    def _agrees(self, actual: Mapping[Hashable, object]) -> bool:
        """Whether all that is to be done is, and there."""
        if self._due or self._busy or actual != self._held:
            return False
        if not self._shared and isinstance(self.target, Remembering):
            self._held, self._shared = dict(actual), True
        return True

    def read(self) -> Mapping[Hashable, object] | None:
        """What is there; None: it cannot be read back now. May run in a thread."""
        try:
            return self.target.read()
        except OSError as error:  # the kernel is busy, or a program of the host fails
            log.warning("cannot read back", target=self.name, error=str(error))
            return None

    def check(self, keys: Collection[Hashable]) -> dict[Hashable, Difference]:
        """The same of a few keys alone. Nothing is asked of a target that can only read all: it
        is one of which the kernel tells.
        """
        if not isinstance(self.target, Single):
            return {}
        sure = [key for key in keys if key not in self._due and key not in self._busy]
        try:
            actual = self.target.look(sure)
        except OSError as error:
            log.warning("cannot read back", target=self.name, error=str(error))
            return {}
        return self._drifted(sure, actual)

    def compare(self, actual: Mapping[Hashable, object]) -> dict[Hashable, Difference]:
        """What of this somebody else changed; it is due again."""
        if self._agrees(actual):
            return {}
        keys = (self._held.keys() | actual.keys()) - self._due.keys() - self._busy
        drift = self._drifted(keys, actual)
        # Of what is as it should be, ours is kept: it may know more than can be read back.
        known = {k: v for k, v in self._held.items() if k in self._busy or actual.get(k) == v}
        self._held, self._shared = dict(actual) | known, False
        return drift

    def _drifted(
        self, keys: Iterable[Hashable], actual: Mapping[Hashable, object]
    ) -> dict[Hashable, Difference]:
        drift = {
            key: (actual.get(key), self._held.get(key))
            for key in keys
            if self._held.get(key) != actual.get(key)
        }
        for key, (found, expected) in drift.items():
            self._due[key] = expected
            self._hold(key, found)
        return drift

    def _hold(self, key: Hashable, value: object | None) -> None:
        self._shared = False
        self._held.pop(key, None)  # its key as well: the facts' own is enough
        if value is not None:
            self._held[key] = value


def _told(keys: set[Hashable]) -> list[str]:
    """A few keys in words: a line of a log is to be read."""
    few = sorted(map(str, keys))[:8] if len(keys) < _SORTED else [str(k) for k in islice(keys, 8)]
    return few + ([f"and {len(keys) - 8} more"] if len(keys) > 8 else [])
