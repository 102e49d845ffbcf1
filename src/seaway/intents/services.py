"""Services and slices: made, changed, removed, and why each backend is chosen or is not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from seaway import admission, node_ports
from seaway.converge import Key
from seaway.desired.transport.backends import of_endpoint
from seaway.desired.transport.limits import service_number
from seaway.desired.transport.services import Judged, candidates, judged
from seaway.errors import Conflict, Invalid, NotFound, Unavailable
from seaway.facts import View
from seaway.intents.objects import ObjectIntents, changed_records, keys_of, there_already
from seaway.model import service_forms
from seaway.model.addresses import unmapped
from seaway.model.bandwidth import changed
from seaway.model.facts import Endpoint, Peer
from seaway.model.publications import HeldPort
from seaway.model.reports import (
    BackendDrain,
    BackendReport,
    ServiceDetail,
    ServiceReport,
    Serving,
)
from seaway.model.requests import (
    EndpointChange,
    NewService,
    Objects,
    ServiceChange,
    request_of,
)
from seaway.model.services import Distant, EndpointSlice, Service
from seaway.names import link_name

_TOLD = 5  # of a long list


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
        use = self.surroundings.use(service_number(service))
        return ServiceDetail(**msgspec.structs.asdict(report), backends=backends, use=use)

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
        held = await self._held_of(request_of(replace(self._service(ref), **given)))
        old, service = await self.decide(partial(self._update_service, ref, given, held))
        await self.convergence.settle(self._written_for([old, service]))
        return self._service_report(service)

    async def _update_service(
        self, ref: str, given: dict[str, object], held: Sequence[HeldPort]
    ) -> tuple[Service, Service]:
        """As it was, and as it is."""
        old = self._service(ref)
        service: Service = replace(old, **changed(given))
        service_forms.check_service(request_of(service))
        self._check_bandwidth(service)
        service = node_ports.allot(self.facts, service, old, node_ports.Taken(held))
        await self.records.commit(*changed_records(old, service))
        return old, service

    async def update_endpoint(self, ref: str, change: EndpointChange) -> Endpoint:
        """What services ask of one of this host: all hosts choose anew."""
        given = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
        if not given:
            raise Invalid("nothing to change was given", "expected e.g. ready or weight")
        endpoint = await self.decide(lambda: self._update_endpoint(ref, given))
        await self.convergence.settle(self._keys_about(endpoint))
        return endpoint

    async def _update_endpoint(self, ref: str, given: dict[str, object]) -> Endpoint:
        endpoint: Endpoint = replace(admission.find_endpoint(self.facts, ref), **changed(given))
        service_forms.check_weight(endpoint.weight)
        service_forms.check_port_names(endpoint.port_names)
        admission.flow_control(endpoint, endpoint.mtu)
        await self.records.commit([endpoint])
        return endpoint

    def _keys_about(self, endpoint: Endpoint) -> list[Key]:
        """What of this host's kernel may be otherwise by it: that of services that select it."""
        keys = [
            key
            for service in self.facts.where(Service, "network", endpoint.network)
            if service.selector and service.selector.items() <= endpoint.labels.items()
            for key in keys_of(service)
        ]
        return [*keys, ("shapers", link_name(endpoint.id))]

    # Drain

    async def drain_backend(self, ref: str, name: str, *, draining: bool) -> BackendDrain:
        """An endpoint gets no new connection of any service, and those that it has may end; or it
        gets them again. Its own host records it.
        """
        service = self._service(ref)
        backend = self._backend(service, name)
        if draining:
            self._refuse_stranger(service, backend)
        change = EndpointChange(draining=draining)
        if isinstance(backend, Distant):
            peer = self.facts.get(Peer, backend.host)
            if peer is None:
                raise Unavailable(f"host '{backend.host}' is not known", "see: seaway host ls")
            await self.others.ask(peer, "PATCH", f"/v1/endpoints/{backend.id}", change, Endpoint)
        else:
            await self.update_endpoint(backend.id, change)
        return await self.backend_drained(ref, name)

    async def backend_drained(self, ref: str, name: str) -> BackendDrain:
        """As every host says."""
        service = self._service(ref)
        backend = self._backend(service, name)
        path = (
            f"/v1/services/{service.network}%2F{service.name}/serving/{backend.host}%2F{backend.id}"
        )
        told = await self.ask_all(self.facts.all(Peer), path, Serving)
        told[self.host.name] = here = await self.connections_to(ref, name)
        answers = {n: answer for n, answer in told.items() if isinstance(answer, Serving)}
        unaware = {n for n, answer in answers.items() if not answer.draining}
        unaware |= {n for n, answer in told.items() if isinstance(answer, NotFound)}
        return BackendDrain(
            service=f"{service.network}/{service.name}",
            backend=backend.name,
            host=backend.host,
            draining=here.draining,
            connections=sum(answer.connections for answer in answers.values()),
            unheard=tuple(sorted(told.keys() - answers.keys() - unaware)),
            unaware=tuple(sorted(unaware)),
        )

    async def connections_to(self, ref: str, name: str) -> Serving:
        """What this host led to one backend; by whatever service, as it drains for all of them."""
        backend = of_endpoint(self._backend(self._service(ref), name))
        drains = backend.terminating and not backend.ready  # as known before it is counted
        return Serving(connections=await self.running(backend.octets), draining=drains)

    def _backend(self, service: Service, name: str) -> Endpoint | Distant:
        """Of all of its network, by name, id or HOST/ID: who has the name before who has the id."""
        everybody: list[Endpoint | Distant] = [*self.facts.all(Endpoint)]
        everybody += self.facts.all(Distant)
        able = [e for e in everybody if e.network == service.network]
        found = [e for e in able if name in (e.name, f"{e.host}/{e.id}")]
        found = found or [e for e in able if name == e.id]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(f"{e.host}/{e.id}" for e in found[:_TOLD])
            raise Conflict(f"'{name}' means several endpoints: {several}", "give HOST/ID")
        raise NotFound(
            f"network '{service.network}' has no endpoint '{name}'",
            f"see: seaway service inspect {service.network}/{service.name}",
        )

    def _refuse_stranger(self, service: Service, backend: Endpoint | Distant) -> None:
        """Who is mistyped would get no connection of services that nobody spoke of."""
        octets = of_endpoint(backend).octets
        if not any(octets & c.octets for c in candidates(service, View(self.facts))):
            raise Invalid(
                f"endpoint '{backend.name}' is no backend of service '{service.name}'",
                f"see: seaway service inspect {service.network}/{service.name}",
            )

    async def remove_service(self, ref: str) -> None:
        """Its addresses are free then; what its slices name stays."""
        service = await self.decide(lambda: self._remove_service(ref))
        await self.convergence.settle(self._written_for([service]))

    async def _remove_service(self, ref: str) -> Service:
        service = self._service(ref)
        await self.records.commit((), self._records(service))
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
