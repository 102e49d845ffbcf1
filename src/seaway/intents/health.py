"""How the agent and its data plane are."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

from seaway import __version__
from seaway.errors import Limited, NotReady
from seaway.intents.desk import Desk
from seaway.model.facts import Cluster, Endpoint, Network, Peer
from seaway.model.reports import Drops, Failure, Refused, Status


class HealthIntents(Desk):
    def ready(self) -> None:
        """Nothing is changed until all that was there is known, and as it should be."""
        if not self.serving:
            raise NotReady("the agent is starting", "try again in a second")

    def healthy(self) -> None:
        """What the kernel refuses may cut off containers that are there."""
        if failures := self.convergence.failures():
            first = failures[0]
            raise Limited(
                f"{len(failures)} kernel objects cannot be written, the first of them "
                f"{first.target} {first.key}: {first.error}",
                "tried again until they can; see: seaway status",
            )

    def status(self) -> Status:
        cluster = self.facts.get(Cluster, "cluster")
        attach, layout = self.surroundings.data_plane()
        return Status(
            version=__version__,
            host=self.host.name,
            cluster=cluster.id if cluster else "",
            addresses=self.here.addresses,
            ready=self.serving,
            pid=os.getpid(),
            uptime=round(time.monotonic() - self.started, 3),
            store=self._store(),
            attach=attach,
            layout=layout,
            networks=len(self.facts.all(Network)),
            endpoints=len(self.facts.all(Endpoint)),
            drops=self._drops(),
            drift_total=self.convergence.drift_total,
            drift=tuple(self.convergence.drift),
            failures=(*self.convergence.failures(), *self._troubles()),
            hosts=1 + self.facts.number(Peer),
            certificate_ends=self.trust.certificate().ends if self.trust.whole else 0.0,
            refused=tuple(
                Refused(why=why, times=n) for why, n in sorted(self.trust.refusals.counts.items())
            ),
            store_lost=self._lost(),
            limited=self.surroundings.limited(),
            unsent=self.remembering.unsent if self.remembering and not self.records.removed else 0,
        )

    def _lost(self) -> str:
        lost = self.remembering.lost if self.remembering else None
        return lost.message if lost else ""

    def _store(self) -> str:
        """Where the records lie, as this host sees it."""
        if self.member.etcd:
            return "etcd"
        return "another host" if self.member.through else "sqlite"

    def _troubles(self) -> Iterator[Failure]:
        for what, why in self.troubles.items():
            yield Failure(target=what, key=self.host.name, error=why)
        if self.records.removed:
            why = (
                "this host was removed from it: what runs here goes on until it is detached; "
                "seaway leave --force, then join anew"
            )
            yield Failure(target="cluster", key=self.host.name, error=why)

    def _drops(self) -> tuple[Drops, ...]:
        by_reason: Counter[str] = Counter()
        for (_, reason), packets in self.surroundings.drops().items():
            by_reason[reason] += packets
        return tuple(Drops(reason=r, packets=n) for r, n in sorted(by_reason.items()))
