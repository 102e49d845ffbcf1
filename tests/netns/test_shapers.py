"""Endpoints with a limited bandwidth: the real shapers, and what arrives.

┌── anna ──┐      ┌──────── stage ─────────┐      ┌── bert ──┐
│     eth0 ┼─veth─┼ swy1 ═ swyi1║swyo1     │      │          │    anna is limited, both ways
└──────────┘      │                   swy2 ┼─veth─┼ eth0     │    bert and carl are not
                  │                   swy3 ┼─veth─┼ carl     │
                  └────────────────────────┘      └──────────┘
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

import contracts
from dataplane import HOST, Container, Host, hosts
from namespaces import namespaces
from seaway.bpf.shapers import LOST, take_away
from seaway.names import shaper_names
from shaped import Shaped, wanted_of
from talk import PORT, exchange, transfer
from waiting import wait

RATE = 10_000_000  # bits a second
SECONDS = 1.5
TRIES = 10
FEW = 10_000  # bytes: the kernel tells of groups on every device
SHAPER_MARK = 0x53575901
STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


@dataclass(frozen=True)
class Scene:
    host: Host
    limited: Shaped
    anna: Container
    bert: Container
    carl: Container


@pytest.fixture(scope="module")
def stood() -> Iterator[Scene]:
    with namespaces() as make, hosts() as raise_host:
        host = raise_host()
        containers = [host.add(make(), number) for number in (1, 2, 3)]
        limited = Shaped(host, containers[0])
        yield Scene(host, limited, *containers)
        limited.target.close()


@pytest.fixture
def scene(stood: Scene) -> Iterator[Scene]:
    stood.limited.shape(RATE, RATE)
    yield stood
    stood.limited.end()


def streamed(sender: Container, receiver: Container, family: int = 4) -> float:
    """Bits a second that arrived, from the moment before the first one was sent."""
    got, ended = 0, threading.Event()
    with receiver.socket(family, STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((receiver.address(family), PORT))
        server.listen(1)
        begun = time.monotonic()

        def send() -> None:
            with sender.socket(family, STREAM) as client:
                client.connect((receiver.address(family), PORT))
                while not ended.is_set():
                    client.sendall(bytes(1 << 16))

        thread = threading.Thread(target=send)
        thread.start()
        taken, _ = server.accept()
        with taken:
            while piece := taken.recv(1 << 20):
                got += len(piece)
                if time.monotonic() > begun + SECONDS:
                    ended.set()
        seconds = time.monotonic() - begun
        thread.join(60)
    return got * 8 / seconds


def sent_apart(sender: Container, receiver: Container, family: int = 4) -> float:
    """The same by datagrams, of which many more are sent."""
    got, ended = 0, threading.Event()
    with receiver.socket(family, DATAGRAM) as server, sender.socket(family, DATAGRAM) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        server.bind((receiver.address(family), PORT))
        client.connect((receiver.address(family), PORT))
        begun = time.monotonic()

        def send() -> None:
            while not ended.is_set():
                client.send(bytes(1400))

        thread = threading.Thread(target=send)
        thread.start()
        while (seconds := time.monotonic() - begun) < SECONDS:
            got += len(server.recv(2000)) + 28
        ended.set()
        thread.join(60)
    return got * 8 / seconds


@pytest.mark.parametrize("way", ["into", "out"])
@pytest.mark.parametrize("send", [streamed, sent_apart])
def test_what_arrives_is_the_rate(scene, send: Callable[..., float], way):
    """Never more, but for a burst. How much less depends on what else the machine does."""
    ends = (scene.bert, scene.anna) if way == "into" else (scene.anna, scene.bert)
    found = 0.0
    for _ in range(TRIES):
        found = max(found, send(*ends))
        assert found < 1.1 * RATE
        if found > 0.8 * RATE:
            break
    assert found > 0.8 * RATE


def test_what_the_host_sends_is_limited_too(scene):
    """By its stack, and to_endpoint."""
    before, _ = scene.limited.carried(1)
    scene.host.place.shell(f"ping -c 3 -i 0.01 -W 5 {scene.anna.address(4)}")
    after, _ = scene.limited.carried(1)
    assert after >= before + 3


@pytest.mark.parametrize("family", [4, 6])
def test_streams_arrive_whole_in_trains_both_ways(scene, family):
    scene.limited.shape(800_000_000, 800_000_000)
    for end, (sender, receiver) in enumerate(((scene.anna, scene.bert), (scene.bert, scene.anna))):
        before = scene.limited.carried(end)
        assert transfer(sender, receiver, family)
        packets, octets = (
            now - then for now, then in zip(scene.limited.carried(end), before, strict=True)
        )
        assert octets > 8 << 20
        assert octets / packets > 3 * 1500


def test_trains_longer_than_a_burst_are_cut_and_arrive(scene):
    scene.limited.shape(8_000_000, 8_000_000)
    assert transfer(scene.anna, scene.bert, 4, megabytes=1)


def test_only_a_limited_way_goes_by_the_shaper(scene):
    scene.limited.shape(800_000_000, 0)
    (_, out), (_, into) = (scene.limited.carried(end) for end in (0, 1))
    assert transfer(scene.anna, scene.bert, 4, megabytes=1)
    assert scene.limited.carried(0)[1] - out < FEW
    assert transfer(scene.bert, scene.anna, 4, megabytes=1)
    assert scene.limited.carried(1)[1] - into > 1 << 20


def test_others_go_past_it(scene):
    before = [scene.limited.carried(end)[1] for end in (0, 1)]
    assert transfer(scene.bert, scene.carl, 4, megabytes=1)
    assert all(scene.limited.carried(end)[1] - before[end] < FEW for end in (0, 1))


def test_no_container_marks_itself_as_one_that_has_waited(scene):
    with scene.anna.socket(4, DATAGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, SHAPER_MARK)
        before, _ = scene.limited.carried(0)
        for _ in range(10):
            client.sendto(b"q", (scene.bert.address(4), PORT))
        assert wait(lambda: scene.limited.carried(0)[0] >= before + 10)


def test_a_limited_container_reaches_its_host_and_is_judged_as_ever(scene):
    scene.anna.netns.run(f"ping -c 1 -W 5 {HOST[4]}; ping -c 1 -W 5 {HOST[6]}")
    before = scene.host.drops(scene.anna).get("no_endpoint", 0)
    with scene.anna.socket(4, DATAGRAM) as client:
        client.sendto(b"q", ("10.208.0.77", PORT))
    assert scene.host.counts(scene.anna, "no_endpoint", before + 1)


def test_what_somebody_took_away_is_put_back(scene):
    into, out = shaper_names(scene.anna.link)
    whole = {scene.anna.link: wanted_of(scene.anna.link, RATE, RATE)}
    for damage in (
        f"tc qdisc del dev {into} root",
        f"tc qdisc replace dev {out} root handle 1: tbf rate 1mbit burst 4k limit 8k",
        f"tc qdisc del dev {into} clsact",
        f"ip link set {out} down",
        f"ip link set {into} mtu 1400",
        f"ip link set {into} address 02:00:00:00:00:01",
        f"ip link del {into}",
    ):
        scene.host.place.shell(damage)
        assert whole != scene.host.place.run(scene.limited.target.read), damage
        assert {} == scene.host.place.run(scene.limited.target.put, whole)
        assert whole == scene.host.place.run(scene.limited.target.read), damage
    scene.limited.enter(RATE, RATE)
    assert exchange(scene.anna, scene.bert, 4)


def test_while_its_shaper_is_gone_nothing_passes_and_it_is_counted(scene):
    """Both ways, and what the host's stack sends; until it is put back."""
    anna, bert, place = scene.anna, scene.bert, scene.host.place
    into, _ = shaper_names(anna.link)
    with anna.socket(4, DATAGRAM) as mine, bert.socket(4, DATAGRAM) as theirs:
        for made, container in ((mine, anna), (theirs, bert)):
            made.bind((container.address(4), PORT))
        place.shell(f"ip link del {into}")
        assert {} == place.run(scene.limited.target.read)
        assert LOST == scene.limited.ends[anna.link]
        scene.limited.lose()
        before = [scene.host.drops(c).get("no_shaper", 0) for c in (anna, bert)]
        mine.sendto(b"out", (bert.address(4), PORT))
        assert scene.host.counts(anna, "no_shaper", before[0] + 1)
        theirs.sendto(b"in", (anna.address(4), PORT))
        assert scene.host.counts(bert, "no_shaper", before[1] + 1)
        place.run(by_host, anna)
        assert scene.host.counts(anna, "no_shaper", before[0] + 2)

        scene.limited.shape(RATE, RATE)
        theirs.sendto(b"again", (anna.address(4), PORT))
        assert b"again" == mine.recv(100)


