"""Watches over what the kernel holds: at once where it notifies, by sweeps where it does not.

Links, addresses and routes notify; a notification that our own changes do not explain leads
to an audit of its kind. Maps, pins, attached programs and nftables are read back every few
seconds, and the others in a slow round, should a notification ever be missed. Other firewalls are
looked at within a second of a change that nftables counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from heapq import nlargest

import structlog

from seaway.bpf.attachments import Attachments
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.network.shapers import devices_of
from seaway.errors import SeawayError
from seaway.facts import Facts
from seaway.firewalls import Firewatch
from seaway.intents import Intents
from seaway.kernel.links import LinkTarget
from seaway.kernel.watch import TOLD, Watch
from seaway.model.facts import Attached, Endpoint, HostAddresses, Overlay, Shaped, Uplinks
from seaway.names import link_name
from seaway.uplinks import Lookout

log = structlog.get_logger(__name__)

SWEEP = 8.0  # seconds; what is deleted by hand is repaired within ten
ROUND = 75  # sweeps between full readings of what notifies: ten minutes
OUTSIDE = 4  # sweeps between full readings of what is around us: of most of it, we are told
INSIDE = 0.004  # seconds of CPU for each sweep
LATEST = 64  # containers that an earlier agent may have been at when it was killed
RETRY = 1.0  # seconds until what failed is tried again

UPLINKS, FIREWALLS = "uplinks", "firewalls"  # suspected, they are looked for anew
KINDS = tuple(derivation.name for derivation in DERIVATIONS)
OURS = ("names", "holders", "checks", "health_ports")  # what nobody else writes
NOTIFIED = tuple(kind for kind in KINDS if kind in TOLD)
SILENT = tuple(kind for kind in KINDS if kind not in (*TOLD, *OURS))


@dataclass(frozen=True)
class Lookouts:
    """What of the host around us is looked at, besides what we wrote."""

    uplinks: Lookout
    firewalls: Firewatch


class Vanished:
    """Links that went away, or down, perhaps with their containers: whose endpoints end then.

    What cannot be found out or recorded now (no free descriptor, a full disk) is tried again.
    """

    def __init__(self, intents: Intents, ifindex: Callable[[str], int]) -> None:
        self._intents = intents
        self._ifindex = ifindex  # of a link by its name; 0: there is none
        self._gone: set[str] = set()
        self._unsure: set[str] = set()

    @property
    def unsure(self) -> bool:
        return bool(self._unsure)

    def suspect(self, link: str) -> None:
        self._gone.add(link)

    async def release(self) -> None:
        """A container that is detached and attached again has its next link under the same name,
        before we are told that the first one went. Of a container that vanished, the link is
        down and without its routes before it is gone: that is no drift of its routes.
        """
        gone, unsure = self._gone | self._unsure, set()
        self._gone = set()
        for link in sorted(gone):
            try:
                await self._intents.vanished(link, there=self._ifindex(link) != 0)
            except (OSError, SeawayError) as error:
                unsure.add(link)
                if link not in self._unsure:
                    log.warning(_kept(error), link=link, error=str(error))
        self._unsure = unsure


def _kept(error: OSError | SeawayError) -> str:
    if isinstance(error, SeawayError):
        return "kept, as it cannot be released"
    return "kept, as its container cannot be looked for"


def devices(facts: Facts) -> set[int]:
    """Those that our programs count for."""
    found = {a.ifindex for a in facts.all(Attached)}
    for shaped in facts.all(Shaped):
        found |= set(devices_of(shaped))
    for uplinks in facts.all(Uplinks):
        found |= {ifindex for _, ifindex in uplinks.devices}
    found |= {overlay.ifindex for overlay in facts.all(Overlay)}
    return found


class Vigil:
    """Is told by `kernel.watch.Watch`, and has suspicions looked into by one task."""

    def __init__(
        self, intents: Intents, links: LinkTarget, attachments: Attachments, lookouts: Lookouts
    ) -> None:
        self._attachments = attachments
        self._lookouts = lookouts
        self._intents = intents
        self._convergence = intents.convergence
        self._links = links
        self._watch = Watch(self)
        self._suspected: set[str] = set()
        self._vanished = Vanished(intents, links.ifindex)
        self._woken = asyncio.Event()
        self._turn: deque[str] = deque()
        self._adopted: list[str] = []

    def look(self) -> None:
        """At start: which links of ours are there, and which addresses the host has."""
        found = self._links.ifindexes()
        endpoints = self._intents.facts.all(Endpoint)
        self._adopted = [e.id for e in nlargest(LATEST, endpoints, key=lambda e: e.created)]
        for endpoint in endpoints:
            if ifindex := found.get(link_name(endpoint.id)):
                attached = Attached(endpoint=endpoint.id, ifindex=ifindex)
                self._intents.facts.change(Attached, endpoint.id, attached)
            else:
                self._vanished.suspect(link_name(endpoint.id))
        self._watch.start()

    def close(self) -> None:
        self._watch.close()

    async def release_vanished(self) -> None:
        await self._vanished.release()

    # What the kernel tells (kernel.watch.Watcher)

    def changed(self, target: str, key: Hashable, actual: object | None) -> None:
        if target == "links" and actual is None and self._known(str(key)):
            self._vanished.suspect(str(key))
            self._woken.set()
        if self._convergence.differs(target, key, actual):
            self.suspect(target)
            if target == "addresses":  # routes lose it as their source without another word
                self.suspect("routes")

    def down(self, name: str) -> None:
        """By hand: the attachments' target sets it up, then its routes come again. Or going."""
        if self._known(name):
            self._vanished.suspect(name)
            self.suspect("attachments")
            self.suspect("routes")

    def addresses(self, here: HostAddresses) -> None:
        self._intents.facts.change(HostAddresses, "host", here)
        self.suspect(UPLINKS)
        self._convergence.ask()

    def uplinks(self) -> None:
        self.suspect(UPLINKS)

    def lost(self) -> None:
        for target in (UPLINKS, *NOTIFIED):
            self.suspect(target)

    def _known(self, link: str) -> bool:
        return bool(self._intents.facts.where(Endpoint, "link", link))

    def suspect(self, target: str) -> None:
        self._suspected.add(target)
        self._woken.set()

    # Tasks

    async def look_into(self) -> None:
        """Audits what is suspected, as soon as what we are doing ourselves is done."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self._convergence.settle()
            await self.release_vanished()
            suspected, self._suspected = self._suspected, set()
            for name in (UPLINKS, FIREWALLS):
                if name in suspected:
                    await self._look_out(name)
            for target in (kind for kind in KINDS if kind in suspected):
                self._convergence.audit(target)

    async def finish(self) -> None:
        """What an agent began that was killed over it: seen from the host, its link is whole.

        Once, at the latest containers of an earlier agent, as it began no more at once; not drift:
        we were away. A look into all of a thousand would cost seconds.
        """
        for endpoint in self._adopted:
            self._intents.repair_inside(endpoint, drift=False)
            await asyncio.sleep(0)

    async def sweep(self) -> None:
        sweeps = 0
        while True:
            await asyncio.sleep(SWEEP)
            sweeps += 1
            # First: what is meant so is not to be put back.
            await self._look_out(UPLINKS, anew=sweeps % OUTSIDE == 0)
            await self._look_out(FIREWALLS)
            for target in SILENT + (NOTIFIED + OURS if sweeps % ROUND == 0 else ()):
                await self._convergence.sweep(target)
            if sweeps % OUTSIDE == 0:
                self._intents.surroundings.forget_devices(devices(self._intents.facts))
                await asyncio.to_thread(self._intents.surroundings.forget_clients)
            self._look_inside()

    async def _look_out(self, name: str, *, anew: bool = True) -> None:
        try:
            if name == UPLINKS:
                await self._lookouts.uplinks.look(anew=anew)
            else:
                await self._lookouts.firewalls.look()
        except (SeawayError, OSError) as error:
            log.warning("cannot look", at=name, error=str(error))
        await self._convergence.settle()

    def _look_inside(self) -> None:
        """At containers in turn, as many as fit into a sweep: the host is not told of them."""
        end = time.thread_time() + INSIDE
        for _ in range(len(self._turn) or 1):
            if not self._turn:
                self._turn.extend(e.id for e in self._intents.facts.all(Endpoint))
            if not self._turn or time.thread_time() > end:
                return
            self._intents.repair_inside(self._turn.popleft())

    async def retry(self) -> None:
        """What failed is tried again; and what could be attached better, is."""
        while True:
            await asyncio.sleep(RETRY)
            self._convergence.retry()
            self._intents.give_back()
            self._links.tidy()
            if self._lookouts.uplinks.behind:
                await self._look_out(UPLINKS, anew=False)
            if self._lookouts.firewalls.stirred():
                self.suspect(FIREWALLS)
                self.suspect("accepts")
            if self._vanished.unsure:
                self._woken.set()
            promotion = self._attachments.promotion
            try:
                if candidate := promotion.choose():
                    await asyncio.to_thread(promotion.move, candidate)
            except OSError as error:  # its programs stay where they are
                log.warning("not moved to links", error=str(error))
