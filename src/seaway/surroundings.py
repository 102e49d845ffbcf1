"""The host around the agent, as intents look at it: namespaces, foreign routes, counters."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from seaway.bpf.counters import OF_SOCKETS
from seaway.desired.network.tables import Tables
from seaway.errors import Invalid
from seaway.kernel import host, leads, netns, sockets, underlay
from seaway.kernel.translations import Translations
from seaway.kernel.whereabouts import whereabouts
from seaway.model.facts import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from seaway.bpf.counters import Counters
    from seaway.bpf.limits import Uses
    from seaway.bpf.lookups import Lookups
    from seaway.kernel.links import LinkTarget
    from seaway.model.addresses import Address, ForeignPrefix
    from seaway.model.backup import Whereabouts
    from seaway.model.facts import Namespace
    from seaway.model.kernel import Inside
    from seaway.model.node_ports import HostPort
    from seaway.model.publications import HeldPort
    from seaway.model.reports import Use
    from seaway.model.routing import Question

T = TypeVar("T", bound=Value)

# Seconds, of a container's first packet. A tenth of a millisecond is usual: the loop is held up for
# that, as it could not sleep for less than a whole one, and spinning keeps the kernel from it.
_HOLDS = 10 * (20e-6,) + 50 * (0.0,)
_BETWEEN_TRIES = 0.001


class Ask(Protocol):
    """See `Paths.ask`."""

    async def __call__(self, question: Question, kind: type[T]) -> T: ...


@dataclass
class HostSurroundings:
    links: LinkTarget
    counters: Counters
    lookups: Lookups
    attach: str
    layout: str
    translations: Translations
    ask: Ask  # of `routed`
    running: Callable[[Collection[bytes]], int]  # see `connections`
    uses: Uses
    mtu: int = 0  # of new networks, if the host's configuration says
    _past: Counter[str] = field(default_factory=Counter)
    _present: set[int] | None = None  # devices, when counters were last put in order

    def netns_path(self, given: str) -> str:
        if not given or "\0" in given:
            raise Invalid(
                "no network namespace was given", "expected a path, a name or a process id"
            )
        return str(netns.find(given))

    def netns_inode(self, path: str) -> int | None:
        return netns.present(path)

    def namespace(self, path: str) -> Namespace | None:
        return netns.known(path)

    def host_netns(self) -> int:
        return netns.own()

    async def at_work(self, link: str) -> None:
        for hold in _HOLDS:
            try:
                if not self.links.idle(link):
                    return
            except OSError:  # it goes away again
                return
            if hold:
                time.sleep(hold)  # noqa: ASYNC251, less than the loop can sleep for
            else:
                await asyncio.sleep(_BETWEEN_TRIES)

    def check_inside(self, inside: Inside) -> list[str]:
        return self.links.check_inside(inside)

    def repair_inside(self, inside: Inside) -> None:
        self.links.repair_inside(inside)

    def foreign_prefixes(self) -> list[ForeignPrefix]:
        return host.foreign_prefixes()

    def network_mtu(self, overhead: int) -> int:
        return self.mtu or host.uplink_mtu() - overhead

    def held_ports(self, ports: Collection[HostPort], container: str) -> list[HeldPort]:
        return sockets.held(ports, container) + self.translations.held(ports, container)

    def drops(self) -> dict[tuple[int, str], int]:
        found = Counter(self.counters.drops())
        found.update({(OF_SOCKETS, reason): packets for reason, packets in self._past.items()})
        return dict(found)

    def forget_devices(self, present: set[int]) -> None:
        """Add up what was counted of devices that are gone, before their numbers come again."""
        before, self._present = self._present, present
        if before is not None and before <= present:
            return
        present = present | {OF_SOCKETS}
        gone = {k: n for k, n in self.counters.drops().items() if k[0] not in present}
        for (_, reason), packets in gone.items():
            self._past[reason] += packets
        if gone:
            self.counters.purge({ifindex for ifindex, _ in gone})

    def forget_clients(self) -> None:
        self.uses.tidy(netns.cookie())

    def connections(self, addresses: Collection[bytes]) -> int:
        return self.running(addresses)

    def use(self, number: int) -> Use:
        return self.uses.of(number)

    def limited(self) -> int:
        return self.uses.refused()

    async def ask_routed(self, question: Question, kind: type[T]) -> T:
        return await self.ask(question, kind)

    def whereabouts(self) -> Whereabouts:
        return whereabouts()

    def underlay(self) -> tuple[Address, ...]:
        return underlay.default()

    def tables(self) -> Tables:
        return Tables(self.lookups.find, leads.lead)

    def data_plane(self) -> tuple[str, str]:
        return self.attach, self.layout