def by_host(container: Container) -> None:
    """A datagram of the host's own."""
    with socket.socket(socket.AF_INET, DATAGRAM) as made:
        made.sendto(b"host", (container.address(4), PORT))


def test_a_stranger_of_the_same_name_is_left(scene):
    place, (into, _) = scene.host.place, shaper_names("swy9")
    place.shell(f"ip link add {into} type veth peer name other")
    assert "swy9" not in place.run(scene.limited.target.read)
    (error,) = place.run(scene.limited.target.put, {"swy9": wanted_of("swy9", RATE, 0)}).values()
    assert into in str(error)
    assert {} == place.run(scene.limited.target.delete, {"swy9"})
    place.run(take_away)
    assert {} == place.run(scene.limited.target.read)
    place.shell(f"ip link show {into}; ip link del {into}")


def test_shapers_keep_the_contract_of_targets(stood):
    target = Run(stood)
    old = {"swy1": wanted_of("swy1", RATE, 0), "swy8": wanted_of("swy8", RATE, RATE)}
    new = {"swy1": wanted_of("swy1", 2 * RATE, RATE), "swy8": wanted_of("swy8", 0, RATE, 1400)}
    contracts.puts_and_deletes(target, old)
    contracts.changes_what_is_there(target, old, new)
    assert {} == target.delete(set(old))
    assert {None} == {stood.limited.ends[link] for link in old}


class Run:
    """The target on its stage."""

    name = "shapers"

    def __init__(self, scene: Scene) -> None:
        self._run = scene.host.place.run
        self._target = scene.limited.target

    def read(self):
        return self._run(self._target.read)

    def put(self, objects):
        return self._run(self._target.put, objects)

    def delete(self, keys):
        return self._run(self._target.delete, keys)
