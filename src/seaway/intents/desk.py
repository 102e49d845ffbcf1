"""What every intent works with: facts, records, addresses, the kernel, and the host around."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from seaway.converge import Convergence
from seaway.desired.network.resolver import resolver_addresses
from seaway.desired.network.tables import Tables
from seaway.errors import SeawayError, Unavailable
from seaway.facts import Facts
from seaway.ipam import Allocator, load_blocks
from seaway.model.addresses import Address, ForeignPrefix
from seaway.model.backup import Whereabouts
from seaway.model.facts import Cluster, Endpoint, Host, Namespace, Value
from seaway.model.kernel import Inside
from seaway.model.membership import Membership
from seaway.model.node_ports import HostPort
from seaway.model.publications import HeldPort
from seaway.model.reports import Use
from seaway.model.routing import Question
from seaway.model.seats import Seat
from seaway.records import Records
from seaway.store.base import Changed, Snapshot, Store
from seaway.store.remembering import Remembering
from seaway.trust.keeper import Keeper

T = TypeVar("T")
V = TypeVar("V", bound=Value)
_TRIES = 8  # of a commit that others' commits come before
# Hosts asked at once. Connections over TLS are 100 at most, and who waits for one loses the time
# that he has to connect: while dead ones hold them, for up to 14 s, the living would count as dead.
_AT_ONCE = 64


class Surroundings(Protocol):
    """What intents must see of the host, beyond facts."""

    def netns_path(self, given: str) -> str:
        """Of a path, a name under /run/netns, or a process id."""

    def netns_inode(self, path: str) -> int | None:
        """Of the network namespace at this path; None: there is none. OSError: nobody knows."""

    def namespace(self, path: str) -> Namespace | None:
        """The same, with what tells it from a later one that has its inode."""

    def host_netns(self) -> int:
        """The inode of the host's own network namespace, which no later one gets."""

    async def at_work(self, link: str) -> None:
        """Return when the container's end of this veth sends, or after a moment.

        Else its first packets would get lost.
        """

    def check_inside(self, inside: Inside) -> list[str]:
        """What is not as it should be inside a container."""

    def repair_inside(self, inside: Inside) -> None:
        """Put back what is missing there."""

    def foreign_prefixes(self) -> list[ForeignPrefix]:
        """What this host reaches without us."""

    def network_mtu(self, overhead: int) -> int:
        """Of new networks: as the host's configuration says, or that of the device of the default
        route (1500 where there is none) without so many bytes.
        """

    def held_ports(self, ports: Collection[HostPort], container: str) -> list[HeldPort]:
        """Of these protocols and ports, the ones that sockets of the host have or rules of others
        lead elsewhere, but not for the container. May be slow.
        """

    def drops(self) -> dict[tuple[int, str], int]:
        """Packets refused, by device (0: those that are gone, and sockets) and reason."""

    def forget_devices(self, present: set[int]) -> None:
        """Only these devices of ours are there."""

    def forget_clients(self) -> None:
        """What those had of limits whose network namespaces are gone."""

    def data_plane(self) -> tuple[str, str]:
        """How programs are attached ("tcx", "cls_bpf"), and the hash of their map layouts."""

    def connections(self, addresses: Collection[bytes]) -> int:
        """How many connections this host led to backends at these addresses, by any service, that
        are not over. May be slow, and asked in a thread.
        """

    def use(self, number: int) -> Use:
        """Of a limit of connections, on this host."""

    def limited(self) -> int:
        """Connections that were refused by limits."""

    async def ask_routed(self, question: Question, kind: type[V]) -> V:
        """What `routed` answers. `Unavailable`: nothing."""

    def tables(self) -> Tables:
        """What the programs look up, in the kernel as it is now."""

    def whereabouts(self) -> Whereabouts:
        """By what this host is told from every other one."""

    def underlay(self) -> tuple[Address, ...]:
        """Where other hosts reach this one, as far as it can tell: at most one a family."""


