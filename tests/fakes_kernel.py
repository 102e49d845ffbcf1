"""A kernel in memory. Passes the same contract tests as the real targets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar

from seaway.bpf import abi
from seaway.desired.network.tables import Tables
from seaway.errors import Unavailable
from seaway.model.addresses import Address, ForeignPrefix
from seaway.model.backup import Whereabouts
from seaway.model.facts import Namespace, Value
from seaway.model.kernel import Inside
from seaway.model.node_ports import HostPort
from seaway.model.publications import HeldPort
from seaway.model.reports import Use
from seaway.model.routing import Question
from seaway.model.trace import Lead

T = TypeVar("T", bound=Value)


class FakeTarget:
    """Objects of one kind; `refuses` are keys that the kernel will not take."""

    def __init__(self, name: str, objects: Mapping[Any, Any] | None = None) -> None:
        self.name = name
        self.objects: dict[Any, Any] = dict(objects or {})
        self.refuses: dict[Any, OSError] = {}
        self.calls: list[tuple[str, Any]] = []
        self.on_delete: Callable[[set[Any]], None] = lambda _: None
        self.on_put: Callable[[Any, Any], None] = lambda *_: None

    def read(self) -> dict[Any, Any]:
        return dict(self.objects)

    def look(self, keys: Collection[Any]) -> dict[Any, Any]:
        return {key: self.objects[key] for key in keys if key in self.objects}

    def put(self, objects: Mapping[Any, Any]) -> dict[Any, OSError]:
        self.calls.append(("put", dict(objects)))
        for key, value in objects.items():
            if key not in self.refuses:
                self.objects[key] = value
                self.on_put(key, value)
        return {k: e for k, e in self.refuses.items() if k in objects}

    def delete(self, keys: set[Any]) -> dict[Any, OSError]:
        if keys:
            self.calls.append(("delete", set(keys)))
            self.on_delete(keys)
        for key in keys - self.refuses.keys():
            self.objects.pop(key, None)
        return {k: e for k, e in self.refuses.items() if k in keys}


class FakeLookups:
    """What programs would find in these targets. `dead`: hosts to which the link is."""

    def __init__(self, targets: Mapping[str, FakeTarget]) -> None:
        self.targets = targets
        self.dead: set[int] = set()
        self.uses: dict[abi.UseKey, abi.Use] = {}

    def find(self, name: str, key: Any) -> Any:
        """Of what several maps hold as in each of them."""
        if name in {"dead", "uses", "backends"}:
            return getattr(self, f"_{name}")(key)
        there = self.targets[name].objects if name in self.targets else {}
        if name == "behind":
            return 1 if any(key in ports for ports in there.values()) else None
        if name == "services":
            return there[key].service if key in there else None
        return _best(there, key)

    def _dead(self, key: int) -> int | None:
        return 1 if key in self.dead else None

    def _uses(self, key: abi.UseKey) -> abi.Use | None:
        return self.uses.get(key)

    def _backends(self, key: abi.BackendKey) -> abi.Backend | None:
        frontend = self.targets["services"].objects.get(abi.PortKey.unpack(key.service))
        there = frontend.backends if frontend else ()
        return there[key.slot] if key.slot < len(there) else None


def _best(there: Mapping[Any, Any], key: Any) -> Any:
    if not isinstance(key, (IPv4Network, IPv6Network)):
        return there.get(key)
    alike = (p for p in there if p.version == key.version and key.network_address in p)
    return there.get(max(alike, key=lambda prefix: prefix.prefixlen, default=None))


def next_door(address: Address) -> Lead | None:
    """The routes of a host that is in the documentation networks, and has a router there."""
    near = ip_network("192.0.2.0/24") if address.version == 4 else ip_network("2001:db8::/64")
    router = None if address in near else near[254]
    return Lead("eth0", 1500, router, near[1], known=True)


class FakeSurroundings:
    """A host whose network namespaces are a dictionary of path and inode.

    `problems` are found inside of every container; `looked` is what was looked for there.
    """

    def __init__(self) -> None:
        self.namespaces: dict[str, int] = {"/proc/self/ns/net": 1}
        self.cookies: dict[str, int] = {}  # of those whose inode came again
        self.unseen: OSError | None = None  # why it cannot be looked at namespaces now
        self.working = asyncio.Event()  # whether the ends of links send at once
        self.working.set()
        self.awaited: asyncio.Queue[str] = asyncio.Queue()  # links that somebody waited for
        self.problems: list[str] = []
        self.looked: list[Inside] = []
        self.repaired: list[str] = []
        self.foreign: list[ForeignPrefix] = []
        self.held: list[HeldPort] = []
        self.keepers: dict[str, str] = {}  # by container: the holder of its ports
        self.counted: dict[tuple[int, str], int] = {}
        self.told: dict[str, Value] = {}
        self.questions: list[Question] = []
        self.served: Counter[bytes] = Counter()  # connections, by a backend's address
        self.used: dict[int, Use] = {}  # by the number of a limit
        self.lookups = FakeLookups({})

    def netns_path(self, given: str) -> str:
        return given if given.startswith("/") else f"/run/netns/{given}"

    def netns_inode(self, path: str) -> int | None:
        if self.unseen:
            raise self.unseen
        return self.namespaces.get(path)

    def namespace(self, path: str) -> Namespace | None:
        inode = self.netns_inode(path)
        if inode is None:
            return None
        return Namespace(inode=inode, cookie=self.cookies.get(path, 0), boot="b")

    def host_netns(self) -> int:
        return self.namespaces["/proc/self/ns/net"]

    async def at_work(self, link: str) -> None:
        self.awaited.put_nowait(link)
        await self.working.wait()

    def check_inside(self, inside: Inside) -> list[str]:
        self.looked.append(inside)
        return [f"{inside.name}: {problem}" for problem in self.problems]

    def repair_inside(self, inside: Inside) -> None:
        self.repaired.append(inside.name)
        self.problems = []

    def foreign_prefixes(self) -> list[ForeignPrefix]:
        return list(self.foreign)

    def network_mtu(self, overhead: int) -> int:
        return 1500 - overhead

    def held_ports(self, ports: Collection[HostPort], container: str) -> list[HeldPort]:
        held = [had for had in self.held if (had.protocol, had.port) in ports]
        return [had for had in held if had.holder != self.keepers.get(container)]

    def drops(self) -> dict[tuple[int, str], int]:
        return dict(self.counted)

    def connections(self, addresses: Collection[bytes]) -> int:
        return sum(self.served[address] for address in addresses)

    def use(self, number: int) -> Use:
        return self.used.get(number, Use())

    def limited(self) -> int:
        return sum(use.full + use.fast for use in self.used.values())

    def forget_clients(self) -> None:
        pass

    async def ask_routed(self, question: Question, kind: type[T]) -> T:
        """`told` by what is asked; nobody answers where nothing is told."""
        self.questions.append(question)
        if question.ask not in self.told:
            raise Unavailable("routed does not answer")
        answer = self.told[question.ask]
        assert isinstance(answer, kind)
        return answer

    def tables(self) -> Tables:
        return Tables(self.lookups.find, next_door)

    def whereabouts(self) -> Whereabouts:
        return Whereabouts(machine="m", boot="b")

    def forget_devices(self, present: set[int]) -> None:
        self.counted = {k: n for k, n in self.counted.items() if k[0] in present}

    def underlay(self) -> tuple[Address, ...]:
        return (ip_address("192.0.2.1"),)

    def data_plane(self) -> tuple[str, str]:
        return "tcx", "0" * 16
