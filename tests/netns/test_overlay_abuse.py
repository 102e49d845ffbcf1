"""Who is on the wire and is no host of the cluster, and hosts that claim what is not theirs.

┌── anna ──┐    ┌── a ──┐          ┌── b ──┐    ┌── bert ──┐
│     eth0 ┼────┤  eth0 ┼── wire ──┼ eth0  ├────┼ eth0     │
└──────────┘    └───────┘   │  │   └───────┘    └──────────┘
                        mallory  c, which may not relay
"""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from cast import ip
from dataplane import Container, known
from edge import LOOPBACK
from namespaces import namespaces
from seaway.bpf import abi
from seaway.names import GATEWAY_MAC, OVERLAY_ID, OVERLAY_MAC, OVERLAY_PORT
from stage import Stage, carries, stage
from talk import PORT, exchange, listener
from waiting import wait
from wired import WiredHost, wires

FAMILIES = pytest.mark.parametrize("family", [4, 6])
OUTERS = pytest.mark.parametrize("outer", [4, 6])
MALLORY = {4: "198.18.0.66", 6: "fd53::66"}
CLIENT = {4: "192.0.2.7", 6: "2001:db8::7"}
NOBODY = 99  # number of no host
DIRECT = abi.NEXT_HOP_OVERLAY | abi.NEXT_HOP_DIRECT


@dataclass(frozen=True)
class Scene:
    a: WiredHost
    b: WiredHost
    c: WiredHost
    anna: Container
    bert: Container
    mallory: Stage
    mac: str  # of a's uplink

    def send(self, *frames: bytes | Packet) -> None:
        """By mallory, as they are."""

        def work() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind(("eth0", 0))
                for frame in frames:
                    raw.send(bytes(frame))

        self.mallory.run(work)

    def drops(self, ifindex: int) -> dict[str, int]:
        counted = self.a.place.run(self.a.counters.drops)
        return {reason: n for (device, reason), n in counted.items() if device == ifindex}


