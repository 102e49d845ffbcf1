"""What a control host does for the etcd that Seaway runs: it takes its seat, votes where its vote
is wanted, and has the cluster's record say who votes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from seaway.cluster import seats, voting
from seaway.cluster.seats import OwnSeat
from seaway.errors import SeawayError, Undecodable
from seaway.intents import Intents
from seaway.model.facts import Cluster
from seaway.model.seats import NotYet, Seat, Seating, peer_url

log = structlog.get_logger(__name__)

_LOOK, _RETRY = 30.0, 1.0  # seconds


@dataclass
class Voter:
    intents: Intents
    seat: OwnSeat = field(default_factory=OwnSeat)
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    _known: tuple[object, ...] = ()

    def stir(self) -> None:
        """The facts have changed: control hosts, or where the records are?"""
        cluster = self.intents.facts.get(Cluster, "cluster")
        known = (cluster and cluster.etcd, self.intents.control_hosts())
        if known != self._known:
            self._stirred.set()
        self._known = known

    async def run(self) -> None:
        """For ever."""
        while True:
            self._stirred.clear()
            try:
                if await self.look():
                    continue
                wait = _LOOK
            except NotYet as error:
                log.info("not yet", error=error.message)
                wait = _RETRY
            except (SeawayError, OSError) as error:
                if not self._is_lost():  # that is told already
                    log.warning("cannot keep this host's member of etcd", error=str(error))
                wait = _RETRY
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), wait)

    def _is_lost(self) -> bool:
        return bool(self.intents.remembering and self.intents.remembering.lost)

    async def look(self) -> bool:
        """Do the next step; whether there was one."""
        intents, cluster = self.intents, self.intents.facts.get(Cluster, "cluster")
        intents.troubles.pop("etcd", None)
        if intents.records.removed and self.seat.seating():
            await asyncio.to_thread(self.seat.leave)
        if cluster is None or not cluster.etcd_own or intents.voters is None:
            return False
        if not intents.here.control or intents.here.going or intents.records.removed:
            return False
        if seats.missing():
            intents.troubles["etcd"] = "it is not installed: this control host has no copy"
            return False
        found = await intents.voters.seats()
        mine = next((s for s in found if s.peer == peer_url(intents.here)), None)
        if mine and await self._must_take(mine, found):
            return True
        step = self._next(found)
        if mine and step == voting.Remove(mine.id):
            await intents.records.reload()  # somebody may be about to leave, and need this one
            step = self._next(found)
        if step is not None:
            await self._do(step, mine)
            return True
        await intents.note_urls(voting.urls(self._control(), found))
        return False

    def _control(self) -> list[str]:
        return [peer_url(host) for host in self.intents.control_hosts()]

    def _next(self, found: list[Seat]) -> voting.Step | None:
        return voting.next_step(peer_url(self.intents.here), self._control(), found)

    async def _must_take(self, mine: Seat, found: list[Seat]) -> bool:
        """A seat that this host does not know yet, as it died over it; or that it could not begin,
        as members went meanwhile.
        """
        try:
            known = self.seat.seating()
        except Undecodable:
            known = None
        same = known is not None and known.id in {mine.id, 0}
        now = {seat.peer for seat in found}
        if known and same and (mine.client or {*known.members.values()} == now):
            return False
        await self._take(mine.id, found)
        return True

    async def _do(self, step: voting.Step, mine: Seat | None) -> None:
        voters = self.intents.voters
        assert voters is not None
        log.info("members of etcd change", step=type(step).__name__)
        match step:
            case voting.Add():
                await self._take(*await voters.add(peer_url(self.intents.here)))
            case voting.Promote(id=id_):
                await voters.promote(id_)
            case voting.Remove(id=id_):
                await voters.remove(id_)
                if mine and mine.id == id_:
                    await asyncio.to_thread(self.seat.leave)

    async def _take(self, id_: int, found: list[Seat]) -> None:
        here, hosts = self.intents.here, self.intents.control_hosts()
        by_peer = {peer_url(host): host.name for host in hosts}
        seating = Seating(
            id=id_,
            cluster=self.intents.member.cluster,
            host=here.name,
            address=here.underlay[0],
            members={by_peer.get(s.peer, f"{s.id:x}"): s.peer for s in found},
        )
        await asyncio.to_thread(self.seat.take, seating)
