"""What is known: the values that the derivations read. Stored ones say under which key."""

from __future__ import annotations

from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Final, Literal, dataclass_transform

import msgspec

from seaway.model.addresses import Address, Interface, Prefix
from seaway.names import OVERLAY_ID, OVERLAY_PORT

Routing = Literal["hops", "latency"]  # what paths are chosen by: fewest hops, or lowest cost
Probes = Literal["default", "fast"]  # how soon a dead link is noticed


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen, typed, encodable value; unknown fields are refused."""


class Cluster(Value):
    """One for all hosts. Stored under `cluster`."""

    id: str  # random, told apart from another cluster's at join
    pools: tuple[Prefix, ...]  # networks get their subnets from these
    service_subnets: tuple[Prefix, ...]  # the last part of each pool: of a /12 the last /16
    host_subnets: tuple[Prefix, ...]  # the part before it: the hosts' own addresses
    next_network: int = 1  # the number of the next network to be made
    next_host: int = 2  # the number of the next host to join; the first has 1
    etcd: tuple[str, ...] = ()  # URLs, where the records lie; empty: on the first host
    etcd_own: bool = False  # Seaway runs that etcd itself, on its control hosts
    # auto: hosts on one link send each other packets of containers as they are
    encapsulation: Literal["auto", "always", "never"] = "always"
    overlay_port: int = OVERLAY_PORT  # UDP, of VXLAN
    overlay_id: int = OVERLAY_ID  # VXLAN's identifier


class Host(Value):
    """This host. Stored under `hosts/<name>`."""

    name: str
    addresses: tuple[Address, ...]  # one per family, inside the cluster
    number: int = 1  # 1.., what BPF maps carry; never used again for another host
    underlay: tuple[Address, ...] = ()  # where other hosts reach it: at most one per family
    control: bool = False  # holds the key of the cluster's CA: signs, and lets others join
    draining: bool = False  # takes no new endpoint, and is no relay
    going: bool = False  # about to be removed: it has no seat in the etcd that Seaway runs
    zone: str = ""  # of the underlay, for services that prefer what is near
    key: str = ""  # SHA-256 of its public key: who holds another one is not this host


class Peer(Host):
    """Another host of the cluster: its record, as a fact of this host. Key: its name."""


SHARED: Final = 4  # next hops to one host that its flows are shared over, at most (next_hop.h)


class Path(Value):
    """Observed: the way to another host, for one routing. Key: see `path_key`."""

    host: str
    via: str  # the next hop: a peer that is reached directly, perhaps that host itself
    backup: str = ""  # another one that leads there without a loop; empty: there is none
    routing: Routing = "hops"
    equal: tuple[str, ...] = ()  # those that are as near as `via`: flows are shared over all

    @property
    def nexts(self) -> tuple[str, ...]:
        """All next hops that packets may take as long as no link is dead."""
        return self.via, *self.equal


class LinkNumber(Value):
    """Observed: what only the two ends of a link know. Key: the number of the host at the other."""

    host: int
    number: int


class Network(Value):
    """Stored under `networks/<name>`."""

    name: str
    number: int  # 1.., what BPF maps carry; never used again for another network
    subnets: tuple[Prefix, ...]
    open: bool = False  # two open networks reach each other
    connected: tuple[int, ...] = ()  # numbers of the networks it is connected with; kept on both
    masquerade: bool = True  # to the world behind the host's address, and closed to the world
    host_access: bool = True  # containers reach their own host's ports
    link_local: bool = False  # containers reach 169.254/16 (cloud metadata) and fe80::/10
    routing: Routing = "hops"  # which paths its packets take between hosts
    mtu: int = 1500
    leaving: bool = False  # it is being removed, and takes no endpoint


class Token(Value):
    """What lets a host join. Stored under `tokens/<id>`; its secret is stored nowhere."""

    id: str  # 8 hex digits
    digest: str  # of the secret, see `trust/tokens.py`
    created: float  # seconds since the epoch
    expires: float
    uses: int = 0  # how often it may be used; 0: as often as one likes
    used: int = 0
    control: bool = False  # who joins with it becomes a control host


class Block(Value):
    """Addresses that one host hands out. Stored under `blocks/<prefix>` ('/' written as '-')."""

    prefix: Prefix
    network: str
    host: str


class ExtraRoute(Value):
    """A route inside the container besides the default ones (foreign IPAM, CNI `routes`)."""

    dst: Prefix
    gateway: Address | None = None  # None: through our link-local gateway
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int = 0
    scope: int | None = None


class Publication(Value):
    """A port of the host that leads to a port of an endpoint."""

    host_port: int
    container_port: int
    protocol: str = "tcp"  # or udp
    # None: every address of the host; 0.0.0.0 or ::, every one of that family
    host_ip: Address | None = None

    def __str__(self) -> str:
        return self.written(self)

    def written(self, last: Publication) -> str:
        """As users write it, with its neighbours as far as `last`."""
        host = f"[{self.host_ip}]" if isinstance(self.host_ip, IPv6Address) else self.host_ip
        before = "" if host is None else f"{host}:"
        ends = ("", "") if last == self else (f"-{last.host_port}", f"-{last.container_port}")
        ports = f"{self.host_port}{ends[0]}:{self.container_port}{ends[1]}"
        return f"{before}{ports}/{self.protocol}"


class Namespace(Value):
    """What tells a network namespace from every other one."""

    inode: int  # which the kernel gives to the next one, once this one is gone
    cookie: int = 0  # which it gives to no other before it is started anew; 0: not known
    boot: str = ""  # digest of the start of the kernel in which the cookie is true

    def is_(self, other: Namespace | None) -> bool:
        """Where one was noted without its cookie, the inode has to do."""
        if other is None or self.inode != other.inode:
            return False
        if not (self.cookie and other.cookie):
            return True
        return (self.cookie, self.boot) == (other.cookie, other.boot)


class Endpoint(Value):
    """One interface of one container. Stored under `endpoints/<host>/<id>`."""

    id: str  # 16 hex digits, see `endpoint_id`
    name: str  # unique in its network
    container: str  # the runtime's id
    interface: str  # name inside the container
    host: str
    network: str
    netns: str  # path of the network namespace
    netns_inode: int  # with the next two: what was under that path, see `Namespace`
    addresses: tuple[Interface, ...]  # /32 and /128, or the prefix that a foreign IPAM gave
    mac: str
    mtu: int
    routes: tuple[ExtraRoute, ...] = ()
    default_route: bool = True
    labels: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
    ports: tuple[Publication, ...] = ()
    door: str = "cli"  # which front door brought it: cli, cni, …
    door_network: str = ""  # CNI: the name of the network configuration (for GC)
    identity: int = 0
    created: float = 0.0  # seconds since the epoch: tells it from a DEL that is older than it
    netns_cookie: int = 0
    boot: str = ""
    port_names: dict[str, int] = {}  # of its own ports, for services that name one
    weight: int = 1  # its share of new connections of a service; 0: none
    ready: bool = True  # for connections of services
    terminating: bool = False  # its connections end, and it gets no new ones
    draining: bool = False  # the same, though it may be ready: `service drain` said so
    limit_connections: int = 0  # that its container opens, at once; 0: as many as it likes
    limit_rate: int = 0  # likewise: new ones in a second
    ingress_rate: int = 0  # bits a second into its container; 0: not limited
    ingress_burst: int = 0  # bits; 0: the usual burst of that rate
    egress_rate: int = 0  # likewise out of it
    egress_burst: int = 0

    @property
    def namespace(self) -> Namespace:
        return Namespace(inode=self.netns_inode, cookie=self.netns_cookie, boot=self.boot)


class Attached(Value):
    """Observed: the host side of an endpoint's veth exists. Key: the endpoint's id."""

    endpoint: str
    ifindex: int


class Shaped(Value):
    """Observed: the shaper of an endpoint exists. Key: the endpoint's link."""

    link: str
    into: int  # ifindex of the end where what goes to it enters
    out: int  # of the other one