@pytest.fixture(scope="module", params=["cls_bpf", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with namespaces() as make, wires() as wire, stage() as mallory:
        a, b, c = wire(3, way=request.param)
        anna, bert = a.add(make(), 1), b.add(make(), 1)
        a.bury(c)
        a.wire.place.shell(
            f"ip link add evil type veth peer name eth0 netns {mallory.process}; "
            "ip link set evil master wire up"
        )
        mallory.shell("ip link set eth0 up")
        assert wait(lambda: carries(a.wire.place, "evil"))
        yield Scene(a, b, c, anna, bert, mallory, mac_of(a))


def claims(
    scene: Scene, family: int, source: str, words: bytes = b"claim", target: str = ""
) -> Packet:
    """A frame for anna, if for nobody else, from whom it likes to be."""
    head = Ether(src=GATEWAY_MAC, dst=OVERLAY_MAC)
    head /= ip(family, source, target or scene.anna.address(family))
    return head / UDP(sport=9, dport=PORT) / Raw(words)


def carried(scene: Scene, inner: bytes | Packet, src: str, vni: int = OVERLAY_ID) -> Packet:
    family = 6 if ":" in src else 4
    to = next(str(a) for a in scene.a.underlay if a.version == family)
    head = Ether(src="02:66:00:00:00:66", dst=scene.mac) / ip(family, src, to)
    return head / UDP(sport=50000, dport=OVERLAY_PORT, chksum=0) / VXLAN(vni=vni) / bytes(inner)


def wire_address(host: WiredHost, family: int) -> str:
    return next(str(a) for a in host.underlay if a.version == family)


@FAMILIES
@OUTERS
def test_what_no_host_of_the_cluster_may_send_arrives_nowhere_and_is_counted(scene, family, outer):
    b, c = wire_address(scene.b, outer), wire_address(scene.c, outer)
    berts = claims(scene, family, scene.bert.address(family))
    lies = {
        "unknown_host": carried(scene, berts, MALLORY[outer]),
        "spoofed_host": carried(scene, berts, c),
        "other_overlay": carried(scene, berts, b, vni=OVERLAY_ID + NOBODY),
        "spoofed_address": carried(scene, claims(scene, family, scene.anna.address(family)), b),
    }
    before = scene.drops(scene.a.device)
    with listener(scene.anna, family, socket.SOCK_DGRAM) as server:
        scene.send(*lies.values())
        scene.send(carried(scene, berts, b))  # of b itself it could be
        assert b"claim" == server.recv(100)
        for reason in lies:
            assert wait(
                lambda reason=reason: (
                    scene.drops(scene.a.device).get(reason, 0) == before.get(reason, 0) + 1
                )
            ), reason
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)


@FAMILIES
@OUTERS
def test_what_claims_that_another_host_was_asked_is_judged_by_who_sends_it(scene, family, outer):
    """By a published port, under that host's number: the source is never one of ours, and only the
    host itself says so, or who relays.
    """
    b, c = wire_address(scene.b, outer), wire_address(scene.c, outer)
    anna, bert, client = scene.anna, scene.bert.address(family), CLIENT[family]
    asked, answers = claims(scene, family, client), claims(scene, family, bert, target=client)
    by_b, by_a = OVERLAY_ID + scene.b.number, OVERLAY_ID + scene.a.number
    lies = [
        ("unknown_host", carried(scene, asked, MALLORY[outer], by_b)),
        ("unknown_host", carried(scene, answers, MALLORY[outer], by_a)),
        ("spoofed_host", carried(scene, asked, c, by_b)),
        ("spoofed_host", carried(scene, answers, c, by_a)),
        ("other_overlay", carried(scene, asked, b, OVERLAY_ID + NOBODY)),
        ("spoofed_address", carried(scene, asked, b, by_a)),
        ("spoofed_address", carried(scene, claims(scene, family, bert), b, by_b)),
        ("spoofed_address", carried(scene, claims(scene, family, bert), b, by_a)),
        ("no_flow", carried(scene, answers, b, by_a)),
        *(
            ("spoofed_address", carried(scene, claims(scene, family, source), b, by_b))
            for source in (anna.address(family), scene.a.own[family], LOOPBACK[family])
        ),
    ]
    counted = Counter(scene.drops(scene.a.device))
    with listener(anna, family, socket.SOCK_DGRAM) as server, published(scene.a, anna):
        scene.send(*(frame for _, frame in lies))
        scene.send(carried(scene, asked, b, by_b))  # of b itself it could be
        assert (b"claim", client) == of(server.recvfrom(100))
        counted += Counter(reason for reason, _ in lies)
        assert wait(lambda: counted == Counter(scene.drops(scene.a.device)))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)


@FAMILIES
def test_what_no_service_has_published_is_reached_by_no_hosts_port(scene, family):
    assert_not_published(scene, family, claims(scene, family, CLIENT[family]))


@FAMILIES
def test_of_a_published_endpoint_other_hosts_reach_no_port_that_is_not_published(scene, family):
    """Past isolation: what is published is one port of it."""
    with published(scene.a, scene.anna, PORT + 1):
        assert_not_published(scene, family, claims(scene, family, f"{CLIENT[family][:-1]}9"))


def assert_not_published(scene, family, asked):
    """As it comes from b."""
    before = scene.drops(scene.a.device).get("not_published", 0)
    with listener(scene.anna, family, socket.SOCK_DGRAM) as server:
        scene.send(carried(scene, asked, wire_address(scene.b, 4), OVERLAY_ID + scene.b.number))
        assert wait(lambda: scene.drops(scene.a.device).get("not_published", 0) == before + 1)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)


@FAMILIES
def test_what_was_asked_while_it_was_published_goes_on(scene, family):
    """Until its backend has drained: of that, the host that was asked knows."""
    asked = claims(scene, family, f"{CLIENT[family][:-1]}8")
    frame = carried(scene, asked, wire_address(scene.b, 4), OVERLAY_ID + scene.b.number)
    with (
        listener(scene.anna, family, socket.SOCK_DGRAM) as server,
        published(scene.a, scene.anna),
    ):
        scene.send(frame)
        assert b"claim" == server.recv(100)
        scene.a.expose(scene.anna)
        scene.send(frame)
        assert b"claim" == server.recv(100)


