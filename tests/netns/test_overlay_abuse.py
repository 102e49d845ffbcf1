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
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from cast import ip
from dataplane import Container
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
        a.put("members", dict.fromkeys(c.underlay, abi.Member(c.number)))
        a.wire.place.shell(
            f"ip link add evil type veth peer name eth0 netns {mallory.process}; "
            "ip link set evil master wire up"
        )
        mallory.shell("ip link set eth0 up")
        assert wait(lambda: carries(a.wire.place, "evil"))
        yield Scene(a, b, c, anna, bert, mallory, mac_of(a))


def claims(scene: Scene, family: int, source: str) -> Packet:
    """A frame for anna, from whom it likes to be."""
    head = Ether(src=GATEWAY_MAC, dst=OVERLAY_MAC) / ip(family, source, scene.anna.address(family))
    payload = Raw(b"claim")
    return head / UDP(sport=9, dport=PORT) / payload


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
        "other_overlay": carried(scene, berts, b, vni=OVERLAY_ID + 1),
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
def test_a_frame_as_it_is_is_believed_from_its_hosts_mac_alone(scene, family):
    before = scene.drops(scene.a.eth0).get("spoofed_address", 0)
    for host in (scene.b, scene.c):
        scene.a.meet(host, DIRECT)
    packet = claims(scene, family, scene.bert.address(family))[1]
    scene.a.place.shell(f"ping -c1 -W2 {wire_address(scene.b, 4)}")
    for mac in ("02:66:00:00:00:66", mac_of(scene.c)):
        scene.send(Ether(src=mac, dst=scene.mac) / packet)

    assert wait(lambda: scene.drops(scene.a.eth0).get("spoofed_address", 0) == before + 2)
    for host in (scene.b, scene.c):
        scene.a.meet(host)


def mac_of(host: WiredHost) -> str:
    (found,) = json.loads(host.place.shell("ip -j link show eth0"))
    return str(found["address"])


@OUTERS
def test_cut_and_damaged_carriers_do_no_harm(scene, outer):
    """Of every length, and with bytes changed: none of them ends anything but itself."""
    draw = random.Random(outer)
    b = wire_address(scene.b, outer)
    sound = [
        bytes(carried(scene, claims(scene, family, scene.bert.address(family)), b))
        for family in (4, 6)
    ]
    spoilt = [frame[:length] for frame in sound for length in range(54, len(frame))]
    for _ in range(2000):
        data = bytearray(draw.choice(sound))
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(14, len(data))] = draw.randrange(256)
        spoilt.append(bytes(data))
    scene.send(*spoilt)

    for family in (4, 6):
        assert exchange(scene.anna, scene.bert, family)
        assert exchange(scene.bert, scene.anna, family)
