"""The members of the etcd that Seaway runs, as the cluster's record tells them; see `voting.py`."""

from __future__ import annotations

import asyncio
import time

import structlog
from msgspec.structs import asdict, replace

from seaway import voting
from seaway.errors import Unavailable
from seaway.intents.desk import Desk, Voters
from seaway.model.facts import Cluster, Host, Peer
from seaway.model.seats import NotYet, peer_url

log = structlog.get_logger(__name__)

_WITHIN, _PAUSE = 10.0, 0.5  # seconds


class VoterIntents(Desk):
    def control_hosts(self) -> tuple[Host, ...]:
        """By their numbers; those that others reach."""
        peers = (Host(**asdict(peer)) for peer in self.facts.all(Peer))
        found = (host for host in (self.here, *peers) if host.control and host.underlay)
        return tuple(sorted(found, key=lambda host: host.number))

    async def note_places(self, urls: tuple[str, ...]) -> None:
        """Where the records lie from now on."""

        async def note() -> None:
            cluster = self.facts.get(Cluster, "cluster")
            if cluster and urls and cluster.etcd != urls:
                await self.records.commit([replace(cluster, etcd=urls)])

        await self.decide(note)

    async def unseat(self, host: Host) -> None:
        """Before its record goes: it votes no more, and somebody else has the records."""
        cluster = self.facts.get(Cluster, "cluster")
        if self.voters is None or cluster is None or not cluster.etcd_own:
            return
        deadline = time.monotonic() + _WITHIN
        while True:
            try:
                if await self._unseat(host, self.voters):
                    return
            except (NotYet, Unavailable) as error:  # a learner is behind; a leader is elected
                if time.monotonic() > deadline:
                    raise
                log.info("not yet", error=error.message)
                await asyncio.sleep(_PAUSE)

    async def _unseat(self, host: Host, voters: Voters) -> bool:
        """A step of it; whether it was the last."""
        who, seats = peer_url(host), await voters.seats()
        control = [peer_url(h) for h in self.control_hosts()]
        match voting.leave(who, seats):
            case voting.Promote(id=id_):
                await voters.promote(id_)
            case voting.Remove(id=id_):
                urls = voting.places(control, seats, without=who)
                await self.note_places(urls)
                voters.meet(urls)
                await voters.remove(id_)
            case None:
                if self.remembering and self.remembering.lost:
                    raise self.remembering.lost
                await self.store.load()
                return True
        return False