@contextmanager
def published(host: WiredHost, container: Container, port: int = PORT) -> Iterator[None]:
    record = replace(container.record, flags=abi.ENDPOINT_PUBLISHED)
    host.put("endpoints", dict.fromkeys(known(container), record))
    host.expose(container, port)
    try:
        yield
    finally:
        host.put("endpoints", known(container))
        host.expose(container)


def of(told: tuple[bytes, tuple[str, int]]) -> tuple[bytes, str]:
    """What was said, and by whom."""
    words, sender = told
    return words, sender[0]


@FAMILIES
def test_a_frame_as_it_is_is_believed_from_its_hosts_mac_alone(scene, family):
    """Who has that MAC is that host: so mallory is, and c is not, nor who has any other."""
    before = scene.drops(scene.a.eth0).get("spoofed_address", 0)
    berts = scene.bert.address(family)
    with direct(scene, scene.b, scene.c), listener(scene.anna, family, socket.SOCK_DGRAM) as server:
        for words, mac in (
            (b"b's", mac_of(scene.b)),
            (b"nobody's", "02:66:00:00:00:66"),
            (b"c's", mac_of(scene.c)),
            (b"b's", mac_of(scene.b)),
        ):
            packet = claims(scene, family, berts, words)[1]
            scene.send(Ether(src=mac, dst=scene.mac) / packet)
        assert [b"b's", b"b's"] == [server.recv(100) for _ in range(2)]

        assert wait(lambda: scene.drops(scene.a.eth0).get("spoofed_address", 0) == before + 2)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)


@contextmanager
def direct(scene: Scene, *others: WiredHost) -> Iterator[None]:
    """These may send to a as it is, and a knows their MACs; afterwards each has its own again."""
    for host in others:
        scene.a.meet(host, DIRECT)
        scene.a.place.shell(f"ping -c1 -W2 {wire_address(host, 4)}")
    try:
        yield
    finally:
        for host in others:
            scene.a.meet(host)
            host.place.shell(f"ping -c1 -W2 {wire_address(scene.a, 4)}")


def mac_of(host: WiredHost) -> str:
    (found,) = json.loads(host.place.shell("ip -j link show eth0"))
    return str(found["address"])


@OUTERS
def test_cut_and_damaged_carriers_do_no_harm(scene, outer):
    """Of every length, and with bytes changed: none of them ends anything but itself, and what was
    changed behind a checksum does not arrive.
    """
    draw = random.Random(outer)
    b = wire_address(scene.b, outer)
    berts = {family: scene.bert.address(family) for family in (4, 6)}
    sound = [bytes(carried(scene, claims(scene, *bert), b)) for bert in berts.items()]
    spoilt = [frame[:length] for frame in sound for length in range(54, len(frame))]
    for _ in range(2000):
        data = bytearray(draw.choice(sound))
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(14, len(data))] = draw.randrange(256)
        spoilt.append(bytes(data))
    with (
        listener(scene.anna, 4, socket.SOCK_DGRAM) as four,
        listener(scene.anna, 6, socket.SOCK_DGRAM) as six,
    ):
        scene.send(*spoilt)
        for (family, bert), server in zip(berts.items(), (four, six), strict=True):
            scene.send(carried(scene, claims(scene, family, bert, b"end"), b))
            assert {(b"claim", bert)} == heard(server, b"end")
    for family in (4, 6):
        assert exchange(scene.anna, scene.bert, family)
        assert exchange(scene.bert, scene.anna, family)


def heard(server: socket.socket, last: bytes) -> set[tuple[bytes, str]]:
    """What was said before this, and by whom."""
    said = set()
    while True:
        words, sender = server.recvfrom(100)
        if words == last:
            return said
        said.add((words, sender[0]))
