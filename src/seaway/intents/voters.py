"""The members of the etcd that Seaway runs, as the cluster's record says: `cluster/voting.py`."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import structlog
from msgspec.structs import replace

from seaway.cluster import joining, voting
from seaway.errors import SeawayError, Unavailable
from seaway.intents.desk import Desk, Voters
from seaway.model.facts import Cluster, Host, Peer
from seaway.model.seats import NotYet, client_url, peer_url
from seaway.records import as_host

log = structlog.get_logger(__name__)

_WITHIN, _PAUSE = 10.0, 0.5  # seconds


class VoterIntents(Desk):
    def control_hosts(self) -> tuple[Host, ...]:
        """By their numbers; those that others reach, and that stay."""
        everyone = (self.here, *map(as_host, self.facts.all(Peer)))
        found = (h for h in everyone if h.control and h.underlay and not h.going)
        return tuple(sorted(found, key=lambda host: host.number))

    async def note_urls(self, urls: tuple[str, ...]) -> None:
        """Where the records lie from now on."""

        async def note() -> None:
            cluster = self.facts.get(Cluster, "cluster")
            if cluster and urls and cluster.etcd != urls:
                await self.records.commit([replace(cluster, etcd=urls)])

        await self.decide(note)

    async def unseat(self, host: Host) -> None:
        """Before its record goes: it votes no more, and somebody else has the records.

        First all are told that it goes, so that nobody gives up his own seat for it.
        """
        cluster = self.facts.get(Cluster, "cluster")
        if self.voters is None or cluster is None or not (cluster.etcd_own and host.control):
            return
        await self._mark(host.name, going=True)
        try:
            await self._unseat_within(host, self.voters)
        except SeawayError:
            with suppress(SeawayError):
                await self._mark(host.name, going=False)
            raise

    async def _mark(self, name: str, *, going: bool) -> None:
        async def mark() -> None:
            found = joining.known_host(self.facts, name)
            if found and found.going != going:
                await self.records.commit([replace(as_host(found), going=going)])

        await self.decide(mark)

    async def _unseat_within(self, host: Host, voters: Voters) -> None:
        deadline = time.monotonic() + _WITHIN
        while True:
            try:
                if await self._unseat(host, voters):
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
                urls = voting.urls(control, seats, without=who)
                await self.note_urls(urls)
                voters.meet((*urls, client_url(host)))
                await voters.remove(id_)
                voters.meet(urls)
            case None:
                if self.remembering and self.remembering.lost:
                    raise self.remembering.lost
                await self.store.load()
                return True
        return False
