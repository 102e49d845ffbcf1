"""What a member of a cluster does by itself: it renews its certificate in time, and sees to it that
nothing of removed hosts stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from msgspec.structs import replace

from seaway import names
from seaway.cluster import membership, stores
from seaway.errors import SeawayError
from seaway.intents import Intents
from seaway.model.facts import Cluster, Peer
from seaway.model.membership import Signing
from seaway.store.peers import PeerStore

log = structlog.get_logger(__name__)

_LOOK = 60.0  # seconds between two looks: clocks are set, and machines sleep
_RETRY = 30.0
_AGENTS, _OTHERS = 16, 4  # where the store is asked for: while it is lost, all of them in turn
_SETTLE = 1.0  # after a change of hosts: most come by themselves to what is to be done

Step = Callable[[], Awaitable[object]]


@dataclass
class Upkeep:
    intents: Intents
    file: Path = names.MEMBER_FILE
    _hosts: int = 0
    _etcd: tuple[str, ...] = ()
    _gone: bool = False  # to etcd, with the next start

    async def run(self) -> None:
        await self.intents.trust.begun.wait()
        while True:
            wait = _LOOK if await self.look() else _RETRY
            with suppress(TimeoutError):
                await asyncio.wait_for(self.intents.stirred.wait(), wait)
                await asyncio.sleep(_SETTLE)

    def stir(self) -> None:
        """The facts have changed: is a host gone, or are the records?"""
        self.intents.learnt()
        hosts, cluster = self.intents.facts.number(Peer), self.intents.facts.get(Cluster, "cluster")
        etcd = cluster.etcd if cluster else ()
        if hosts != self._hosts or etcd != self._etcd:
            self.intents.stirred.set()
        self._hosts, self._etcd = hosts, etcd

    async def look(self) -> bool:
        """Do what is due; whether all of it was done. A step that fails holds no other one back."""
        intents = self.intents
        intents.stirred.clear()
        steps: tuple[Step, ...] = (
            self.renew,
            self.go_to_etcd,
            self.follow_etcd,
            self.follow_hosts,
            intents.return_loans,
            intents.settle_doubts,
            intents.claim_foreign,
            self.reclaim,
        )
        return all([await _was_done(step) for step in steps])

    async def follow_hosts(self) -> None:
        """Where other hosts pass the store on, any of those that are there now may: the one of the
        join may go.
        """
        member, store = self.intents.member, self.intents.store
        if not (member.through and isinstance(store, PeerStore)) or self._gone:
            return
        through = _through(member.through, self.intents.facts.all(Peer))
        if through != member.through:
            store.meet(through)
            self.intents.member = replace(member, through=through)
            membership.save(self.intents.member, self.file)
            log.info("other hosts pass the store on", at=through)

    async def reclaim(self) -> None:
        """What removed hosts left is free again."""
        if self.intents.trust.signs and any(self.intents.left_behind()):
            await self.intents.reclaim()

    async def renew(self) -> bool:
        """Take the next certificate once two thirds of this one's time are over, or this host has
        other addresses; whether that was so.
        """
        trust, here = self.intents.trust, self.intents.here
        now = trust.certificate()
        same = now.addresses == {*here.underlay, *here.addresses}
        if same and trust.clock() < now.renewal:
            return False
        signing = Signing(request=trust.renewal())
        signed = await self.intents.certify(now.host, signing)
        trust.take(signed.certificate)
        new = trust.certificate()
        log.info("certificate renewed", serial=f"{new.serial:x}", ends=new.ends)
        return True

    async def go_to_etcd(self) -> bool:
        """Where the records have moved to one that is reached from here, the next agent takes them
        from there; whether that is so.
        """
        member, cluster = self.intents.member, self.intents.facts.get(Cluster, "cluster")
        if cluster is None or not (cluster.etcd and member.through) or self._gone:
            return False
        access = await self.intents.ask_etcd_access()
        folder = self.intents.trust.folder
        folder.put_etcd(access.authority, access.identity)
        if not access.urls or await stores.unreached(access.urls, folder):
            return False
        membership.save(replace(member, etcd=access.urls, through=()), self.file)
        self._gone = True
        log.info("records are in etcd: taken from there after the next start", at=access.urls)
        return True

    async def follow_etcd(self) -> bool:
        """Where other members than before have the records, those are asked; whether that was so.

        This host may have been off meanwhile, and those that it knows be gone: then others tell.
        """
        member, cluster = self.intents.member, self.intents.facts.get(Cluster, "cluster")
        if cluster is None or not (cluster.etcd_own and member.etcd and self.intents.voters):
            return False
        urls = cluster.etcd
        if self.intents.remembering and self.intents.remembering.lost:
            urls = (await self.intents.ask_etcd_access()).urls or urls
        if not urls or urls == member.etcd:
            return False
        self.intents.voters.meet(urls)
        self.intents.member = replace(member, etcd=urls)
        membership.save(self.intents.member, self.file)
        log.info("records are with other members of etcd", at=urls)
        return True


def _through(known: Sequence[str], peers: Iterable[Peer]) -> tuple[str, ...]:
    """Where to ask: where hosts are, the known ones first; then what no host says of itself, as
    what a person wrote at the join may be the only way to one.
    """
    likely = sorted(peers, key=lambda peer: (not peer.control, peer.number))
    there = [str(address) for peer in likely for address in peer.underlay]
    found = dict.fromkeys((*(at for at in known if at in there), *there))
    others = [at for at in known if at not in there]
    return (*list(found)[:_AGENTS], *others[:_OTHERS])


async def _was_done(step: Step) -> bool:
    try:
        await step()
    except (SeawayError, OSError) as error:
        log.warning("cannot keep up", what=step.__name__, error=str(error))
        return False
    return True
