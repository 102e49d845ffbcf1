"""What callers may ask for, as values. Checked here for form; against the facts in `intents`."""

from __future__ import annotations

import msgspec

from seaway.model.addresses import Address, Interface, Prefix
from seaway.model.facts import ExtraRoute, Publication, Routing, Value
from seaway.model.services import (
    DRAIN,
    Algorithm,
    Check,
    Distribution,
    EndpointSlice,
    Service,
    ServicePort,
    TrafficPolicy,
)
from seaway.names import DEFAULT_NETWORK


class NewNetwork(Value):
    name: str
    subnets: tuple[Prefix, ...] = ()  # empty: one of each family from the cluster's pools
    families: tuple[int, ...] = (4, 6)  # which families to take from the pools
    open: bool = False
    masquerade: bool = True
    host_access: bool = True
    link_local: bool = False
    routing: Routing = "hops"
    mtu: int = 0  # 0: that of the host's uplink, else 1500


class NewToken(Value):
    ttl: float = 86400.0  # seconds for which it holds
    uses: int = 0  # how often; 0: as often as one likes
    control: bool = False  # who joins with it becomes a control host


class Loan(Value):
    """One host asks another for an address between these (both included) of its blocks."""

    network: str
    host: str  # which asks
    first: Address
    last: Address


class NetworkChange(Value):
    """None: as it is."""

    open: bool | None = None
    masquerade: bool | None = None
    host_access: bool | None = None
    link_local: bool | None = None
    routing: Routing | None = None
    mtu: int | None = None


class IpRange(Value):
    """Of CNI's `ipRanges`: an address is taken from between start and end (both included)."""

    subnet: Prefix
    start: Address | None = None
    end: Address | None = None


class Listed(Value):
    """What a CNI result says of one interface: a CHECK looks for this and for nothing else.

    A later plugin of the chain may have changed what is not listed.
    """

    mac: str
    addresses: frozenset[Address]
    destinations: frozenset[Prefix]  # of routes
    ports: frozenset[Publication] = frozenset()  # that the runtime had published


class NewEndpoint(Value):
    """Attach one interface to a container.

    `addresses` asks for certain ones (from the pool); `foreign` are addresses that another
    IPAM has given, with their prefix, and are outside our blocks.
    """

    netns: str
    network: str
    container: str = ""  # empty: by the network namespace's cookie
    interface: str = "eth0"
    name: str = ""  # empty: the container's, as people know it
    mac: str = ""  # empty: made from the first address
    addresses: tuple[Address, ...] = ()
    ranges: tuple[IpRange, ...] = ()
    foreign: tuple[Interface, ...] = ()
    routes: tuple[ExtraRoute, ...] = ()
    default_route: bool = True
    mtu: int = 0  # 0: the network's
    labels: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
    ports: tuple[Publication, ...] = ()
    port_names: dict[str, int] = {}  # of its own ports, for services that name one
    weight: int = 1  # its share of new connections of a service; 0: none
    limit_connections: int = 0  # see `Endpoint`
    limit_rate: int = 0
    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0
    door: str = "cli"
    door_network: str = ""


class Publications(Value):
    """Ports of the host to be published for an endpoint, or to be taken back: all or none."""

    ports: tuple[Publication, ...]


class EndpointChange(Value):
    """What services ask of an endpoint, and its limits. None: as it is."""

    weight: int | None = None
    ready: bool | None = None
    terminating: bool | None = None
    draining: bool | None = None
    port_names: dict[str, int] | None = None
    limit_connections: int | None = None
    limit_rate: int | None = None
    ingress_rate: int | None = None
    ingress_burst: int | None = None
    egress_rate: int | None = None
    egress_burst: int | None = None


class HostChange(Value):
    """None: as it is."""

    zone: str | None = None  # empty: of none


class NewService(Value):
    """A name, and virtual addresses (VIPs) in front of endpoints of its network.

    `addresses` asks for certain VIPs, at most one of each family; the others are given.
    """

    name: str
    network: str = DEFAULT_NETWORK
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[Address, ...] = ()
    families: tuple[int, ...] = ()  # of its VIPs; empty: those of its network
    single: bool = False  # then: only the first of them
    selector: dict[str, str] = {}
    headless: bool = False
    external_name: str = ""
    algorithm: Algorithm = "random"
    affinity: int = 0
    internal_policy: TrafficPolicy = "Cluster"
    external_policy: TrafficPolicy = "Cluster"
    distribution: Distribution = ""
    publish_not_ready: bool = False
    drain: float = DRAIN
    check: Check = Check()
    health_port: int = 0
    limit_connections: int = 0
    limit_rate: int = 0
    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


def request_of(service: Service) -> NewService:
    """What asks for exactly this service."""
    told = msgspec.structs.asdict(service)
    given = {name: told[name] for name in NewService.__struct_fields__ if name in told}
    return NewService(**given, families=tuple(a.version for a in service.addresses))


class ServiceChange(Value):
    """None: as it is. Its addresses stay."""

    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    algorithm: Algorithm | None = None
    affinity: int | None = None
    internal_policy: TrafficPolicy | None = None
    external_policy: TrafficPolicy | None = None
    distribution: Distribution | None = None
    publish_not_ready: bool | None = None
    drain: float | None = None
    check: Check | None = None  # one that is none: it has none any more
    health_port: int | None = None
    limit_connections: int | None = None  # 0: it has none any more
    limit_rate: int | None = None
    ingress_rate: int | None = None
    ingress_burst: int | None = None
    egress_rate: int | None = None
    egress_burst: int | None = None


class Objects(Value):
    """What a file of manifests asks for, all of it or nothing."""

    services: tuple[NewService, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()


class Refs(Value):
    """Services and slices, as NETWORK/NAME."""

    services: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
