"""What a member of a cluster does by itself: it renews its certificate in time, and sees to it that
nothing of removed hosts stays.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from seaway.errors import SeawayError
from seaway.intents import Intents
from seaway.model.facts import Peer
from seaway.model.membership import Signing

log = structlog.get_logger(__name__)

_LOOK = 600.0  # seconds between two looks: clocks are set, and machines sleep
_RETRY = 30.0
_SETTLE = 1.0  # after a change of hosts: most come by themselves to what is to be done


@dataclass
class Upkeep:
    intents: Intents
    _hosts: int = 0
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await self.intents.trust.begun.wait()
        while True:
            try:
                await self.look()
                wait = _LOOK
            except (SeawayError, OSError) as error:
                log.warning("cannot keep up", error=str(error))
                wait = _RETRY
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), wait)
                await asyncio.sleep(_SETTLE)

    def stir(self) -> None:
        """The facts have changed: is a host gone?"""
        hosts = self.intents.facts.number(Peer)
        if hosts < self._hosts:
            self._stirred.set()
        self._hosts = hosts

    async def look(self) -> None:
        """Do what is due."""
        self._stirred.clear()
        await self.renew()
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
