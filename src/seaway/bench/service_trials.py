"""Have services of facts in our maps, and replace one backend: milliseconds.

Runs in a lab host, over a bpffs and maps of its own. All hosts, endpoints and services are facts
before the clock runs; it stops at the last entry of the maps. Reads names of trials, one a line.

    python -m seaway.bench.service_trials SERVICES
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from seaway.bench import trials
from seaway.bench.many_services import (
    backend_fact,
    hosts,
    replaced,
    service_fact,
    simulated,
)
from seaway.bpf.objects import DataPlane
from seaway.bpf.services import ServiceTarget
from seaway.desired.indexes import INDEXES
from seaway.desired.transport.services import SERVICES
from seaway.errors import SystemFailed
from seaway.facts import Facts
from seaway.model.facts import Value
from seaway.model.services import Service
from seaway.reconcile import Reconciler
from seaway.records import fact_key

PINS: Final = Path("/sys/fs/bpf/seaway-bench")  # beside an agent's
_MILLISECONDS: Final = 1000


class Programmed:
    """Of so many services, by the derivation and the reconciler that an agent has."""

    def __init__(self, count: int) -> None:
        self._facts = Facts((SERVICES,), INDEXES)
        self._services = simulated(count)
        self._reconciler = Reconciler(
            ServiceTarget(DataPlane.open(trials.settings(), PINS), lambda *_: None)
        )
        for key, fact in hosts():
            self._facts.change(type(fact), key, fact)
        for service in self._services:
            for place in service.backends:
                self._learn(backend_fact(service, place))
        one = self._services[count // 2]
        self._ways = [(one, replaced(one)), (replaced(one), one)]
        self.program_all()

    def program_all(self) -> float:
        """Where there is nothing."""
        facts = [service_fact(service) for service in self._services]
        for fact in facts:
            self._facts.change(Service, fact_key(fact), None)
        self._write()
        for fact in facts:
            self._learn(fact)
        return self._write()

    def one_change(self) -> float:
        """One endpoint goes and another comes, there or the next time back; with the time to learn
        of both.
        """
        gone, new = (backend_fact(one, one.backends[-1]) for one in self._ways[0])
        self._ways.reverse()
        start = time.perf_counter()
        self._facts.change(type(gone), fact_key(gone), None)
        self._learn(new)
        self._write()
        return (time.perf_counter() - start) * _MILLISECONDS

    def _learn(self, fact: Value) -> None:
        self._facts.change(type(fact), fact_key(fact), fact)

    def _write(self) -> float:
        """What is stale, into the maps. Milliseconds."""
        start = time.perf_counter()
        self._reconciler.want(self._facts.derive().get(SERVICES.name, {}))
        self._reconciler.put()
        if gone := self._reconciler.gone():
            self._reconciler.deleted(gone, self._reconciler.delete(gone))
        taken = time.perf_counter() - start
        for error in self._reconciler.failed.values():
            raise SystemFailed(f"services: {error}")
        return taken * _MILLISECONDS


TRIALS: Final[Mapping[str, Callable[[Programmed], float]]] = {
    "program_all": Programmed.program_all,
    "one_change": Programmed.one_change,
}


def main() -> None:
    # Standard output is for figures; of a failure we say more.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    programmed = Programmed(int(sys.argv[1]))
    for line in sys.stdin:
        print(TRIALS[line.strip()](programmed), flush=True)


if __name__ == "__main__":
    main()
