"""More flows than the table of flows has room for: who is connected stays so.

┌─ client ─┐      ┌──── stage ────┐      ┌── anna ──┐  port 7000, published as 8080
│     eth0 ┼─veth─┼ up0      swy1 ┼─veth─┼ eth0     │
└──────────┘      │          swy2 ┼─veth─┼ eth0     │  bert: port 7000, as 9090 and as 9091
                  └───────────────┘      └──────────┘

The flood runs through the programs on the very maps that the connections use, without a wire
(BPF_PROG_TEST_RUN): a client has no more addresses than its kernel, the world has.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane import Container, Host, hosts
from edge import spent
from frames import spoken
from namespaces import Netns, namespaces
from oracle_published import Key
from outside import ANY, BACKEND, PUBLIC, TCP, UDP, opened, publish, wire
from seaway.bpf import abi, trial
from seaway.bpf.table import Table
from seaway.bpf.uplinks import UplinkTarget
from seaway.model.addresses import mapped
from seaway.names import GATEWAY_MAC
from stage import mac_octets

SOLE, FIRST, SECOND = 8080, 9090, 9091
FLOWS = [200_000, pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
PIECE = 20_000  # flows of one turn on the stage
LEFT = 1000  # tokens
ROOM = 65_536


@dataclass
class Scene:
    host: Host
    client: Netns
    anna: Container
    bert: Container
    uplink: int  # its ifindex
    mac: bytes  # of the uplink

    @property
    def containers(self) -> tuple[Container, ...]:
        return self.anna, self.bert


@pytest.fixture
def scene() -> Iterator[Scene]:
    with namespaces() as make, hosts() as raise_host:
        host, client = raise_host(), make()
        anna, bert = (host.add(make(), n, flags=abi.ENDPOINT_PUBLISHED) for n in (1, 2))
        uplinks = host.place.run(UplinkTarget, host.plane, "auto")
        uplink = wire(host, client)
        assert {} == host.place.run(uplinks.put, {"up0": uplink})
        publish(host, anna, SOLE, sole=True)
        host.place.run(answer, host, dict(origins(anna, SOLE)))
        for port in (FIRST, SECOND):
            publish(host, bert, port, sole=False)
        host.place.run(answer, host, dict(origins(bert, 0)))
        told = host.place.shell("ip -o link show up0").split()
        mac = mac_octets(told[told.index("link/ether") + 1])
        yield Scene(host, client, anna, bert, uplink.ifindex, mac)
        uplinks.close()


def answer(host: Host, known: dict[abi.PortKey, abi.Origin]) -> None:
    items = [(key.pack(), origin.pack()) for key, origin in known.items()]
    assert {} == Table(host.plane.maps["origins"]).update(items)


def origins(container: Container, port: int) -> Iterator[tuple[abi.PortKey, abi.Origin]]:
    """What answers look like whose flow is forgotten; port 0: that is not certain."""
    for family in (4, 6):
        for protocol in (TCP, UDP):
            backend = mapped(ip_address(container.address(family)))
            public = mapped(ip_address(PUBLIC[family])) if port else bytes(16)
            key = abi.PortKey(backend, BACKEND.to_bytes(2), protocol)
            yield key, abi.Origin(public, port.to_bytes(2))


@dataclass
class Connection:
    """Both its ends."""

    name: str
    client: socket.socket
    server: socket.socket
    certain: bool  # to where it belongs, though its flow be forgotten

    def speaks(self) -> None:
        """From the client to the server, and back."""
        self.goes(self.client, self.server)
        self.goes(self.server, self.client)

    def answers(self) -> None:
        """The server first."""
        self.goes(self.server, self.client)
        self.goes(self.client, self.server)

    def goes(self, source: socket.socket, target: socket.socket) -> None:
        source.sendall(b"still there?")
        got = target.recv(100)
        assert b"still there?" == got, self.name


class Servers:
    """Listens in both containers, and connects to them."""

    def __init__(self, scene: Scene, stack: ExitStack) -> None:
        self._scene, self._stack = scene, stack
        self._listening = {}
        for container in scene.containers:
            for family in (4, 6):
                server = stack.enter_context(container.socket(family, socket.SOCK_STREAM))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == 6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind((ANY[family], BACKEND))
                server.listen(16)
                self._listening[container, family] = server

    def connect(self, asking: Netns, family: int, port: int) -> Connection:
        backend = self._scene.anna if port == SOLE else self._scene.bert
        client = self._stack.enter_context(opened(asking, family, socket.SOCK_STREAM))
        client.settimeout(30)
        client.connect((PUBLIC[family], port))
        server, _ = self._listening[backend, family].accept()
        self._stack.enter_context(server)
        server.settimeout(30)
        certain = port == SOLE or asking is not self._scene.client
        made = Connection(f"{asking.name} to {port} by IPv{family}", client, server, certain)
        made.speaks()
        return made


@contextmanager
def connected(scene: Scene) -> Iterator[tuple[Servers, list[Connection]]]:
    """From outside to every port, and from each container to the ports of both."""
    asking = (scene.client, scene.anna.netns, scene.bert.netns)
    with ExitStack() as stack:
        servers = Servers(scene, stack)
        yield (
            servers,
            [
                servers.connect(space, family, port)
                for space in asking
                for family in (4, 6)
                for port in (SOLE, FIRST, SECOND)
            ],
        )


def flood(scene: Scene, count: int) -> None:
    """The first packets of so many flows, from anywhere to any of the ports."""
    draw = random.Random(count)
    for start in range(0, count, PIECE):
        scene.host.place.run(flood_piece, scene, draw, min(PIECE, count - start))


def flood_piece(scene: Scene, draw: random.Random, count: int) -> None:
    program = scene.host.plane.programs["from_wire"].fd
    context = trial.Context(scene.uplink, scene.uplink)
    frames = [bytearray(scene.mac + bytes(6) + frame) for frame in first_packets()]
    for _ in range(count):
        frame = draw.choice(frames)
        at = 14 + 20 if len(frame) < 70 else 14 + 40
        if at == 34:
            frame[27:30] = draw.randbytes(3)
        else:
            frame[30:38] = draw.randbytes(8)
        frame[at : at + 2] = draw.randbytes(2)
        trial.run(program, bytes(frame), context)
        trial.run(program, bytes(frame), context)  # by its flow: an entry in use


def first_packets() -> Iterator[bytes]:
    for family, source in ((4, "11.0.0.1"), (6, "2001:db8:200::1")):
        for port in (SOLE, FIRST, SECOND):
            for protocol in (TCP, UDP):
                places = ip_address(source), 1, ip_address(PUBLIC[family]), port
                ethertype = b"\x08\x00" if family == 4 else b"\x86\xdd"
                yield ethertype + spoken(Key(protocol, *places), b"", flags=2)


def memory(host: Host) -> dict[str, str]:
    """Of every map: what the kernel counts for it."""
    return host.place.run(
        lambda: {
            name: next(
                line
                for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
                if line.startswith("memlock")
            )
            for name, fd in host.plane.maps.items()
        }
    )


def entries(host: Host) -> int:
    return host.place.run(lambda: len(list(Table(host.plane.maps["flows"]).elements())))


@pytest.mark.parametrize("count", FLOWS)
def test_who_is_connected_stays_so_in_a_flood_of_flows(scene, count):
    """Who is outside and asked a port that is published twice is to speak first."""
    with connected(scene) as (servers, connections):
        before = memory(scene.host)
        flood(scene, count)

        assert before == memory(scene.host)
        assert entries(scene.host) <= ROOM
        for connection in connections:
            if connection.certain:
                connection.answers()
            else:
                connection.speaks()
        for family in (4, 6):
            for space in (scene.client, scene.anna.netns, scene.bert.netns):
                servers.connect(space, family, SOLE)
            servers.connect(scene.anna.netns, family, FIRST)


def test_who_opens_too_many_flows_is_refused_and_nobody_else(scene):
    with connected(scene) as (servers, connections):
        spend(scene)
        frames = [anna_asks(scene, port) for port in range(1, 2 * LEFT)]
        run_out = scene.host.place.run(verdicts, scene, frames)
        assert {trial.REDIRECT, trial.SHOT} == set(run_out)
        assert run_out.count(trial.SHOT) == scene.host.drops(scene.anna)["flow_limit"]

        servers.connect(scene.bert.netns, 4, SOLE)
        servers.connect(scene.client, 4, FIRST)
        for connection in connections:
            connection.answers()


def spend(scene: Scene) -> None:
    """Of anna's tokens all but a few, and no new ones: on a slow machine these were enough."""
    table = Table(scene.host.plane.maps["budgets"])
    scene.host.place.run(table.update, [spent(scene.anna.ifindex, LEFT)])


def anna_asks(scene: Scene, port: int) -> bytes:
    places = ip_address(scene.anna.address(4)), port, ip_address(PUBLIC[4]), FIRST
    head = mac_octets(GATEWAY_MAC) + scene.anna.record.mac + b"\x08\x00"
    return head + spoken(Key(UDP, *places), b"")


def verdicts(scene: Scene, frames: list[bytes]) -> list[int]:
    program = scene.host.plane.programs["from_endpoint"].fd
    context = trial.Context(0, scene.anna.ifindex)
    return [trial.run(program, frame, context).verdict for frame in frames]