class Others(Protocol):
    """The agents of other hosts of the cluster."""

    async def ask(
        self, host: Host, method: str, path: str, body: object = None, answers: Any = bytes
    ) -> Any:
        """What it answers. `Unavailable`: it does not."""


class Voters(Protocol):
    """The members of an etcd. `NotYet`: a change that it refuses for now."""

    async def seats(self) -> list[Seat]: ...

    async def add(self, peer: str) -> tuple[int, list[Seat]]: ...

    async def promote(self, id_: int) -> None: ...

    async def remove(self, id_: int) -> None: ...

    def meet(self, urls: Sequence[str]) -> None:
        """From now on ask these members."""


@dataclass
class Desk:
    host: Host
    facts: Facts
    records: Records
    convergence: Convergence
    surroundings: Surroundings
    allocator: Allocator
    member: Membership
    trust: Keeper
    others: Others
    store: Store  # where all records lie, other hosts' too
    remembering: Remembering | None = None  # what this host saw of it last; None: it lies here
    voters: Voters | None = None  # where the records are in an etcd
    troubles: dict[str, str] = field(default_factory=dict)  # what this host cannot do, and why
    serving: bool = False  # ADD is served
    tracing: int = 0  # questions of other hosts after a packet, under way
    # Their records are gone, but not yet all that the kernel had of them: it refused.
    lingering_links: list[Endpoint] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    # Of endpoints whose records are gone, until nobody has them any more.
    going: set[Address] = field(default_factory=set)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)  # there is something to keep up
    # Between the check of a request and its commit no other one may be checked.
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def ask_all(
        self, peers: Iterable[Host], path: str, kind: type[V]
    ) -> dict[str, V | SeawayError]:
        """By name, what each answers, or why it does not. Many at once: of one that is dead it
        takes seconds to know that.
        """

        async def ask(peer: Host) -> V | SeawayError:
            async with self.asking:
                try:
                    answer: V = await self.others.ask(peer, "GET", path, None, kind)
                except SeawayError as error:
                    return error
                return answer

        asked = list(peers)
        answers = await asyncio.gather(*(ask(peer) for peer in asked))
        return {peer.name: answer for peer, answer in zip(asked, answers, strict=True)}

    async def running(self, addresses: Collection[bytes]) -> int:
        """Connections that this host led to backends at these addresses. Its kernel has what it
        knows first: who has heard of a drain leads no new one there from then on.
        """
        await self.convergence.settle_all("services")
        return await asyncio.to_thread(self.surroundings.connections, addresses)

    async def held(self, ports: Collection[HostPort], container: str = "") -> list[HeldPort]:
        """Of these protocols and ports, what processes of this host have, but for the container's:
        the lists of a busy one are long, so not on the loop.
        """
        if not ports:
            return []
        held = await asyncio.to_thread(self.surroundings.held_ports, ports, container)
        cluster = self.facts.get(Cluster, "cluster")
        ours = resolver_addresses(cluster) if cluster else ()
        return [had for had in held if had.address not in ours]  # it is asked there all the same

    async def decide(self, act: Callable[[], Awaitable[T]]) -> T:
        """Check a request and commit it, one at a time; anew where another host was faster."""
        async with self.deciding:
            for _ in range(_TRIES):
                try:
                    return await act()
                except Changed:
                    await self.records.reload()
                    self.learnt()
            return await act()

    def learnt(self) -> None:
        """Others have changed records: what follows from that beyond facts."""
        load_blocks(self.allocator, self.facts)

    async def seen(self) -> Snapshot:
        """All records, other hosts' too; where the store is lost, as this host saw them last."""
        memory = self.remembering
        if memory and memory.lost:
            return await memory.recall()
        try:
            return await self.store.load()
        except Unavailable:
            if memory is None:
                raise
            return await memory.recall()

    @property
    def here(self) -> Host:
        """This host as it is recorded now."""
        return self.facts.get(Host, self.host.name) or self.host
