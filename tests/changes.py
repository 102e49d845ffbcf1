"""In place of a host's agent: how long a change takes to its map entries, and what a sweep costs.

The agent's own parts over the real kernel, without its tasks. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import sys
import time
from typing import NamedTuple

import structlog
from msgspec import structs

from seaway import agent, config
from seaway.agent import Agent
from seaway.cluster import membership, stores
from seaway.cluster.calls import Others
from seaway.model.facts import Endpoint
from seaway.trust.keeper import Keeper
from seaway.vigil import SILENT

CHANGES = 300
SWEEPS = 5


async def measure() -> dict[str, object]:
    others = Others(Keeper())
    opened = stores.opened(membership.load(), others.ask_at)
    wired = await agent._wire(config.load(), opened, others)
    wired.convergence.write()
    changes = [_change(wired, n) for n in range(CHANGES)]
    times, cpu = ([getattr(change, what) for change in changes] for what in Took._fields)
    sweeps = [_sweep(wired) for _ in range(SWEEPS)]
    await opened.own.close()
    await others.close()
    return {
        "p50": statistics.median(times),
        "p99": _p99(times),
        "cpu": _p99(cpu),
        "sweep": statistics.median(sweeps),
        "drift": {d.target: d.key for d in wired.convergence.drift},
    }


class Took(NamedTuple):
    """Milliseconds."""

    clock: float
    cpu: float


def _p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * len(times))]


def _change(wired: Agent, number: int) -> Took:
    """Another identity for one of them, until it stands in the maps."""
    endpoints = wired.intents.facts.all(Endpoint)
    one = endpoints[number % len(endpoints)]
    other = structs.replace(one, identity=one.identity + 1)
    start, used = time.perf_counter(), time.process_time()
    wired.intents.facts.change(Endpoint, one.id, other)
    wired.convergence.write()
    return Took((time.perf_counter() - start) * 1000, (time.process_time() - used) * 1000)


def _sweep(wired: Agent) -> float:
    """Milliseconds of CPU."""
    start = time.process_time()
    for target in SILENT:
        wired.convergence.audit(target)
    return (time.process_time() - start) * 1000


if __name__ == "__main__":
    level = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=level)
    sys.stdout.write(json.dumps(asyncio.run(measure())) + "\n")
