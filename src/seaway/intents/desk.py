"""What every intent works with: facts, records, addresses, the kernel, and the host around."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from seaway.converge import Convergence
from seaway.facts import Facts
from seaway.ipam import Allocator
from seaway.model.addresses import ForeignPrefix
from seaway.model.backup import Whereabouts
from seaway.model.facts import Endpoint, Host, Namespace
from seaway.model.kernel import Inside
from seaway.model.publications import HeldPort
from seaway.records import Records


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

    def held_ports(self, places: Collection[tuple[str, int]], container: str) -> list[HeldPort]:
        """Of these protocols and ports, the ones that sockets of the host have or rules of others
        lead elsewhere, but not for the container. May be slow.
        """

    def drops(self) -> dict[tuple[int, str], int]:
        """Packets refused, by device (0: of those that are gone) and reason."""

    def forget_devices(self, present: set[int]) -> None:
        """Only these devices of ours are there."""

    def data_plane(self) -> tuple[str, str]:
        """How programs are attached ("tcx", "cls_bpf"), and the hash of their map layouts."""

    def whereabouts(self) -> Whereabouts:
        """By what this host is told from every other one."""


@dataclass
class Desk:
    host: Host
    facts: Facts
    records: Records
    convergence: Convergence
    surroundings: Surroundings
    allocator: Allocator
    serving: bool = False  # ADD is served
    # Their records are gone, but not yet all that the kernel had of them: it refused.
    leaving: list[Endpoint] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    # Between the check of a request and its commit no other one may be checked.
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
