"""The cast on a host with an uplink and published ports.

client ── router ── wire0 ┌─ host ─┐ lo ── anna (the device under test)
                          └────────┘ bert0 ── bert
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cast import BERT, HOST, WORLD, Actor, Outcome, World, ip
from seaway.bpf import abi
from seaway.bpf.table import Table
from seaway.model.addresses import mapped
from seaway.names import GATEWAY_MAC
from stage import Stage, stage

WIRE, WIRE_MAC, ROUTER_MAC = 77, "02:77:00:00:00:01", "02:77:00:00:00:02"
PUBLIC = {4: "198.51.100.1", 6: "2001:db8:100::1"}
OTHER = {4: "198.51.100.9", 6: "2001:db8:100::9"}  # of the host too
LOOPBACK = {4: "127.0.0.1", 6: "::1"}  # of the host as well, but never on a wire
CLIENT = WORLD
PROTOCOLS = {"tcp": (6, TCP), "udp": (17, UDP)}
ANY = {4: "0.0.0.0", 6: "::"}
UPLINK_MTU = 1400

SCENE = "; ".join(
    (
        f"ip link add wire0 index {WIRE} address {WIRE_MAC} type veth peer name far",
        f"ip link set wire0 mtu {UPLINK_MTU} addrgenmode none",
        "ip link set far up",
        "ip link set wire0 up",
        f"ip addr add {PUBLIC[4]}/24 dev wire0",
        f"ip addr add {OTHER[4]}/24 dev wire0",
        f"ip addr add {PUBLIC[6]}/64 dev wire0 nodad",
        f"ip addr add {OTHER[6]}/64 dev wire0 nodad",
        "ip route add 192.0.2.0/24 via 198.51.100.254",
        "ip route add 2001:db8::/64 via 2001:db8:100::fe",
        f"ip neigh add 198.51.100.254 lladdr {ROUTER_MAC} dev wire0",
        f"ip neigh add 2001:db8:100::fe lladdr {ROUTER_MAC} dev wire0",
        f"ip link add bert0 index {BERT.record.ifindex} type veth peer name bert1",
        "ip link set bert0 up",
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    )
)


E = TypeVar("E", bound="Edge")


class Edge(World):
    """Lives on its stage, whose network it makes."""

    pinned = "edge"

    def __init__(self, place: Stage) -> None:
        super().__init__(place, self.pinned, host4=HOST[4], host6=HOST[6])

    def _reset(self) -> None:
        super()._reset()
        for name in ("flows", "inner_flows", "budgets"):
            table = Table(self.plane.maps[name])
            table.delete([key for key, _ in table.elements()])
        addresses = (*PUBLIC.values(), *OTHER.values(), *LOOPBACK.values())
        self.targets["identities"].put({ip_network(a): 1 for a in addresses})

    def publish(self, at: tuple[str, int], backend: tuple[Actor, int], **more: Any) -> None:
        """A port of the host as one of an actor's, TCP and UDP. `sole`: it has no other."""
        self.place.run(self._publish, at, backend, **more)

    def _publish(
        self, at: tuple[str, int], to: tuple[Actor, int], sole: bool = True, origin: str = ""
    ) -> None:
        (place, port), (actor, target) = at, to
        self._enter(
            Actor(actor.v4, actor.v6, actor.mac, flagged(actor.record, abi.ENDPOINT_PUBLISHED))
        )
        address = ip_address(place)
        backend = mapped(ip_address(actor.address(address.version)))
        for protocol, _ in PROTOCOLS.values():
            key = abi.PortKey(mapped(address), number(port), protocol)
            value = abi.Publication(backend, number(target), abi.PUBLICATION_SOLE if sole else 0)
            assert not self.targets["publications"].put({key: value})
            known = mapped(ip_address(origin)) if sole and origin else bytes(16)
            answered = abi.Origin(known, number(port) if sole and origin else bytes(2))
            key = abi.PortKey(backend, number(target), protocol)
            assert not Table(self.plane.maps["origins"]).update([(key.pack(), answered.pack())])

    def unpublish(self, place: str, port: int) -> None:
        keys = {
            abi.PortKey(mapped(ip_address(place)), number(port), p) for p, _ in PROTOCOLS.values()
        }
        assert not self.place.run(self.targets["publications"].delete, keys)

    def lose(self, address: str) -> None:
        """It is not the host's any more."""
        gone = {ip_network(address)}
        assert not self.place.run(self.targets["identities"].delete, gone)

    def forget_flows(self) -> int:
        """As the table does when it is full. How many there were."""
        return self.place.run(self._forget_flows)

    def _forget_flows(self) -> int:
        tables = self._flow_tables()
        keys = [(table, [key for key, _ in table.elements()]) for table in tables]
        for table, known in keys:
            table.delete(known)
        return sum(len(known) for _, known in keys)

    def _flow_tables(self) -> list[Table]:
        return [Table(self.plane.maps[name]) for name in ("flows", "inner_flows")]

    def flows(self) -> dict[abi.FlowKey, abi.Flow]:
        found = self.place.run(lambda: [e for t in self._flow_tables() for e in t.elements()])
        return {abi.FlowKey.unpack(k): abi.Flow.unpack(v) for k, v in found}

    def spend(self, ifindex: int, *, outside: bool = False, left: int = 0) -> None:
        """Leave this endpoint without a token, for as long as a test takes; `outside`: of those
        that others pay with who ask it from there.
        """
        budget = spent(ifindex | (abi.BUDGET_OUTSIDE if outside else 0), left)
        self.place.run(Table(self.plane.maps["budgets"]).update, [budget])

    def spend_all(self, left: int = 0) -> None:
        """Leave whoever has paid before without a token, or with so many."""

        def work() -> None:
            budgets = Table(self.plane.maps["budgets"])
            payers = [int.from_bytes(key, "little") for key, _ in budgets.elements()]
            budgets.update([spent(payer, left) for payer in payers])

        self.place.run(work)

    def from_wire(self, frame: Packet | bytes, **known: int) -> Outcome:
        return self.send(frame, "from_wire", ifindex=WIRE, ingress_ifindex=WIRE, **known)

    def from_bert(self, frame: Packet | bytes) -> Outcome:
        return self.send(frame, ifindex=BERT.record.ifindex)


