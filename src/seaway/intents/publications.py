"""Published ports: of endpoints that are there, and what stands in their way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from msgspec.structs import replace

from seaway import admission
from seaway.desired.network.networks import TABLE
from seaway.errors import Invalid, NotFound, SystemFailed
from seaway.intents.addresses import AddressIntents
from seaway.model.facts import Endpoint, Publication
from seaway.model.publications import HeldPort
from seaway.model.requests import Publications

_TOLD = 3  # of a long list


class PublicationIntents(AddressIntents):
    async def publish(self, ref: str, request: Publications) -> Endpoint:
        ports = _some(request)
        container = admission.find_endpoint(self.facts, ref).container
        held = await self._held(ports, container)
        async with self.deciding:
            old = admission.find_endpoint(self.facts, ref)
            admission.publications(self.facts, old, ports, held)
            endpoint = replace(old, ports=old.ports + ports)
            await self.records.commit([endpoint])
        await self.convergence.settle(self.keys_of(endpoint))
        if failure := self._failure(endpoint):
            with suppress(NotFound, SystemFailed):  # detached meanwhile; or told by status
                await self.unpublish(endpoint.id, request)
            raise _refused(endpoint, failure, "see: seaway doctor")
        return endpoint

    async def unpublish(self, ref: str, request: Publications) -> Endpoint:
        ports = _some(request)
        async with self.deciding:
            old = admission.find_endpoint(self.facts, ref)
            admission.published(old, ports)
            gone = set(ports)
            endpoint = replace(old, ports=tuple(p for p in old.ports if p not in gone))
            await self.records.commit([endpoint, *self._left_ports(gone)])
        await self.convergence.settle(self.keys_of(old))
        if failure := self._failure(old):
            raise _refused(old, failure, "it is tried again every second; see: seaway status")
        return endpoint

    def published(self, container: str) -> frozenset[Publication]:
        """By whichever of its interfaces."""
        found = self.facts.where(Endpoint, "container", container)
        return frozenset(port for endpoint in found for port in endpoint.ports)

    async def _held(self, ports: Iterable[Publication], container: str) -> list[HeldPort]:
        return await self.held({(port.protocol, port.host_port) for port in ports}, container)

    def _failure(self, endpoint: Endpoint) -> OSError | None:
        if not self.convergence.failing:
            return None
        failures = (self.convergence.failure(t, k) for t, k in self.keys_of(endpoint))
        return next((f for f in failures if f), None)

    async def _differing(self, endpoint: Endpoint) -> list[str]:
        """What the host should have for it, and has not. It is put back."""
        found = await self.convergence.check(dict.fromkeys((*self.keys_of(endpoint), TABLE)))
        by_target: dict[str, list[str]] = defaultdict(list)
        for target, key in found:
            by_target[target].append(str(key))
        return [
            f"{len(keys)} of the host's {target} missing or changed: {', '.join(keys[:_TOLD])}"
            for target, keys in by_target.items()
        ]


def _refused(endpoint: Endpoint, failure: OSError, hint: str) -> SystemFailed:
    return SystemFailed(f"the kernel refused ports of endpoint '{endpoint.name}': {failure}", hint)


def _some(request: Publications) -> tuple[Publication, ...]:
    ports = admission.publications_form(request.ports)
    if not ports:
        raise Invalid("no port was given", "expected at least one, e.g. 8080:80")
    return ports
