"""Containers that ask services, and answer them: the real hooks on a cgroup of the test's own.

┌─ anna ──┐      ┌───── stage ─────┐      ┌─ bert ──┐
│ eth0    ┼─veth─┼ swy1  BPF  swy2 ┼─veth─┼ eth0    │   each has a server at port 7000, streams
└─────────┘      │            swy3 ┼─veth─┼ eth0 …  │   and datagrams: its answer is its own number,
                 └─────────────────┘      └─────────┘   and the address of who asks
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import accumulate
from pathlib import Path

from dataplane import Container, Host, hosts
from namespaces import namespaces
from opener import Opener, cgroup, opener
from seaway.bpf import abi, syscall
from seaway.bpf.askers import ASKED, Asked, Place
from seaway.bpf.partings import Partings
from seaway.bpf.running import Running
from seaway.bpf.services import ServiceTarget
from seaway.bpf.sockets import SocketTarget
from seaway.bpf.table import Table
from seaway.desired.indexes import INDEXES
from seaway.desired.network.networks import SERVICES
from seaway.desired.transport.maglev import table
from seaway.draining import Draining, Lingering
from seaway.facts import Facts
from seaway.kernel import netns
from seaway.lab import cgroups
from seaway.model.addresses import mapped
from seaway.model.kernel import SOCKET_HOOKS, SocketHook
from seaway.model.services import DRAIN, Distant

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
TCP, UDP = 6, 17
PROTOCOLS = {STREAM: TCP, DATAGRAM: UDP}
VIP = {4: "10.223.0.1", 6: "fd00:0:0:ff::1"}
VIPS = (ip_network("10.223.0.0/16"), ip_network("fd00:0:0:ff::/112"))
PORT, BACKEND = 80, 7000
ONE_IN_A_MILLION = {
    3: 30.665,
    9: 44.811,
}  # chi-squared by degrees of freedom: by chance once in so many


def port_key(address: str, port: int, protocol: int) -> abi.PortKey:
    return abi.PortKey(mapped(ip_address(address)), port.to_bytes(2, "big"), protocol)


def frontend(  # noqa: PLR0913, PLR0917, a service is all of this
    places: Sequence[tuple[str, int]],
    weights: Sequence[int] = (),
    algorithm: int = abi.SERVICE_RANDOM,
    affinity: int = 0,
    flags: int = 0,
    limit: int = 0,
) -> abi.Frontend:
    """Of these backends; each weighs 1 where nothing else is said. By Maglev with its table."""
    each = list(weights) or [1] * len(places)
    upto = list(accumulate(each))
    backends = tuple(
        abi.Backend(
            mapped(ip_address(address)),
            port.to_bytes(2, "big"),
            0 if weight else abi.BACKEND_IDLE,
            total,
        )
        for (address, port), weight, total in zip(places, each, upto, strict=True)
    )
    even = abi.SERVICE_EVEN if len(set(each)) == 1 else 0
    total = upto[-1] if upto else 0
    service = abi.Service(len(backends), total, affinity, algorithm, flags | even, limit)
    entries = table(backends) if algorithm == abi.SERVICE_MAGLEV else b""
    return abi.Frontend(service, backends, drain=DRAIN, table=entries)


def by_slots(slots: Sequence[int]) -> bytes:
    """Maglev's table, with these slots in turn."""
    size = 2 * abi.MAGLEV_PARTS * abi.MAGLEV_PART
    each = [slots[n % len(slots)] for n in range(abi.MAGLEV_SIZE)]
    return b"".join(slot.to_bytes(2, sys.byteorder) for slot in each).ljust(size, b"\0")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Scene:
    """`stranger`: a namespace that is nobody's client. `facts`: the endpoints that are known."""

    host: Host
    opener: Opener
    facts: Facts
    draining: Draining
    services: ServiceTarget
    partings: Partings
    spaces: list[tuple[str, int]]
    clock: Clock
    containers: tuple[Container, ...]
    stranger: Container
    home: Path

    def serve(self, frontends: dict[abi.PortKey, abi.Frontend]) -> None:
        assert {} == self.host.place.run(self.services.put, frontends)

    def serve_by(self, containers: Sequence[Container], **how: object) -> None:
        """Port 80 of the VIP of each family, streams and datagrams, by these."""
        self.serve(
            {
                port_key(VIP[family], PORT, protocol): frontend(
                    [(c.address(family), BACKEND) for c in containers],
                    **how,  # type: ignore[arg-type]
                )
                for family in (4, 6)
                for protocol in (TCP, UDP)
            }
        )

    def serve_places(self, places: Sequence[tuple[str, int]], **how: object) -> None:
        """The same of one family and of datagrams alone, which ask without a packet."""
        made = frontend(places, **how)  # type: ignore[arg-type]
        self.serve({port_key(VIP[4], PORT, UDP): made})

    def clear_services(self) -> None:
        place = self.host.place
        assert {} == place.run(self.services.delete, set(place.run(self.services.read)))

    def clear(self) -> None:
        place = self.host.place
        self.clear_services()
        self.know(())
        kept = ("serving", "turns", "affinities", "associations")
        for name in (*kept, "limits", "uses", "guests", "counted", "balanced"):
            table = self.table(name)
            place.run(lambda t: t.delete([key for key, _ in t.elements()]), table)

    def know(self, containers: Iterable[Container]) -> None:
        """These are endpoints, and no others."""
        known = {str(c.number): c for c in containers}
        for name in {one.id for one in self.facts.all(Distant)} - known.keys():
            self.facts.change(Distant, name, None)
        for name, container in known.items():
            addresses = tuple(ip_address(container.address(family)) for family in (4, 6))
            made = Distant(id=name, name=name, network="n", host="h", addresses=addresses)
            self.facts.change(Distant, name, made)

    def table(self, name: str) -> Table:
        return Table(self.host.plane.maps[name])

    def open(self, where: Container | Path, family: int, kind: int) -> socket.socket:
        path = where.netns.path if isinstance(where, Container) else where
        return self.opener.open(path, family, kind)

    def asked(self, made: socket.socket) -> Asked | None:
        """What the hooks noted of a socket."""
        key = made.fileno().to_bytes(4, sys.byteorder)
        found = syscall.lookup(self.host.plane.maps["sockets"], key, ASKED)
        return Asked.unpack(found) if found else None

    def backend(self, made: socket.socket) -> tuple[bytes, bytes]:
        """Whom a socket was led to."""
        asked = self.asked(made)
        assert asked is not None
        place = Place.unpack(asked.backend)
        return place.addr, place.port

    def end_parted(self) -> int:
        """The sockets whose time is over."""
        self.draining.look()
        return self.host.place.run(self.partings.end, self.services.serves)

    def running(self, container: Container) -> int:
        """Connections to its addresses."""
        running = self.host.place.run(Running, self.host.plane, self.services.serves)
        addresses = {mapped(ip_address(container.address(family))) for family in (4, 6)}
        return self.host.place.run(running.to, addresses)

    def connections(self, address: str, port: int, protocol: int) -> int:
        return self.partings.connections(port_key(address, port, protocol))