def spent(payer: int, left: int) -> tuple[bytes, bytes]:
    """The budget, by its key, of who has so many tokens left and gets none for long."""
    later = (time.monotonic_ns() >> 30) + 1000  # when it would be filled again
    value = left.to_bytes(4, "little", signed=True) + later.to_bytes(4, "little")
    return payer.to_bytes(4, "little"), value


E = TypeVar("E", bound=Edge)


@contextmanager
def standing(kind: type[E], scene: str = SCENE) -> Iterator[E]:
    """One on a stage of its own, whose network is made by these commands."""
    with stage() as place:
        place.shell(scene)
        made = place.run(kind, place)
        yield made
        place.run(made.close)


def says(kind: str, source: int, target: int, size: int = 20, **fields: Any) -> Packet:
    return PROTOCOLS[kind][1](sport=source, dport=target, **fields) / Raw(b"s" * size)


def flagged(record: abi.Endpoint, flag: int) -> abi.Endpoint:
    values = {name: getattr(record, name) for name in record.__slots__}
    return abi.Endpoint(**(values | {"flags": record.flags | flag}))


def number(port: int) -> bytes:
    return port.to_bytes(2, "big")


def arrives(family: int, dst: str, src: str = "", **fields: Any) -> Packet:
    """By the uplink, from its router."""
    return Ether(src=ROUTER_MAC, dst=WIRE_MAC) / ip(family, src or CLIENT[family], dst, **fields)


def leaves(family: int, src: str, dst: str = "", **fields: Any) -> Packet:
    """By the uplink, to its router."""
    return Ether(src=WIRE_MAC, dst=ROUTER_MAC) / ip(family, src, dst or CLIENT[family], **fields)


def reaches(family: int, actor: Actor, src: str = "", **fields: Any) -> Packet:
    """A container, from its gateway."""
    head = Ether(src=GATEWAY_MAC, dst=actor.mac)
    return head / ip(family, src or CLIENT[family], actor.address(family), **fields)


def answers(family: int, actor: Actor, dst: str = "", **fields: Any) -> Packet:
    """A container sends."""
    head = Ether(src=actor.mac, dst=GATEWAY_MAC)
    return head / ip(family, actor.address(family), dst or CLIENT[family], **fields)


def piece(
    make: Callable[..., Packet],
    family: int,
    ends: tuple[Any, ...],
    body: bytes,
    number: int,
    **f: Any,
) -> Packet:
    """One of the three parts of a datagram. `make`: its head, of these ends."""
    part, whole = Raw(body[number * 40 :][:40]), number == 2
    if family == 4:
        flags = 0 if whole else "MF"
        return make(4, *ends, id=9, proto=17, frag=5 * number, flags=flags, **f) / part
    head = make(6, *ends, **f)
    return head / IPv6ExtHdrFragment(id=9, offset=5 * number, m=int(not whole), nh=17) / part


def redirected(frame: Packet) -> Outcome:
    """With the checksums that scapy computes."""
    return Outcome("redirect", bytes(frame), {})
