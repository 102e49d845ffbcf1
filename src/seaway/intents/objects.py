"""What a file of manifests asks for: services and slices, made, changed and removed together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
from msgspec.structs import replace

from seaway import admission, node_ports, vips
from seaway.converge import Key
from seaway.desired.network.networks import TABLE
from seaway.desired.transport.bandwidth import limits_backends
from seaway.desired.transport.limits import numbers_of
from seaway.desired.transport.naming import told_of
from seaway.desired.transport.node_ports import health_keys_of, is_left_out, is_published
from seaway.desired.transport.services import Judged, judged, places_of
from seaway.errors import Conflict, Invalid, NotFound
from seaway.facts import Facts, View
from seaway.intents.desk import Desk
from seaway.model import service_forms
from seaway.model.addresses import Address
from seaway.model.bandwidth import check_ways
from seaway.model.facts import Endpoint, Network, Value
from seaway.model.node_ports import HostPort, node_ports_of, records_of
from seaway.model.publications import HeldPort
from seaway.model.reports import Applied, ServiceReport
from seaway.model.requests import NewService, Objects, Refs
from seaway.model.services import EndpointSlice, Service, Vip
from seaway.names import link_name

_MOST = 40  # records of one commit: etcd takes 128 operations, and each rests on its network too
_TOLD = 8  # of a long list


@dataclass
class Done:
    """What was done already, should somebody else have been faster with the rest."""

    applied: dict[tuple[str, str], Applied] = field(default_factory=dict)  # by kind and reference
    services: dict[str, Service] = field(default_factory=dict)  # that are otherwise by it, or gone

    def note(self, step: _Step, facts: Facts) -> None:
        outcome = step.outcome
        self.applied.setdefault((outcome.kind, outcome.name), outcome)
        for record in (*step.put, *step.delete):
            found: Service | None = None
            if isinstance(record, Service):
                found = record
            elif isinstance(record, EndpointSlice):
                found = facts.get(Service, f"{record.network}/{record.service}")
            if found:
                self.services[f"{found.network}/{found.name}"] = found


def keys_of(service: Service) -> list[Key]:
    """What of this host's kernel, and of its resolver's file, is there for it."""
    keys = [*told_of(service), *(("services", place) for place in places_of(service))]
    keys += [("limits", number) for number in numbers_of(service)]
    keys += [("health_ports", number) for number in health_keys_of(service)]
    return keys + ([TABLE] if is_published(service) else [])  # nobody leaves from its port


@dataclass
class _Step:
    """What one object asks of the records, and on which others that rests."""

    outcome: Applied
    rests: list[Value] = field(default_factory=list)
    put: list[Value] = field(default_factory=list)
    delete: list[Value] = field(default_factory=list)


@dataclass
class _Taken:
    """By services that are about to be recorded, or by others than facts tell."""

    ports: node_ports.Taken
    addresses: set[Address] = field(default_factory=set)


class ObjectIntents(Desk):
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

    def _check_bandwidth(self, service: Service) -> None:
        """Seen against the packets of its network."""
        network = self.facts.get(Network, service.network)
        check_ways(service, network.mtu if network else 0)

    def _written_for(self, services: Iterable[Service]) -> list[Key]:
        """What is written, here, because these are otherwise: with the shapers of backends."""
        changed = list(services)
        networks = {service.network for service in changed if limits_backends(service)}
        backends = (e for name in networks for e in self.facts.where(Endpoint, "network", name))
        keys: list[Key] = [("shapers", link_name(endpoint.id)) for endpoint in backends]
        return keys + [key for service in changed for key in keys_of(service)]

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
            if len(found) == 1:
                yield f"its one backend is not chosen: {found[0].lost}"
            else:
                yield f"none of its {len(found)} backends is chosen, e.g.: {found[0].lost}"
        yield from self._published_here(service)

    def _published_here(self, service: Service) -> Iterator[str]:
        """Ports that this host leads to nobody, or has for somebody else by now."""
        if is_left_out(service, View(self.facts)):
            yield "its external policy is Local, and no backend of this host is ready"
        for protocol, number in node_ports_of(service):
            for claim in self.facts.parts(Endpoint, "port", (protocol, number)):
                yield f"port {number}/{protocol} of this host is taken by {claim.owner} too"
        for number in health_keys_of(service):
            if failure := self.convergence.failure("health_ports", number):
                yield f"this host does not answer at its health port {number}: {failure.strerror}"

    def _records(self, service: Service) -> list[Value]:
        """All that goes with it."""
        return [service, *self._vips(service.addresses), *records_of(service)]

    def _vips(self, addresses: Iterable[Address]) -> list[Vip]:
        found = (self.facts.get(Vip, str(address)) for address in addresses)
        return [vip for vip in found if vip]

    async def apply(self, objects: Objects) -> list[Applied]:
        """Make or change all of them. All is checked before anything is recorded."""
        for new in objects.services:
            service_forms.check_service(new)
        for slice_ in objects.slices:
            service_forms.check_slice(slice_)
        _refuse_twice(objects)
        return await self._apply_objects(objects)

    async def _apply_objects(self, objects: Objects, *, fresh: bool = False) -> list[Applied]:
        done, held = Done(), await self._held_of(*objects.services)
        await self.decide(partial(self._record_objects, objects, done, held, fresh=fresh))
        await self.convergence.settle(self._written_for(done.services.values()))
        return [self._warned(outcome) for outcome in done.applied.values()]

    async def _held_of(self, *services: NewService) -> list[HeldPort]:
        """By processes of this host, of the ports that these services ask for."""
        ports: set[HostPort] = set()
        for new in services:
            old = self.facts.get(Service, f"{new.network}/{new.name}")
            ports |= node_ports.may_take(new, old)
        return await self.held(ports)

    async def _record_objects(
        self, objects: Objects, done: Done, held: Sequence[HeldPort], *, fresh: bool
    ) -> None:
        taken = _Taken(ports=node_ports.Taken(held))
        steps = [self._service_step(new, taken, fresh=fresh) for new in objects.services]
        steps += [self._slice_step(slice_) for slice_ in objects.slices]
        await self._commit_steps(steps, done)

    def _service_step(self, new: NewService, taken: _Taken, *, fresh: bool) -> _Step:
        network = self._open_network(new.network)
        old = self.facts.get(Service, f"{new.network}/{new.name}")
        if old and fresh:
            raise there_already(new)
        had = old.addresses if old else ()
        addresses = vips.allot(self.facts, network, new, had, taken.addresses)
        taken.addresses.update(addresses)
        service = node_ports.allot(self.facts, _service_of(new, addresses), old, taken.ports)
        self._check_bandwidth(service)
        if service == old:
            return _Step(_outcome(new, "unchanged"))
        put, delete = changed_records(old, service)
        return _Step(
            _outcome(new, "changed" if old else "created"),
            [network],
            [*put, *(_vip(service, a) for a in addresses if a not in had)],
            [*delete, *self._vips(a for a in had if a not in addresses)],
        )

    def _slice_step(self, new: EndpointSlice) -> _Step:
        network = self._open_network(new.network)
        vips.check_backends(self.facts, new)
        old = self.facts.get(EndpointSlice, f"{new.network}/{new.name}")
        if old == new:
            return _Step(_outcome(new, "unchanged"))
        return _Step(_outcome(new, "changed" if old else "created"), [network], [new])

    def _open_network(self, name: str) -> Network:
        network = admission.network(self.facts, name)
        if network.leaving:
            raise Conflict(f"network '{name}' is being removed", "use another one")
        return network

    def _warned(self, outcome: Applied) -> Applied:
        service = self.facts.get(Service, outcome.name) if outcome.kind == "Service" else None
        if service is None:
            return outcome
        return replace(outcome, warnings=self._service_report(service).warnings)

    async def remove_objects(self, refs: Refs) -> list[Applied]:
        """All must be there."""
        done = Done()
        await self.decide(lambda: self._remove_objects(refs, done))
        await self.convergence.settle(self._written_for(done.services.values()))
        return list(done.applied.values())

    async def _remove_objects(self, refs: Refs, done: Done) -> None:
        gone = done.applied
        services = [self._service(ref) for ref in refs.services if ("Service", ref) not in gone]
        slices = [self.slice_of(r) for r in refs.slices if ("EndpointSlice", r) not in gone]
        steps = [_Step(_outcome(one, "removed"), delete=self._records(one)) for one in services]
        steps += [_Step(_outcome(one, "removed"), delete=[one]) for one in slices]
        await self._commit_steps(steps, done)

    async def _commit_steps(self, steps: Iterable[_Step], done: Done) -> None:
        """`done` keeps what was done before somebody else was faster."""
        for part in _parts(steps):
            put = [record for step in part for record in step.put]
            delete = [record for step in part for record in step.delete]
            if put or delete:
                await self.records.commit(put, delete, [r for step in part for r in step.rests])
            for step in part:
                done.note(step, self.facts)


def _outcome(one: NewService | Service | EndpointSlice, did: str) -> Applied:
    kind = "EndpointSlice" if isinstance(one, EndpointSlice) else "Service"
    return Applied(kind=kind, name=f"{one.network}/{one.name}", did=did)


def _service_of(new: NewService, addresses: tuple[Address, ...]) -> Service:
    given = msgspec.structs.asdict(new)
    del given["families"], given["single"]
    return Service(**given | {"addresses": addresses})


def changed_records(old: Service | None, new: Service) -> tuple[list[Value], list[Value]]:
    """What is to be put, and to be deleted, with the service itself: its node ports."""
    had, has = records_of(old) if old else [], records_of(new)
    return [new, *(r for r in has if r not in had)], [r for r in had if r not in has]


def _vip(service: Service, address: Address) -> Vip:
    return Vip(address=address, network=service.network, service=service.name)


def there_already(new: NewService) -> Conflict:
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
