"""Published ports with real packets, offloads on, beside a firewall that forwards nothing.

┌─ client ─┐      ┌──── stage ────┐      ┌── anna ──┐
│     eth0 ┼─veth─┼ up0      swy1 ┼─veth─┼ eth0     │  port 7000, published as 8080
└──────────┘      │          swy2 ┼─veth─┼ eth0     │  bert, on the same network
                  └───────────────┘      └──────────┘
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from dataplane import HOST, Container, Host, hosts
from namespaces import Netns, namespaces
from outside import ANY, BACKEND, CLIENT, PUBLIC, answer, opened, publications, publish, wire
from seaway.bpf import abi
from seaway.bpf.table import Table
from seaway.bpf.uplinks import UplinkTarget
from seaway.model.kernel import Uplink
from waiting import wait

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PORT = 8080


@dataclass(frozen=True)
class Scene:
    host: Host
    client: Netns
    uplink: Uplink
    uplinks: UplinkTarget
    anna: Container
    bert: Container

    def open_client(self, family: int, kind: int) -> socket.socket:
        return opened(self.client, family, kind)


@pytest.fixture(scope="module", params=["cls_bpf", "auto"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with namespaces() as make, hosts() as raise_host:
        host, client = raise_host(request.param), make()
        anna, bert = (host.add(make(), n, flags=abi.ENDPOINT_PUBLISHED) for n in (1, 2))
        uplinks = host.place.run(UplinkTarget, host.plane, request.param)
        uplink = wire(host, client)
        assert {} == host.place.run(uplinks.put, {"up0": uplink})
        publish(host, anna, PORT, sole=True)
        yield Scene(host, client, uplink, uplinks, anna, bert)
        uplinks.close()


@contextmanager
def echo(container: Container, family: int) -> Iterator[list[str]]:
    """A server of streams, which notes who came."""
    came: list[str] = []
    with container.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((ANY[family], BACKEND))
        server.listen(8)

        def serve() -> None:
            while True:
                try:
                    taken, sender = server.accept()
                except OSError:
                    return
                came.append(sender[0])
                threading.Thread(target=answer, args=(taken,)).start()

        thread = threading.Thread(target=serve)
        thread.start()
        yield came
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def exchange(client: socket.socket, at: tuple[str, int], megabytes: int = 4) -> bool:
    """Whether a stream comes back whole."""
    content = hashlib.shake_128(b"seaway").digest(1 << 20) * megabytes
    client.connect(at)
    sender = threading.Thread(target=client.sendall, args=(content,))
    sender.start()
    got = bytearray()
    while len(got) < len(content):
        piece = client.recv(1 << 16)
        if not piece:
            break
        got += piece
    sender.join(60)
    return got == content


@FAMILIES
def test_a_stream_from_outside_comes_back_whole_and_shows_its_client(scene, family):
    with echo(scene.anna, family) as came, scene.open_client(family, socket.SOCK_STREAM) as client:
        assert exchange(client, (PUBLIC[family], PORT))
        assert PUBLIC[family] == client.getpeername()[0]
        assert [CLIENT[family]] == came


@FAMILIES
def test_a_neighbour_and_the_container_itself_reach_it_too(scene, family):
    for asking, seen in ((scene.bert, scene.bert.address(family)), (scene.anna, HOST[family])):
        with echo(scene.anna, family) as came, asking.socket(family, socket.SOCK_STREAM) as client:
            assert exchange(client, (PUBLIC[family], PORT))
            assert [seen] == came


@FAMILIES
def test_a_datagram_and_its_answer(scene, family):
    with (
        scene.anna.socket(family, socket.SOCK_DGRAM) as server,
        scene.open_client(family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((ANY[family], BACKEND))
        for size in (1, 1400, 20_000):  # the last in fragments
            client.sendto(b"q" * size, (PUBLIC[family], PORT))
            question, sender = server.recvfrom(1 << 16)
            assert (size, CLIENT[family]) == (len(question), sender[0])
            server.sendto(b"a" * size, sender)
            got, sender = client.recvfrom(1 << 16)
            assert (size, (PUBLIC[family], PORT)) == (len(got), sender[:2])


@FAMILIES
def test_a_port_that_nobody_listens_on_is_refused_at_once(scene, family):
    with (
        scene.open_client(family, socket.SOCK_STREAM) as client,
        pytest.raises(ConnectionRefusedError),
    ):
        client.connect((PUBLIC[family], PORT))
    with scene.open_client(family, socket.SOCK_DGRAM) as client:  # by a translated ICMP error
        client.connect((PUBLIC[family], PORT))
        client.send(b"q")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)


@FAMILIES
def test_a_stream_lives_on_when_its_flow_is_forgotten(scene, family):
    with echo(scene.anna, family), scene.open_client(family, socket.SOCK_STREAM) as client:
        client.connect((PUBLIC[family], PORT))
        for _ in range(5):
            client.sendall(b"ping")
            assert b"ping" == client.recv(100)
            assert forget(scene.host) >= 2


def forget(host: Host) -> int:
    def work() -> int:
        tables = [Table(host.plane.maps[name]) for name in ("flows", "inner_flows")]
        keys = [(table, key) for table in tables for key, _ in table.elements()]
        for table, key in keys:
            table.delete([key])
        return len(keys)

    return host.place.run(work)


@FAMILIES
def test_a_datagram_flow_does_not_outlive_its_mapping(scene, family):
    publish(scene.host, scene.bert, PORT + 1, sole=True)
    with (
        scene.bert.socket(family, socket.SOCK_DGRAM) as server,
        scene.open_client(family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((ANY[family], BACKEND))
        client.sendto(b"q", (PUBLIC[family], PORT + 1))
        _, sender = server.recvfrom(100)
        gone = {key for key, _ in publications(scene.bert, PORT + 1, sole=True)}
        assert {} == scene.host.place.run(scene.host.targets["publications"].delete, gone)

        client.sendto(b"q", (PUBLIC[family], PORT + 1))
        server.sendto(b"late", sender)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.recvfrom(100)


OTHERS = "tc filter replace dev up0 ingress pref 24576 handle 1 protocol all bpf bytecode"
ALL, COPY = "1,6 0 0 4294967295", "action mirred egress mirror dev swm0"


def test_the_program_of_another_on_the_device_stays_and_runs(scene):
    """Ours passes on what it does not decide."""
    place = scene.host.place
    place.shell("ip link add swm0 type veth peer name swm1; ip link set swm0 up")
    place.run(subprocess.run, ["tc", "qdisc", "add", "dev", "up0", "clsact"], check=False)
    place.run(subprocess.run, [*OTHERS.split(), ALL, *COPY.split()], check=True)
    scene.client.run(f"ping -c 3 -i 0.01 {PUBLIC[4]}")

    assert "Sent 0 bytes" not in place.shell("tc -s filter show dev up0 ingress pref 24576")
    assert {} == place.run(scene.uplinks.put, {"up0": scene.uplink})
    assert "mirred" in place.shell("tc filter show dev up0 ingress")


def test_an_uplink_is_read_back_and_repaired_by_an_agent_without_memory(scene):
    host = scene.host
    way = "auto" if scene.host.way == "auto" else "cls_bpf"
    other = host.place.run(UplinkTarget, host.plane, way)
    assert {"up0": scene.uplink} == host.place.run(other.read)

    assert {} == host.place.run(other.delete, {"up0"})
    assert wait(lambda: {} == host.place.run(other.read))
    assert {} == host.place.run(other.delete, {"up0"})
    assert {} == host.place.run(other.put, {"up0": scene.uplink})
    assert {"up0": scene.uplink} == host.place.run(other.read)
    gone = replace(scene.uplink, device="up9")
    assert {"up9"} == host.place.run(other.put, {"up9": gone}).keys()
    other.close()
