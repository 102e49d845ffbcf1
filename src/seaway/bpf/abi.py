"""The C structs of bpf/lib, field for field. Nothing but layout lives here.

tests/unit/test_abi.py holds every mirror to what the compiler made of its C struct.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from seaway.model.addresses import unmapped
from seaway.model.services import DRAIN

MAPS: Final = (
    "endpoints",
    "interfaces",
    "subnets",
    "connections",
    "shaped",
    "identities",
    "underlays",
    "remotes",
    "paths",
    "next_hops",
    "members",
    "tunnels",
    "link_numbers",
    "publications",
    "origins",
    "behind",
    "services",
    "backends",
    "maglev",
    "clients",
    "limits",
    "uses",
    "guests",
    "counted",
    "balanced",
    "flows",
    "inner_flows",
    "epochs",
    "budgets",
    "fragments",
    "drops",
    "sockets",
    "datagrams",
    "serving",
    "turns",
    "affinities",
    "associations",
    "leaving",
    "led",
    "scratches",
    "trains",
    "ways",
    "dead",
)
ENDPOINT_OPEN: Final = 1
ENDPOINT_HOST_CLOSED: Final = 2
ENDPOINT_LINK_LOCAL: Final = 4
ENDPOINT_PUBLISHED: Final = 8
ENDPOINT_SHAPED_IN: Final = 16
ENDPOINT_SHAPED_OUT: Final = 32
NETWORK_SERVICES: Final = 0xFFFFFFFF
REMOTE_OPEN: Final = 1
REMOTE_HOST: Final = 2
REMOTE_LATENCY: Final = 4
PATH_LATENCY: Final = 0x40000000
WAY_HOSTS: Final = 512
NEXT_HOP_OVERLAY: Final = 1
NEXT_HOP_DIRECT: Final = 2
BUDGET_OUTSIDE: Final = 0x80000000
PUBLICATION_SOLE: Final = 1
USE_GIVEN: Final = 0xFFFFFFFFFFFFFFFF
SERVICE_RANDOM: Final = 0
SERVICE_ROUND_ROBIN: Final = 1
SERVICE_LEAST: Final = 2
SERVICE_MAGLEV: Final = 3
MAGLEV_SIZE: Final = 4093  # entries of a table
MAGLEV_PART: Final = 128  # of them in one element of the map
MAGLEV_PARTS: Final = 32
MAGLEV_MOST: Final = 131072  # elements
SERVICE_EVEN: Final = 1
SERVICE_SILENT: Final = 2
BACKEND_IDLE: Final = 1
FLOW_ANSWER: Final = 1
FLOW_LED: Final = 8
FLOW_SERVICE: Final = 16
FLOW_CLOSED: Final = 128
FLOW_RESET: Final = 256


class Record:
    """A C struct without hidden padding: `c_format` has one item for each field."""

    __slots__: tuple[str, ...] = ()
    c_name: ClassVar[str]
    c_format: ClassVar[str]  # as in the struct module

    def pack(self) -> bytes:
        # the fields in order; dataclasses.astuple would copy them deeply, at 10 times the cost
        return struct.pack(self.c_format, *(getattr(self, name) for name in self.__slots__))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*struct.unpack(cls.c_format, data))


@dataclass(frozen=True, slots=True)
class Endpoint(Record):
    """bpf/lib/endpoint.h"""

    c_name, c_format = "endpoint", "=QIIIIH6s"
    container: int
    ifindex: int
    network: int
    identity: int
    flags: int
    mtu: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Shaper(Record):
    """bpf/lib/shaper.h: three devices, by their ifindexes."""

    c_name, c_format = "shaper", "=III"
    endpoint: int  # the host side of its veth
    into: int
    out: int


@dataclass(frozen=True, slots=True)
class Prefix(Record):
    """bpf/lib/network.h: a key of the maps that match the longest prefix."""

    c_name, c_format = "prefix", "=I16s"
    length: int
    addr: bytes


@dataclass(frozen=True, slots=True)
class Connection(Record):
    """bpf/lib/network.h"""

    c_name, c_format = "connection", "=II"
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Underlay(Record):
    """bpf/lib/underlay.h: where this host is, and how packets are carried."""

    c_name, c_format = "underlay", "=16s16sI2sHI"
    v4: bytes
    v6: bytes
    id: int
    port: bytes
    pad: int = 0
    host: int = 0  # its number


@dataclass(frozen=True, slots=True)
class Remote(Record):
    """bpf/lib/remote.h: whose an address is that is not of this host."""

    c_name, c_format = "remote", "=III"
    host: int
    network: int  # 0: of none
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Path(Record):
    """bpf/lib/next_hop.h"""

    c_name, c_format = "path", "=IIIII"
    via: int
    backup: int = 0  # there is none
    second: int = 0  # likewise
    third: int = 0
    fourth: int = 0

    def tried(self) -> tuple[int, ...]:
        """Each host once, in the order in which one that is not dead is looked for."""
        others = self.backup, self.second, self.third, self.fourth
        return tuple(dict.fromkeys((self.via, *filter(None, others))))


@dataclass(frozen=True, slots=True)
class NextHop(Record):
    """bpf/lib/next_hop.h"""

    c_name, c_format = "next_hop", "=16sIII"
    underlay: bytes
    host: int
    flags: int
    device: int  # of the overlay


@dataclass(frozen=True, slots=True)
class Way(Record):
    """bpf/lib/underlay.h: how a host is reached; the programs write it."""

    c_name, c_format = "way", "=QII16s16sIIIII6s6sBB2sIII"
    sent: int
    tick: int
    host: int
    to: bytes
    source: bytes
    via: int
    flags: int
    shares: int
    ifindex: int
    mtu: int
    next: bytes
    own: bytes
    known: int
    direct: int
    port: bytes
    id: int
    asked: int = 0
    pad: int = 0


@dataclass(frozen=True, slots=True)
class Member(Record):
    """bpf/lib/member.h"""

    c_name, c_format = "member", "=I"
    host: int


@dataclass(frozen=True, slots=True)
class LinkNumber(Record):
    """bpf/lib/link.h: what the host at the other end of a link must know of it."""

    c_name, c_format = "link_number", "=QII"
    number: int = field(repr=False)  # a secret
    to: int
    pad: int = 0


@dataclass(frozen=True, slots=True)
class PortKey(Record):
    """bpf/lib/publication.h: a port of the host, or of an endpoint."""

    c_name, c_format = "port_key", "=16s2sBB"
    addr: bytes
    port: bytes
    protocol: int
    pad: int = 0

    def __str__(self) -> str:
        """As logs and reports of drift name it."""
        port = int.from_bytes(self.port, "big")
        return f"{unmapped(self.addr)} port {port} protocol {self.protocol}"


@dataclass(frozen=True, slots=True)
class Publication(Record):
    """bpf/lib/publication.h"""

    c_name, c_format = "publication", "=16s2sH"
    backend: bytes
    port: bytes
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Origin(Record):
    """bpf/lib/publication.h"""

    c_name, c_format = "origin", "=16s2sH"
    addr: bytes
    port: bytes
    pad: int = 0


Origins = tuple[tuple[PortKey, Origin], ...]  # of the ports of one backend's address, by port


@dataclass(frozen=True, slots=True)
class Service(Record):
    """bpf/lib/service.h: a port of a VIP."""

    c_name, c_format = "service", "=IIIHHQ"
    backends: int  # how many; 0: refused at once
    weight: int  # of all together
    affinity: int  # seconds; 0: none
    algorithm: int
    flags: int
    limit: int = 0  # its number; 0: it has none


@dataclass(frozen=True, slots=True)
class Client(Record):
    """bpf/lib/client.h"""

    c_name, c_format = "client", "=IIQ"
    container: int
    pad: int = 0
    limit: int = 0  # its number; 0: it has none


@dataclass(frozen=True, slots=True)
class Limit(Record):
    """bpf/lib/use.h: of connections. 0: as many as one likes."""

    c_name, c_format = "limit", "=II"
    connections: int  # at once
    rate: int  # new ones in a second


@dataclass(frozen=True, slots=True)
class UseKey(Record):
    """bpf/lib/use.h"""

    c_name, c_format = "use_key", "=QQ"
    limit: int
    client: int  # the cookie of a network namespace; 0: all together


@dataclass(frozen=True, slots=True)
class Use(Record):
    """bpf/lib/use.h; the programs write it."""

    c_name, c_format = "use", "=QQQQII"
    open: int = 0
    second: int = 0
    full: int = 0
    fast: int = 0
    now: int = 0
    before: int = 0


@dataclass(frozen=True, slots=True)
class Serving(Record):
    """bpf/lib/serving.h: how many connections a backend has; the programs write it."""

    c_name, c_format = "serving", "=QQ"
    sockets: int = 0
    flows: int = 0  # that are counted


@dataclass(frozen=True, slots=True)
class BackendKey(Record):
    """bpf/lib/service.h"""

    c_name, c_format = "backend_key", "=20sI"
    service: bytes  # a port key
    slot: int


@dataclass(frozen=True, slots=True)
class Backend(Record):
    """bpf/lib/service.h"""

    c_name, c_format = "backend", "=16s2sHI"
    addr: bytes
    port: bytes
    flags: int
    upto: int  # weights of the slots up to this one, with it


@dataclass(frozen=True, slots=True)
class MaglevKey(Record):
    """bpf/lib/maglev.h"""

    c_name, c_format = "maglev_key", "=20sI"
    service: bytes  # a port key
    part: int


@dataclass(frozen=True, slots=True)
class MaglevPart(Record):
    """bpf/lib/maglev.h"""

    c_name, c_format = "maglev_part", "=256s"
    slots: bytes  # a u16 each


@dataclass(frozen=True, slots=True)
class LeavingKey(Record):
    """bpf/lib/leaving.h: a backend that left its service a moment ago."""

    c_name, c_format = "leaving_key", "=20s20s"
    service: bytes  # a port key
    backend: bytes  # a place


@dataclass(frozen=True, slots=True)
class Frontend:
    """A port of a VIP, or of every host, with all its backends: all maps of services are written
    by one target.
    """

    service: Service
    backends: tuple[Backend, ...]  # by their slots
    # Seconds in which connections to a backend that left may end. No map has it.
    drain: float = field(default=DRAIN, compare=False)
    table: bytes = field(default=b"", repr=False)  # of Maglev: its parts, one after the other


@dataclass(frozen=True, slots=True)
class FlowKey(Record):
    """bpf/lib/flow.h"""

    c_name, c_format = "flow_key", "=16s16s2s2sB3sI"
    src: bytes
    dst: bytes
    src_port: bytes
    dst_port: bytes
    protocol: int
    pad: bytes = bytes(3)
    ingress: int = 0


@dataclass(frozen=True, slots=True)
class Flow(Record):
    """bpf/lib/flow.h"""

    c_name, c_format = "flow", "=16s16s2s2sIIIIII"
    src: bytes
    dst: bytes
    src_port: bytes
    dst_port: bytes
    epoch: int
    seen: int
    flags: int
    container: int
    tag: int
    ingress: int = 0  # number of the host that was asked, where another one answers


@dataclass(frozen=True, slots=True)
class DropKey(Record):
    """bpf/lib/drop.h"""

    c_name, c_format = "drop_key", "=II"
    ifindex: int
    reason: int


@dataclass(frozen=True, slots=True)
class Settings(Record):
    """bpf/lib/settings.h"""

    c_name, c_format = "settings", "=16s16s16s16sQ6s6s4s16s16s"
    host_v4: bytes
    host_v6: bytes
    gateway_v4: bytes
    gateway_v6: bytes
    netns_cookie: int  # 0: of nobody
    gateway_mac: bytes
    overlay_mac: bytes = bytes(6)
    pad: bytes = bytes(4)
    resolver_v4: bytes = bytes(16)  # zero: there is none
    resolver_v6: bytes = bytes(16)
