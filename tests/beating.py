"""Beats between the containers of all hosts of a lab (beats.py), as long as a block runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.course import Loss, Pair
from tests.waiting import wait

from seaway.bench.systems import netns_path
from seaway.lab import LabHost

CONTAINER = "beating"
_SCRIPT = str(Path(__file__).with_name("beats.py"))


class Beaten(NamedTuple):
    """What came of it."""

    sent: int
    slowest: float  # seconds that one took that came back
    losses: list[Loss]

    @property
    def lost(self) -> int:
        return sum(loss.beats for loss in self.losses)


class Heart:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def silent(self) -> list[Pair]:
        """Of which no beat came back lately."""
        return [(one, other) for one, other in self._ask("silent")]

    def is_heard(self, within: float = 30.0) -> bool:
        """Whether, in time, all hear each other."""
        return wait(lambda: not self.silent(), within)

    def end(self) -> Beaten:
        found = self._ask("end")
        losses = [
            Loss((flow["pair"][0], flow["pair"][1]), first, last, int(beats))
            for flow in found
            for first, last, beats in flow["losses"]
        ]
        sent = sum(flow["sent"] for flow in found)
        return Beaten(sent, max(flow["slowest"] for flow in found), losses)

    def _ask(self, what: str) -> list:
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the heart has stopped"
        return json.loads(answer)


@contextmanager
def beating(hosts: Sequence[LabHost], addresses: Mapping[str, Sequence[str]]) -> Iterator[Heart]:
    """`addresses`: of the container of each host, IPv4 first."""
    pipe = subprocess.PIPE
    command = [sys.executable, _SCRIPT]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            for host in hosts:
                words = (host.name, netns_path(host, CONTAINER), *addresses[host.name])
                process.stdin.write(f"{' '.join(words)}\n")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            yield Heart(process)
        finally:
            process.kill()
