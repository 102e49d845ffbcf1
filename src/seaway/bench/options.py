"""How a case is to be run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seaway.bench.rounds import ATTEMPTS, ENOUGH

QUICK_ROUNDS = 2
ROUNDS = 20


def _quiet(_: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Options:
    rounds: int = ROUNDS
    systems: tuple[str, ...] = ()  # empty: all
    metrics: tuple[str, ...] = ()  # empty: all
    family: int = 4  # same-host, cross-host, ingress: of the addresses
    flows: int = 1_000_000  # ingress: random ones in a round of new_flows
    endpoints: tuple[int, ...] = (1, 100, 1000)  # attach: present while it is measured
    parallel: tuple[int, ...] = (1, 16)  # attach: at a time
    hosts: tuple[int, ...] = (100, 1000, 5000)  # scale: in the cluster
    services: tuple[int, ...] = (1, 1000, 10_000)  # service: in the host's maps or rules
    progress: Callable[[str], None] = _quiet

    @property
    def sweeps(self) -> int:
        """How often a round is tried at most; where even all decide nothing, once will do."""
        return self.rounds * ATTEMPTS if self.rounds >= ENOUGH else self.rounds

    def wants_system(self, name: str) -> bool:
        return not self.systems or name in self.systems

    def wants_metric(self, name: str) -> bool:
        return not self.metrics or name in self.metrics
