"""What checks of this host's endpoints found, recorded for all hosts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Final

from seaway.desired.transport.checks import unasked
from seaway.facts import View
from seaway.intents.desk import Desk
from seaway.model.facts import Endpoint
from seaway.model.services import Health

_MOST: Final = 50  # records of one commit: etcd takes 128 operations, and each rests on itself

Failing = Mapping[str, Mapping[str, str]]  # why, by endpoint, and name of the service


class CheckIntents(Desk):
    def unasked(self, endpoint: Endpoint) -> list[Health]:
        """What is recorded with it as it is attached."""
        health = unasked(endpoint, View(self.facts))
        return [health] if health else []

    async def record_health(self, failing: Failing) -> None:
        """These endpoints of this host fail the checks of these services, and no others. Only what
        is otherwise than it was is written.
        """
        left = iter(failing.items())
        while part := dict(islice(left, _MOST)):
            await self.decide(partial(self._record_health, part))
        self.convergence.ask()

    async def _record_health(self, failing: Failing) -> None:
        put, delete = [], []
        for id_, services in failing.items():
            old = self.facts.get(Health, f"{self.host.name}/{id_}")
            new = self._health(id_, services)
            if new and new != old:
                put.append(new)
            elif old and not new:
                delete.append(old)
        if put or delete:
            await self.records.commit(put, delete)

    def _health(self, id_: str, services: Mapping[str, str]) -> Health | None:
        endpoint = self.facts.get(Endpoint, id_)
        if endpoint is None or not services:
            return None
        return Health(
            host=self.host.name,
            endpoint=id_,
            network=endpoint.network,
            failing=dict(services),
        )
