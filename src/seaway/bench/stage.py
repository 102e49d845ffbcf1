"""Every system on lab hosts of its own, all at the same time; nothing is left afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
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
        needs: Callable[[AnySystem], int] = lambda _: 1,
    ) -> Iterator[dict[str, Running]]:
        """Start them, each on the hosts that it needs. One that does not start is a missing one."""
        self.missing |= {system.name: why for system in systems if (why := system.missing())}
        present = [system for system in systems if system.name not in self.missing]
        running: dict[str, Running] = {}
        with ExitStack() as stack:
            wanted = sum(map(needs, present))
            hosts = iter(stack.enter_context(lab.passing("bench", hosts=max(1, wanted))).hosts)
            for system in present:
                self.tell(f"setting up {system.name}")
                own = tuple(islice(hosts, needs(system)))
                try:
                    running[system.name] = stack.enter_context(start(system, own))
                except (SeawayError, OSError, subprocess.SubprocessError) as error:
                    self.missing[system.name] = f"it did not start: {_told(error)}"
            yield running


def _told(error: BaseException) -> str:
    return "; ".join([str(error), *getattr(error, "__notes__", [])])