def answer(client: socket.socket) -> str:
    """Of the server that a socket is connected to."""
    client.send(b"q")
    return client.recv(100).decode()


def place_of(address: str, port: int) -> tuple[bytes, bytes]:
    return mapped(ip_address(address)), port.to_bytes(2, "big")


@contextmanager
def scenes(number: int = 3) -> Iterator[Scene]:
    """One, with so many containers. All of them are clients."""
    with (
        namespaces() as make,
        hosts() as raise_host,
        cgroup(cgroups.root()) as group,
        opener(group) as opened,
        ExitStack() as stack,
    ):
        host: Host = raise_host()
        containers = tuple(host.add(make(), n + 1) for n in range(number))
        host.put("subnets", dict.fromkeys(VIPS, SERVICES))
        host.put("clients", {cookie(c): abi.Client(c.number) for c in containers})
        hooks = host.place.run(SocketTarget, host.plane, group)
        assert {} == host.place.run(hooks.put, {hook: SocketHook(hook) for hook in SOCKET_HOOKS})
        stack.callback(host.place.run, hooks.delete, set(SOCKET_HOOKS))
        spaces = [space(c, stack) for c in containers]
        clock = Clock()
        facts = Facts((), INDEXES)
        partings = host.place.run(Partings, host.plane, lambda: spaces, clock)
        draining = Draining(facts, partings, Lingering(facts, clock), {})
        draining.listen()
        services = host.place.run(ServiceTarget, host.plane, draining.left)
        for container in containers:
            stack.enter_context(serving(container))
        home = Path(f"/proc/{os.getpid()}/task/{host.place.process}/ns/net")
        stranger = host.add(make(), 200)
        parts = host, opened, facts, draining, services, partings
        yield Scene(*parts, spaces, clock, containers, stranger, home)


def space(container: Container, stack: ExitStack) -> tuple[str, int]:
    """Its path as the stage knows it, which does not see what is mounted elsewhere; its inode."""
    file = stack.enter_context(container.netns.path.open())
    return f"/proc/self/fd/{file.fileno()}", container.netns.inode


def cookie(container: Container) -> int:
    return netns.visit_path(container.netns.path, netns.cookie)


@contextmanager
def serving(container: Container) -> Iterator[None]:
    """Both protocols, both families."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for kind in (STREAM, DATAGRAM):
            made = stack.enter_context(container.socket(6, kind))
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.bind(("::", BACKEND))
            made.settimeout(None)
            if kind == STREAM:
                made.listen(512)
            selector.register(made, selectors.EVENT_READ, kind)
        stop, stopped = socket.socketpair()
        selector.register(stopped, selectors.EVENT_READ, None)
        thread = threading.Thread(target=_serve, args=(selector, str(container.number)))
        thread.start()
        with stop, stopped:
            try:
                yield
            finally:
                stop.send(b"x")
                thread.join(60)


def _serve(selector: selectors.BaseSelector, name: str) -> None:
    taken: set[socket.socket] = set()
    while True:
        for key, _ in selector.select():
            made, kind = key.fileobj, key.data
            if kind is None or not isinstance(made, socket.socket):
                for client in taken:
                    client.close()
                return
            if kind == DATAGRAM:
                _, sender = made.recvfrom(100)
                made.sendto(f"{name} {_written(sender)}".encode(), sender)
            elif made not in taken:
                client, _ = made.accept()
                taken.add(client)
                selector.register(client, selectors.EVENT_READ, STREAM)
            elif not _answer(made, name):
                selector.unregister(made)
                taken.discard(made)
                made.close()


def _answer(made: socket.socket, name: str) -> bool:
    """Whether there may be more."""
    try:
        if not made.recv(100):
            return False
        made.sendall(f"{name} {_written(made.getpeername())}".encode())
    except OSError:
        return False
    return True


def _written(sender: Sequence[object]) -> str:
    return str(sender[0]).removeprefix("::ffff:")


def chi_squared(counts: Iterable[int], expected: Sequence[float]) -> float:
    return sum(
        (count - wanted) ** 2 / wanted for count, wanted in zip(counts, expected, strict=True)
    )
