"""The hosts of a cluster: listed, drained, removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import structlog
from msgspec.structs import replace

from seaway.cluster import joining, membership, reclaiming
from seaway.desired.transport.backends import of_endpoint, of_slice
from seaway.errors import Conflict, Invalid, NotFound, SeawayError, Unavailable
from seaway.intents.voters import VoterIntents
from seaway.model.facts import Block, Cluster, Endpoint, Host, Path, Peer
from seaway.model.reports import DrainReport, HostReport, RelayReport
from seaway.model.requests import HostChange
from seaway.model.routing import Apart, Question
from seaway.model.seats import client_url
from seaway.model.service_forms import check_zone
from seaway.model.services import Distant, EndpointSlice
from seaway.records import as_host, parse, store_key
from seaway.store.base import Changed, Snapshot

_NAMED = 2  # hosts of a group

log = structlog.get_logger(__name__)

_TRIES = 20  # of a step that others are faster with
_TOLD = 5  # of a long list


@dataclass(frozen=True)
class _Known:
    """What the records say of all hosts, those of other hosts' endpoints too."""

    snapshot: Snapshot
    blocks: Mapping[str, str]  # by key: whose

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        blocks = {}
        for key, item in snapshot.items.items():
            if key.startswith("blocks/"):
                record = parse(key, item.value)
                assert isinstance(record, Block)
                blocks[key] = record.host
        return cls(snapshot, blocks)

    def endpoints(self, host: str) -> list[str]:
        return [key for key in self.snapshot.items if key.startswith(f"endpoints/{host}/")]


