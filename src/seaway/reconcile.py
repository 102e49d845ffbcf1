"""Bring the kernel from what it holds to what it should hold, one key at a time.

Targets act; the reconciler only chooses what and when. It remembers what it put, so a
change costs no reading back; `audit` reads back, at start and against drift.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)


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


Difference = tuple[object | None, object | None]  # found, expected


class Reconciler:
    """Of one target. What failed stays due and is tried again with the next call."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.failed: dict[Hashable, OSError] = {}
        self._held: dict[Hashable, object] = {}
        self._due: dict[Hashable, object | None] = {}

    @property
    def name(self) -> str:
        return self.target.name

    def want(self, desired: Mapping[Hashable, object | None]) -> None:
        """Say what these keys should hold; None: nothing. Cheap, and safe to repeat."""
        self._due |= desired

    def delete(self) -> None:
        """Delete what is due to go."""
        gone = {k for k, v in self._due.items() if v is None}
        present = {k for k in gone if k in self._held}
        failed = self.target.delete(present) if present else {}
        self._settle({k: None for k in gone}, failed)
        if present:
            log.info("deleted", target=self.name, keys=_told(present - failed.keys()))

    def put(self) -> None:
        """Put what is due to be there and is not known to be."""
        wanted = {k: v for k, v in self._due.items() if v is not None}
        put = {k: v for k, v in wanted.items() if self._held.get(k) != v}
        failed = self.target.put(put) if put else {}
        self._settle(wanted, failed)
        if put:
            log.info("put", target=self.name, keys=_told(put.keys() - failed.keys()))

    def _settle(
        self, wanted: Mapping[Hashable, object | None], failed: Mapping[Hashable, OSError]
    ) -> None:
        for key, value in wanted.items():
            if key in failed:
                if key not in self.failed:
                    log.error("failed", target=self.name, key=str(key), error=str(failed[key]))
                self.failed[key] = failed[key]
                continue
            self.failed.pop(key, None)
            del self._due[key]
            if value is None:
                self._held.pop(key, None)
            else:
                self._held[key] = value

    def forget(self, key: Hashable) -> None:
        """The kernel has let go of this by itself (a device took it along)."""
        self._held.pop(key, None)

    def differs(self, key: Hashable, actual: object | None) -> bool:
        """Whether a notification about this key is worth an audit: we did not do this."""
        return key not in self._due and self._held.get(key) != actual

    def audit(self) -> dict[Hashable, Difference]:
        """Read back. Returns what somebody else changed, and makes it due again."""
        actual = self.target.read()
        keys = (self._held.keys() | actual.keys()) - self._due.keys()
        drift: dict[Hashable, Difference] = {
            k: (actual.get(k), self._held.get(k))
            for k in keys
            if self._held.get(k) != actual.get(k)
        }
        self._due |= {k: expected for k, (_, expected) in drift.items()}
        self._held = dict(actual)
        return drift


def _told(keys: set[Hashable]) -> list[str]:
    """A few keys in words: a line of a log is to be read."""
    few = sorted(str(k) for k in keys)[:8]
    return few + ([f"and {len(keys) - 8} more"] if len(keys) > 8 else [])
