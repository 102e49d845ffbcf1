"""Services and slices: made, changed, removed, and why each backend is chosen or is not."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from seaway import admission
from seaway.desired.transport.services import Judged, judged
from seaway.errors import Invalid
from seaway.facts import View
from seaway.intents.objects import ObjectIntents, keys_of, there_already
from seaway.model import service_forms
from seaway.model.addresses import unmapped
from seaway.model.facts import Endpoint
from seaway.model.reports import BackendReport, ServiceDetail, ServiceReport
from seaway.model.requests import (
    EndpointChange,
    NewService,
    Objects,
    ServiceChange,
    request_of,
)
from seaway.model.services import EndpointSlice, Service


class ServiceIntents(ObjectIntents):
    def services(self, network: str | None = None) -> list[ServiceReport]:
        if network is not None:
            admission.network(self.facts, network)
            found = self.facts.where(Service, "network", network)
        else:
            found = self.facts.all(Service)
        return [self._service_report(service) for service in found]

    def service(self, ref: str) -> ServiceDetail:
        """With each backend, and why it is chosen or is not."""
        service = self._service(ref)
        backends = tuple(_backend(one) for one in judged(service, View(self.facts)))
        report = self._service_report(service)
        return ServiceDetail(**msgspec.structs.asdict(report), backends=backends)

    def slices(self, network: str | None = None) -> list[EndpointSlice]:
        if network is not None:
            admission.network(self.facts, network)
            return self.facts.where(EndpointSlice, "network", network)
        return self.facts.all(EndpointSlice)

    async def create_service(self, new: NewService) -> ServiceReport:
        service_forms.check_service(new)
        if self.facts.get(Service, f"{new.network}/{new.name}"):
            raise there_already(new)
        await self._apply_objects(Objects(services=(new,)), fresh=True)
        return self._service_report(self._service(f"{new.network}/{new.name}"))

    async def update_service(self, ref: str, change: ServiceChange) -> ServiceReport:
        given = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
        if not given:
            raise Invalid("nothing to change was given", "expected e.g. selector or ports")
        service = await self.decide(lambda: self._update_service(ref, given))
        await self.convergence.settle(keys_of(service))
        return self._service_report(service)

    async def _update_service(self, ref: str, given: dict[str, object]) -> Service:
        service: Service = replace(self._service(ref), **given)
        service_forms.check_service(request_of(service))
        await self.records.commit([service])
        return service

    async def update_endpoint(self, ref: str, change: EndpointChange) -> Endpoint:
        """What services ask of one of this host: all hosts choose anew."""
        given = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
        if not given:
            raise Invalid("nothing to change was given", "expected e.g. ready or weight")
        endpoint = await self.decide(lambda: self._update_endpoint(ref, given))
        await self.convergence.settle()
        return endpoint

    async def _update_endpoint(self, ref: str, given: dict[str, object]) -> Endpoint:
        endpoint: Endpoint = replace(admission.find_endpoint(self.facts, ref), **given)
        service_forms.check_weight(endpoint.weight)
        service_forms.check_port_names(endpoint.port_names)
        await self.records.commit([endpoint])
        return endpoint

    async def remove_service(self, ref: str) -> None:
        """Its addresses are free then; what its slices name stays."""
        service = await self.decide(lambda: self._remove_service(ref))
        await self.convergence.settle(keys_of(service))

    async def _remove_service(self, ref: str) -> Service:
        service = self._service(ref)
        await self.records.commit((), [service, *self._vips(service.addresses)])
        return service


def _backend(one: Judged) -> BackendReport:
    candidate, port = one.candidate, one.port
    octets = candidate.address(one.family)
    return BackendReport(
        port=f"{port.port}/{port.protocol}" if port else "",
        address=unmapped(octets) if octets else None,
        target=candidate.port(port) if port else 0,
        name=candidate.name,
        host=candidate.host,
        weight=candidate.weight,
        chosen=not one.lost,
        why=one.lost or one.why,
    )
