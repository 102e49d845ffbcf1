"""Calling CNI plugins in a lab host, through the small runtime that runs there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from seaway.errors import SystemFailed
from seaway.lab import LabHost

CONFIGURATION = Path("/run/bench-plugin.json")
PARALLEL = 16  # while filling
PATIENCE = 300.0  # seconds for making many namespaces


class Caller:
    """One plugin on one lab host, and the namespaces that it was called for."""

    def __init__(self, host: LabHost, runtime: subprocess.Popen[str]) -> None:
        self._host = host
        self._runtime = runtime
        self._present: list[str] = []
        self.spares: list[str] = []

    def fill(self, endpoints: int, spares: int) -> None:
        """Have this many endpoints attached, and so many more namespaces ready."""
        if not self.spares:
            self.spares = self._namespaces("spare", range(spares))
        names = self._namespaces("present", range(len(self._present), endpoints))
        if names:
            self.call("ADD", PARALLEL, names)
        self._present += names

    def call(self, command: str, parallel: int, names: list[str]) -> tuple[float, ...]:
        """The milliseconds that each call took."""
        pipes = self._runtime.stdin, self._runtime.stdout
        if pipes[0] is None or pipes[1] is None:
            raise SystemFailed("the runtime has no pipes")
        pipes[0].write(f"{command} {parallel} {' '.join(names)}\n")
        pipes[0].flush()
        answer = json.loads(pipes[1].readline() or '{"error": "the runtime ended"}')
        if "error" in answer:
            raise SystemFailed(str(answer["error"]))
        return tuple(answer["times"])

    def _namespaces(self, kind: str, numbers: range) -> list[str]:
        names = [f"{kind}{number}" for number in numbers]
        batch = "".join(f"netns add {name}\n" for name in names)
        self._host.run("ip", "-batch", "-", stdin=batch, timeout=PATIENCE)
        return names


class Attacher(Protocol):
    name: str

    def missing(self) -> str:
        """What this machine lacks to run it; empty if nothing."""

    def attaching(self, host: LabHost) -> AbstractContextManager[Caller]:
        """Ready to be called on a host of its own."""


@contextmanager
def calling(host: LabHost, program: Path, config: dict[str, Any]) -> Iterator[Caller]:
    host.write(CONFIGURATION, json.dumps(config))
    command = (sys.executable, "-m", "seaway.bench.runtime", str(program), str(CONFIGURATION))
    with host.popen(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runtime:
        try:
            yield Caller(host, runtime)
        finally:
            runtime.kill()
