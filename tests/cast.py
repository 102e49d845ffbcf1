"""The endpoints that frames are sent between, as the maps of a data plane know them.

network 1 (mtu 1500):  anna (the device under test), bert, and small, whose mtu is 1300
network 2 (open):      olga; anna's container has a second interface there
network 3 (closed):    carl
network 4 (connected with 3): anna's container has two interfaces more there; by one it must not ask
                       the host, by the other it may go to link-local addresses
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from seaway.bpf import abi, maps, trial
from seaway.bpf.counters import Counters
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table
from seaway.names import GATEWAY_MAC
from stage import Stage, mac_octets, settings

DEVICE = trial.LOOPBACK
VERDICTS = {trial.OK: "host", trial.NEXT: "host", trial.REDIRECT: "redirect"}
HOST = {4: "10.208.0.99", 6: "fd00:0:0:1::99"}
WORLD = {4: "192.0.2.7", 6: "2001:db8::7"}
UNKNOWN = {4: "10.208.0.77", 6: "fd00:0:0:1::77"}
SUBNETS = {
    ip_network("10.208.0.0/18"): 1,
    ip_network("fd00:0:0:1::/64"): 1,
    ip_network("10.208.64.0/18"): 2,
    ip_network("fd00:0:0:2::/64"): 2,
}


@dataclass(frozen=True)
class Actor:
    """One interface of a container."""

    v4: str
    v6: str
    mac: str
    record: abi.Endpoint

    def address(self, family: int) -> str:
        return self.v4 if family == 4 else self.v6


def _actor(number: int, network: int, container: int, **other: Any) -> Actor:
    mac = f"02:00:00:00:00:{number:02x}"
    usual: dict[str, Any] = {"identity": 256, "flags": 0, "mtu": 1500, "ifindex": 100 + number}
    record = abi.Endpoint(
        container=container, network=network, mac=mac_octets(mac), **(usual | other)
    )
    third = (network - 1) * 64
    return Actor(f"10.208.{third}.{number}", f"fd00:0:0:{network}::{number}", mac, record)


ANNA = _actor(1, network=1, container=1, ifindex=DEVICE)
BERT = _actor(2, network=1, container=2)
SMALL = _actor(3, network=1, container=3, mtu=1300)
OLGA = _actor(4, network=2, container=4, flags=abi.ENDPOINT_OPEN)
ANNA2 = _actor(5, network=2, container=1, flags=abi.ENDPOINT_OPEN)
CARL = _actor(6, network=3, container=6)
SHY = _actor(7, network=4, container=1, flags=abi.ENDPOINT_HOST_CLOSED)
NEAR = _actor(8, network=4, container=1, flags=abi.ENDPOINT_LINK_LOCAL)
CAST = (ANNA, BERT, SMALL, OLGA, ANNA2, CARL, SHY, NEAR)
CONNECTED = {(3, 4), (4, 3)}


@dataclass(frozen=True)
class Outcome:
    """What became of a frame, in words."""

    verdict: str  # "host", "redirect" or "drop"
    frame: bytes  # empty if dropped
    drops: dict[str, int]


class World:
    """One data plane with its maps. Lives on the stage."""

    def __init__(self, place: Stage, pins: str = "cast", **hosts: Any) -> None:
        self.place = place
        self.pins = Path("/sys/fs/bpf") / pins
        given: dict[str, Any] = {k: ip_address(v) for k, v in hosts.items()}
        self.plane = DataPlane.open(settings(**given), self.pins)
        self.targets = maps.targets(self.plane)
        self.counters = Counters(self.plane)

    def close(self) -> None:
        self.plane.close()

    def reset(self) -> None:
        self.place.run(self._reset)

    def _reset(self) -> None:
        for target in self.targets.values():
            target.delete(set(target.read()))
        self._forget(self.counters)
        fragments = Table(self.plane.maps["fragments"])
        fragments.delete([key for key, _ in fragments.elements()])
        self.targets["subnets"].put(SUBNETS)
        self.targets["identities"].put({ip_network(a): 1 for a in HOST.values()})
        self.targets["connections"].put(dict.fromkeys(CONNECTED, 1))
        for actor in CAST:
            self._enter(actor)

    def _forget(self, counters: Counters) -> None:
        counters.purge({ifindex for ifindex, _ in counters.drops()})

    def enter(self, actor: Actor, **changed: Any) -> None:
        """Put an actor into the maps, with a changed record."""
        self.place.run(self._enter, replace(actor, record=replace(actor.record, **changed)))

    def _enter(self, actor: Actor) -> None:
        addresses = ip_address(actor.v4), ip_address(actor.v6)
        self.targets["endpoints"].put(dict.fromkeys(addresses, actor.record))
        self.targets["interfaces"].put({actor.record.ifindex: actor.record})

    def connect(self, one: int, other: int) -> None:
        self.place.run(self.targets["connections"].put, {(one, other): 1, (other, one): 1})

    def send(self, frame: Packet | bytes, program: str = "from_endpoint", **known: int) -> Outcome:
        return self.place.run(self._send, bytes(frame), program, trial.Context(**known))

    def _send(self, frame: bytes, program: str, context: trial.Context) -> Outcome:
        self._forget(self.counters)
        done = trial.run(self.plane.programs[program].fd, frame, context)
        drops = {reason: packets for (_, reason), packets in self.counters.drops().items()}
        verdict = VERDICTS.get(done.verdict, "drop")
        return Outcome(verdict, b"" if verdict == "drop" else done.frame, drops)


def dropped(reason: str) -> Outcome:
    return Outcome("drop", b"", {reason: 1})


def passed(frame: Packet | bytes) -> Outcome:
    """To the host's stack, just as it came."""
    return Outcome("host", bytes(frame), {})


def ip(family: int, src: str, dst: str, **fields: Any) -> Packet:
    """The header of layer 3; `ttl` for both families."""
    if family == 4:
        return IP(src=src, dst=dst, **fields)
    ttl = fields.pop("ttl", 64)
    return IPv6(src=src, dst=dst, hlim=ttl, **fields)


def sent(family: int, dst: str, sender: Actor = ANNA, **fields: Any) -> Packet:
    """What a container sends to its gateway; layer 4 is appended by `/`."""
    src = fields.pop("src", sender.address(family))
    return Ether(src=sender.mac, dst=GATEWAY_MAC) / ip(family, src, dst, **fields)


def datagram(size: int = 20) -> Packet:
    return UDP(sport=1111, dport=2222) / Raw(b"x" * size)


def segment(size: int = 20) -> Packet:
    return TCP(sport=1111, dport=2222, seq=7, flags="A") / Raw(b"y" * size)


def echo() -> Packet:
    return ICMP() / Raw(b"ping")


def forwarded(frame: Packet, receiver: Actor) -> Outcome:
    """As a router passes it on: one hop less, new MACs, and a fitting checksum."""
    routed = Ether(bytes(frame))
    routed.src, routed.dst = GATEWAY_MAC, receiver.mac
    if IP in routed:
        routed[IP].ttl -= 1
        del routed[IP].chksum
    else:
        routed[IPv6].hlim -= 1
    return Outcome("redirect", bytes(routed), {})
