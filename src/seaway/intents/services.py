"""Services and slices: made, changed, removed, and why each backend is chosen or is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from seaway import admission, vips
from seaway.desired.transport.services import Judged, judged
from seaway.errors import Conflict, Invalid, NotFound
from seaway.facts import View
from seaway.intents.desk import Desk
from seaway.model import service_forms
from seaway.model.addresses import Address, unmapped
from seaway.model.facts import Endpoint, Network, Value
from seaway.model.reports import BackendReport, Outcome, ServiceDetail, ServiceReport
from seaway.model.requests import (
    EndpointChange,
    NewService,
    Objects,
    Refs,
    ServiceChange,
    request_of,
)
from seaway.model.services import EndpointSlice, Service, Vip

_MOST = 40  # records of one commit: etcd takes 128 operations, and each rests on its network too
_TOLD = 8  # of a long list


@dataclass
class _Step:
    """What one object asks of the records; it rests on the record of its network."""

    outcome: Outcome
    network: Network
    put: list[Value] = field(default_factory=list)
    delete: list[Value] = field(default_factory=list)


class ServiceIntents(Desk):
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

    def slice_of(self, ref: str) -> EndpointSlice:
        found = self.facts.get(EndpointSlice, ref)
        if found is None:
            raise NotFound(f"there is no slice '{ref[:_MOST]}'", "see: seaway get")
        return found

    def _service(self, ref: str) -> Service:
        """By NETWORK/NAME; by its name alone where no other network has one of that name."""
        network, _, name = ref.rpartition("/")
        found = [
            service
            for service in self.facts.where(Service, "name", name)
            if network in ("", service.network)
        ]
        if len(found) > 1:
            several = ", ".join(f"{s.network}/{s.name}" for s in found[:_TOLD])
            raise Conflict(f"'{ref}' means several services: {several}", "give NETWORK/NAME")
        if not found:
            raise NotFound(f"there is no service '{ref}'", "see: seaway service ls")
        return found[0]

    def _service_report(self, service: Service) -> ServiceReport:
        found = judged(service, View(self.facts), first=True)
        return ServiceReport(
            service=service,
            known=len(found),
            chosen=sum(not one.lost for one in found),
            warnings=tuple(self._warnings(service, found)),
        )

    def _warnings(self, service: Service, found: Sequence[Judged]) -> Iterator[str]:
        """What is allowed, and perhaps not meant."""
        if service.external_name:
            return
        slices = self.facts.count(EndpointSlice, "service", (service.network, service.name))
        if service.selector and slices:
            yield f"{slices} slices name it, and count for nothing: it has a selector"
        if not found:
            labels = ", ".join(f"{k}={v}" for k, v in service.selector.items())
            yield f"no endpoint has {labels}" if labels else "no slice names a backend"
        elif all(one.lost for one in found):
            yield f"none of its {len(found)} backends is chosen, e.g.: {found[0].lost}"

    async def create_service(self, new: NewService) -> ServiceReport:
        service_forms.check_service(new)
        if self.facts.get(Service, f"{new.network}/{new.name}"):
            raise _there_already(new)
        await self._apply_objects(Objects(services=(new,)), fresh=True)
        return self._service_report(self._service(f"{new.network}/{new.name}"))

    async def update_service(self, ref: str, change: ServiceChange) -> ServiceReport:
        given = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
        if not given:
            raise Invalid("nothing to change was given", "expected e.g. selector or ports")
        service = await self.decide(lambda: self._update_service(ref, given))
        await self.convergence.settle()
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
        await self.decide(lambda: self._remove_service(ref))
        await self.convergence.settle()

    async def _remove_service(self, ref: str) -> None:
        service = self._service(ref)
        await self.records.commit((), [service, *self._vips(service.addresses)])

    def _vips(self, addresses: Iterable[Address]) -> list[Vip]:
        found = (self.facts.get(Vip, str(address)) for address in addresses)
        return [vip for vip in found if vip]

    async def apply(self, objects: Objects) -> list[Outcome]:
        """Make or change all of them. All is checked before anything is recorded."""
        for new in objects.services:
            service_forms.check_service(new)
        for slice_ in objects.slices:
            service_forms.check_slice(slice_)
        _refuse_twice(objects)
        return await self._apply_objects(objects)

    async def _apply_objects(self, objects: Objects, *, fresh: bool = False) -> list[Outcome]:
        done: dict[tuple[str, str], Outcome] = {}
        await self.decide(lambda: self._record_objects(objects, done, fresh=fresh))
        await self.convergence.settle()
        return [self._warned(outcome) for outcome in done.values()]

    async def _record_objects(
        self, objects: Objects, done: dict[tuple[str, str], Outcome], *, fresh: bool
    ) -> None:
        """`done` keeps what was done before somebody else was faster."""
        taken: set[Address] = set()
        steps = [self._service_step(new, taken, fresh=fresh) for new in objects.services]
        steps += [self._slice_step(slice_) for slice_ in objects.slices]
        for part in _parts(steps):
            put = [record for step in part for record in step.put]
            delete = [record for step in part for record in step.delete]
            if put or delete:
                await self.records.commit(
                    put, delete, {s.network.name: s.network for s in part}.values()
                )
            for step in part:
                done.setdefault((step.outcome.kind, step.outcome.name), step.outcome)

    def _service_step(self, new: NewService, taken: set[Address], *, fresh: bool) -> _Step:
        network = self._open_network(new.network)
        ref = f"{new.network}/{new.name}"
        old = self.facts.get(Service, ref)
        if old and fresh:
            raise _there_already(new)
        had = old.addresses if old else ()
        addresses = vips.allot(self.facts, network, new, had, taken)
        taken.update(addresses)
        service = _service_of(new, addresses)
        if service == old:
            return _Step(Outcome(kind="Service", name=ref, did="unchanged"), network)
        return _Step(
            Outcome(kind="Service", name=ref, did="changed" if old else "created"),
            network,
            [service, *(_vip(service, a) for a in addresses if a not in had)],
            [*self._vips(a for a in had if a not in addresses)],
        )

    def _slice_step(self, new: EndpointSlice) -> _Step:
        network = self._open_network(new.network)
        vips.check_backends(self.facts, new)
        ref = f"{new.network}/{new.name}"
        old = self.facts.get(EndpointSlice, ref)
        if old == new:
            return _Step(Outcome(kind="EndpointSlice", name=ref, did="unchanged"), network)
        did = "changed" if old else "created"
        return _Step(Outcome(kind="EndpointSlice", name=ref, did=did), network, [new])

    def _open_network(self, name: str) -> Network:
        network = admission.network(self.facts, name)
        if network.leaving:
            raise Conflict(f"network '{name}' is being removed", "use another one")
        return network

    def _warned(self, outcome: Outcome) -> Outcome:
        service = self.facts.get(Service, outcome.name) if outcome.kind == "Service" else None
        if service is None:
            return outcome
        return replace(outcome, warnings=self._service_report(service).warnings)

    async def remove_objects(self, refs: Refs) -> list[Outcome]:
        """All of them or none."""
        outcomes = await self.decide(lambda: self._remove_objects(refs))
        await self.convergence.settle()
        return outcomes

    async def _remove_objects(self, refs: Refs) -> list[Outcome]:
        services = [self._service(ref) for ref in dict.fromkeys(refs.services)]
        slices = [self.slice_of(ref) for ref in dict.fromkeys(refs.slices)]
        gone = [("Service", s) for s in services] + [("EndpointSlice", s) for s in slices]
        steps = [
            _Step(
                Outcome(kind=kind, name=f"{one.network}/{one.name}", did="removed"),
                admission.network(self.facts, one.network),
                delete=[one, *(self._vips(one.addresses) if isinstance(one, Service) else ())],
            )
            for kind, one in gone
        ]
        for part in _parts(steps):
            await self.records.commit((), [record for step in part for record in step.delete])
        return [step.outcome for step in steps]


def _service_of(new: NewService, addresses: tuple[Address, ...]) -> Service:
    given = msgspec.structs.asdict(new)
    del given["families"], given["single"]
    return Service(**given | {"addresses": addresses})


def _vip(service: Service, address: Address) -> Vip:
    return Vip(address=address, network=service.network, service=service.name)


def _there_already(new: NewService) -> Conflict:
    return Conflict(
        f"there is a service '{new.name}' in network '{new.network}' already",
        "choose another name, or change it: seaway service update",
    )


def _refuse_twice(objects: Objects) -> None:
    for kind, named in (("Service", objects.services), ("EndpointSlice", objects.slices)):
        seen = set()
        for one in named:
            ref = f"{one.network}/{one.name}"
            if ref in seen:
                raise Invalid(f"{kind} '{ref}' is given twice", "give it once")
            seen.add(ref)


def _parts(steps: Iterable[_Step]) -> Iterator[list[_Step]]:
    """What is committed at once."""
    part: list[_Step] = []
    size = 0
    for step in steps:
        records = len(step.put) + len(step.delete)
        if part and size + records > _MOST:
            yield part
            part, size = [], 0
        part.append(step)
        size += records
    if part:
        yield part


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
