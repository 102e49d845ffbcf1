"""Every system on lab hosts of its own, all at the same time; nothing is left afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol, TypeVar

from seaway import lab
from seaway.bench.options import Options
from seaway.errors import SeawayError
from seaway.lab import LabHost


class Candidate(Protocol):
    @property
    def name(self) -> str: ...

    def missing(self) -> str:
        """What this machine lacks to run it; empty if nothing."""


AnySystem = TypeVar("AnySystem", bound=Candidate)
Running = TypeVar("Running")


class Stage:
    """Which systems take part, and why the others do not."""

    def __init__(self, case: str, options: Options) -> None:
        self.case = case
        self.options = options
        self.missing: dict[str, str] = {}

    def tell(self, what: str) -> None:
        self.options.progress(f"{self.case}: {what}")

    @contextmanager
    def set(
        self,
        systems: Sequence[AnySystem],
        start: Callable[[AnySystem, tuple[LabHost, ...]], AbstractContextManager[Running]],
        each: int = 1,
    ) -> Iterator[dict[str, Running]]:
        """Start them, each on so many hosts. One that does not start is a missing one."""
        self.missing |= {system.name: why for system in systems if (why := system.missing())}
        present = [system for system in systems if system.name not in self.missing]
        running: dict[str, Running] = {}
        with ExitStack() as stack:
            hosts = stack.enter_context(
                lab.passing("bench", hosts=each * max(1, len(present)))
            ).hosts
            for number, system in enumerate(present):
                self.tell(f"setting up {system.name}")
                try:
                    own = hosts[number * each : (number + 1) * each]
                    running[system.name] = stack.enter_context(start(system, own))
                except (SeawayError, OSError, subprocess.SubprocessError) as error:
                    self.missing[system.name] = f"it did not start: {_told(error)}"
            yield running


def _told(error: BaseException) -> str:
    return "; ".join([str(error), *getattr(error, "__notes__", [])])
