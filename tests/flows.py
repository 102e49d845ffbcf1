"""Established TCP connections with a steady exchange: what must not notice anything.

Every message is numbered and comes back; a connection that breaks, a wrong answer or a long
silence is a failure. UDP too, where every single packet is counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seaway.lab import LabHost

STALL = 20.0  # seconds that a busy machine may keep anybody waiting
_SCRIPT = str(Path(__file__).with_name("flow.py"))


class Place(NamedTuple):
    """Where one end is: a named namespace of the host, or (empty) the host itself.

    `address`: at which it is asked, and that may be another's.
    """

    netns: str
    address: str
    host: LabHost | None = None  # None: the one of all


@dataclass
class Flow:
    name: str
    process: subprocess.Popen[str]

    def end(self) -> dict[str, float]:
        """What it saw: messages, the longest silence, and for UDP what was lost."""
        told, _ = self.process.communicate("", timeout=120)
        assert 0 == self.process.returncode, f"{self.name}: {told}"
        found: dict[str, float] = json.loads(told)
        return found


def _python(host: LabHost, place: Place, *arguments: str) -> subprocess.Popen[str]:
    inside = ["nsenter", f"--net=/run/netns/{place.netns}"] if place.netns else []
    return host.popen(
        *inside,
        sys.executable,
        _SCRIPT,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@contextmanager
def flowing(
    host: LabHost, pairs: Sequence[tuple[Place, Place]], protocol: str = "tcp"
) -> Iterator[list[Flow]]:
    """A flow from the first to the second of each pair, as long as the block runs."""
    with ExitStack() as stack:
        flows = []
        for place in {server.netns: server for _, server in pairs}.values():
            server = _python(host, place, "serve", protocol)
            stack.callback(_kill, server)
            assert server.stdout is not None
            assert "ready\n" == server.stdout.readline()
        for client, server_place in pairs:
            process = _python(client.host or host, client, protocol, server_place.address)
            stack.callback(_kill, process)
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
            name = f"{client.netns or (client.host or host).name} to {server_place.netns or 'host'}"
            flows.append(Flow(f"{name} at {server_place.address}", process))
        yield flows


def assert_unharmed(flows: Sequence[Flow]) -> list[dict[str, float]]:
    seen = [flow.end() for flow in flows]
    for flow, what in zip(flows, seen, strict=True):
        assert what["messages"] > 10, flow.name
        assert what["silence"] < STALL, flow.name
    return seen


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