class HostIntents(VoterIntents):
    async def hosts(self) -> list[HostReport]:
        known = _Known.of(await self.seen())
        counted = Counter(known.blocks.values())
        paths = {p.host: p.via for p in self.facts.all(Path) if p.routing == "hops"}
        cluster = self.facts.get(Cluster, "cluster")
        voters = cluster.etcd if cluster and cluster.etcd_own else ()
        return [
            HostReport(
                host=host,
                here=host.name == self.host.name,
                blocks=counted[host.name],
                endpoints=len(known.endpoints(host.name)),
                via=paths.get(host.name, ""),
                voter=client_url(host) in voters,
            )
            for host in sorted(self._everyone(), key=lambda host: host.number)
        ]

    async def _known(self) -> _Known:
        return _Known.of(await self.store.load())

    def _everyone(self) -> list[Host]:
        """Peers as the hosts that they are, as they are told outside."""
        return [self.here, *map(as_host, self.facts.all(Peer))]

    async def update_host(self, name: str, change: HostChange) -> HostReport:
        """Its zone: services that prefer what is near look at it."""
        if change.zone is None:
            raise Invalid("nothing to change was given", "expected zone")
        check_zone(change.zone)
        await self.decide(lambda: self._set_zone(name, change.zone or ""))
        await self.convergence.settle()
        return next(report for report in await self.hosts() if report.host.name == name)

    async def _set_zone(self, name: str, zone: str) -> None:
        await self.records.commit([replace(as_host(self._host(name)), zone=zone)])

    # Drain

    async def drain(self, name: str, *, draining: bool, force: bool = False) -> DrainReport:
        """No new endpoint there, no relay any more; what runs there goes on. Or all of it again.

        `Conflict`: only it connects others, unless forced.
        """
        if draining and not force and not self._host(name).draining:
            await self._refuse_apart(name)
        await self.decide(lambda: self._set_draining(name, draining=draining))
        await self.convergence.settle()
        return await self.drained(name)

    async def _refuse_apart(self, name: str) -> None:
        try:
            apart = await self.surroundings.ask_routed(Question(ask="apart", to=name), Apart)
        except Unavailable:  # nobody knows; a host that is to go may be why
            return
        if apart.groups:
            one, other = (_few(group) for group in apart.groups[:2])
            raise Conflict(
                f"only through host '{name}' do {one} and {other} reach each other",
                "connect them otherwise first; or cut them off, by --force",
            )

    async def _set_draining(self, name: str, *, draining: bool) -> None:
        host = self._host(name)
        if host.draining != draining:
            await self.records.commit([replace(as_host(host), draining=draining)])
            log.info("host drains" if draining else "host drains no more", host=name)

    async def drained(self, name: str) -> DrainReport:
        """As every host says."""
        host = self._host(name)
        peers, path = self.facts.all(Peer), f"/v1/hosts/{name}/relay"
        told = await self.ask_all(peers, path, RelayReport)
        told[self.host.name] = await self.sent_to(name)
        answers = {n: answer for n, answer in told.items() if isinstance(answer, RelayReport)}
        heard = {n: answer for n, answer in answers.items() if answer.draining == host.draining}
        known = await self._known()
        return DrainReport(
            host=name,
            draining=host.draining,
            relay_of=tuple(sorted(n for n, answer in heard.items() if answer.relay)),
            unheard=tuple(sorted(told.keys() - heard.keys())),
            endpoints=len(known.endpoints(name)),
            connections=sum(answer.connections for answer in answers.values()),
        )

    async def sent_to(self, name: str) -> RelayReport:
        """The same with what services of this host led there."""
        told = self.relay(name)  # as known before it is counted
        return replace(told, connections=await self.running(self._backends_on(name)))

    def _backends_on(self, name: str) -> set[bytes]:
        """Addresses of all that may be a backend there."""
        ends: list[Endpoint | Distant] = [*self.facts.all(Endpoint), *self.facts.all(Distant)]
        found = [of_endpoint(end) for end in ends if end.host == name]
        found += (c for of in self.facts.all(EndpointSlice) for c in of_slice(of))
        return set().union(*(c.octets for c in found if c.host == name))

    def relay(self, name: str) -> RelayReport:
        """What this host itself knows of it."""
        through = any(name in p.nexts and name != p.host for p in self.facts.all(Path))
        return RelayReport(draining=self._host(name).draining, relay=through)

    def _host(self, name: str) -> Host:
        host = joining.known_host(self.facts, name)
        if host is None:
            known = ", ".join(sorted(h.name for h in self._everyone()))
            raise NotFound(f"there is no host '{name}'", f"known: {known}")
        return host

    # Removal

    async def remove_host(self, name: str, *, force: bool) -> None:
        """Of a live or a dead one. What it left in the records goes, and its blocks are free."""
        if name == self.host.name:
            raise Conflict("that is this host itself", "take it out by: seaway leave")
        was = await self._forget(name, force=force)
        if not (await self.reclaim() or was):
            self._host(name)

    async def leave(self, *, force: bool) -> None:
        """This host is no more one of the cluster; what runs on it goes on until it is removed."""
        if self.records.removed:
            return  # somebody was faster
        if not self.facts.all(Peer):
            raise membership.stays(alone=True)
        if not self.member.elsewhere:
            raise membership.stays(alone=False)
        await self._forget(self.host.name, force=force)
        with suppress(SeawayError):  # perhaps none of ours any more: then a control host does it
            await self.reclaim()

    async def _forget(self, name: str, *, force: bool) -> bool:
        """Its record is gone: from then on it is no host of the cluster. Whether there was one."""
        if joining.known_host(self.facts, name) is None:
            await self.records.reload()
        if was := joining.known_host(self.facts, name):
            if not force:
                self._refuse_harm(was, await self._known())
            await self.unseat(was)
        await self.decide(lambda: self._delete_host(name, force=force))
        await self.convergence.settle()
        return was is not None

    async def _delete_host(self, name: str, *, force: bool) -> None:
        host = joining.known_host(self.facts, name)
        if host is None:
            return  # somebody was faster
        if not force:
            self._refuse_harm(host, await self._known())
        await self.records.commit((), [host])
        log.info("host removed", host=name, number=host.number)

    def _refuse_harm(self, host: Host, known: _Known) -> None:
        """With all that would be lost by it."""
        harms, hints = [], []
        if endpoints := known.endpoints(host.name):
            harms.append(f"has {len(endpoints)} endpoints: {self._named(known, host)}")
            hints.append("detach them")
        if host.control and not any(h.control for h in self._everyone() if h.name != host.name):
            harms.append(
                "is the last control host: without it no host can join, and no certificate is "
                "renewed"
            )
            hints.append("have another one join by: seaway token create --control")
        if harms:
            hint = f"first {', and '.join(hints)}; or give --force and lose it"
            raise Conflict(f"host '{host.name}' {'; and it '.join(harms)}", hint)

    def _named(self, known: _Known, host: Host) -> str:
        keys = known.endpoints(host.name)
        records = (parse(key, known.snapshot.items[key].value) for key in keys)
        return ", ".join(sorted(r.name for r in records if isinstance(r, Endpoint))[:_TOLD])

    async def reclaim(self) -> int:
        """What hosts that are no more have left; how many records went."""
        reclaimed = 0
        for _ in range(_TRIES):
            known = await self._known()
            todo = list(reclaiming.steps(known.snapshot, known.blocks))
            if not todo:
                break
            with suppress(Changed):
                for step in todo:
                    await self.store.commit(step.changes, step.expect)
                    reclaimed += len(step.changes)
        if reclaimed:
            log.info("reclaimed what removed hosts had", records=reclaimed)
            await self.convergence.settle()
        return reclaimed

    def left_behind(self) -> Iterable[str]:
        """Keys of blocks of hosts that are no more, as far as facts tell."""
        hosts = {host.name for host in self._everyone()}
        return (store_key(b) for b in self.facts.all(Block) if b.host not in hosts)


def _few(hosts: Sequence[str]) -> str:
    """In words, however many."""
    if len(hosts) <= _NAMED:
        return " and ".join(hosts)
    return f"{', '.join(hosts[:_NAMED])} and {len(hosts) - _NAMED} more"