class Overlay(Value):
    """Observed: the device of the overlay exists. One fact, key 'host'."""

    ifindex: int


class HostAddresses(Value):
    """Observed: every address of this host's own interfaces. One fact, key 'host'."""

    addresses: frozenset[Address]


class Uplinks(Value):
    """Observed: how this host reaches others. One fact, key 'host'."""

    ipv6: bool  # whether the host has that protocol at all
    by_advertisement: tuple[str, ...] = ()  # devices that live by what routers tell
    devices: tuple[tuple[str, int], ...] = ()  # by which others reach it: name and ifindex
    addresses: frozenset[Address] = frozenset()  # by which others may know it, in the long run
    segments: frozenset[Prefix] = frozenset()  # who has an address there is next door
    mtu: int = 1500  # of where its default routes lead, the smallest


class Probing(Value):
    """How this host watches its links, by its own settings. One fact, key 'host'."""

    preset: Probes = "default"


class Barrier(Value):
    """Where another firewall refuses what it does not know."""

    program: str  # by which it is changed: ip[6]tables-nft, ip[6]tables-legacy, firewalld
    chain: str  # or zone
    docker_user: bool = False  # all that is forwarded passes DOCKER-USER
    bridges: tuple[str, ...] = ()  # then: those to which only Docker's own rules let others


class Unguarded(Value):
    """Docker's bridges, where FORWARD passes on what none of Docker's rules knows."""

    program: str  # as of a barrier
    bridges: tuple[str, ...]


class Firewalls(Value):
    """Observed: what other firewalls of this host refuse, and should. One fact, key 'host'."""

    barriers: frozenset[Barrier]
    unguarded: frozenset[Unguarded] = frozenset()


class Before(Value):
    """Stored under `before/<host>`: what the host had before us, to be put back by uninstall."""

    host: str
    sysctls: dict[str, str]
    # Of net.ipv4.ip_local_reserved_ports, which we add to: what others have there, and what of
    # ours may be there still though nothing publishes it any more. As the kernel writes them.
    reserved: str = ""
    left: str = ""


def path_key(host: str, routing: Routing) -> str:
    """The name of the host at its end; with the routing, if that is not the usual one."""
    return host if routing == "hops" else f"{host}/{routing}"


def endpoint_id(container: str, interface: str) -> str:
    """16 hex digits: a runtime attaches one container's interface once (CNI 1.1, section 2)."""
    return blake2b(f"{container}\0{interface}".encode(), digest_size=8).hexdigest()
