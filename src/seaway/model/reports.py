"""What the agent tells about itself: the shapes of its answers over HTTP."""

from __future__ import annotations

from seaway.model.addresses import Address, Prefix
from seaway.model.bandwidth import Bandwidth
from seaway.model.facts import Endpoint, Host, Network, Value
from seaway.model.services import Service


class Drops(Value):
    """Packets that a program refused: counted in the kernel while their device is there."""

    reason: str  # as in enum drop_reason, without DROP_, lower case
    packets: int


class Drift(Value):
    """A difference in the kernel that we did not cause, found and repaired."""

    target: str  # links, routes, …
    key: str
    found: str  # what was there: "missing", or the object
    expected: str  # what belongs there: "nothing", or the object
    at: float  # seconds since the epoch


class Failure(Value):
    """A kernel object that could not be written; tried again until it can."""

    target: str
    key: str
    error: str


class Refused(Value):
    """Hosts, or who says that he is one, that were not let in."""

    why: str
    times: int


class Status(Value):
    version: str
    host: str
    cluster: str
    addresses: tuple[Address, ...]
    ready: bool
    pid: int
    uptime: float  # seconds
    store: str
    attach: str  # "tcx" | "cls_bpf"
    layout: str  # hash of the map layouts
    networks: int
    endpoints: int
    drops: tuple[Drops, ...]
    drift_total: int
    drift: tuple[Drift, ...]  # the latest
    failures: tuple[Failure, ...]
    hosts: int = 1
    certificate_ends: float = 0.0  # seconds since the epoch; 0: it has none, being alone
    refused: tuple[Refused, ...] = ()
    store_lost: str = ""  # why the records cannot be had now; empty: they can
    unsent: int = 0  # records of this host's that are not in the store yet
    limited: int = 0  # connections that were refused by limits


class HostReport(Value):
    host: Host
    here: bool  # it is this one
    blocks: int
    endpoints: int
    via: str = ""  # the next hop to it, as routing has found; empty: not known
    voter: bool = False  # it votes in the etcd that Seaway runs


class UseReport(Value):
    """What one host says of a network that is being removed."""

    leaving: bool  # it knows that it is
    endpoints: tuple[str, ...]  # names


class RelayReport(Value):
    """What one host says of another that drains."""

    draining: bool  # it knows that it does
    relay: bool  # it still sends to others through it
    connections: int = 0  # that it led to backends there


class DrainReport(Value):
    """Whether a host may go."""

    host: str
    draining: bool
    relay_of: tuple[str, ...]  # hosts that still send to others through it
    unheard: tuple[str, ...]  # hosts that did not answer, or do not know of it yet
    endpoints: int
    connections: int = 0  # that are left to backends there, of all hosts that answered

    @property
    def ready(self) -> bool:
        return self.draining and not (self.relay_of or self.unheard or self.connections)


class TokenReport(Value):
    """A token without what would let somebody use it."""

    id: str
    created: float  # seconds since the epoch
    expires: float
    uses: int  # 0: as often as one likes
    used: int
    control: bool
    holds: bool  # it may still be used


class NewTokenReport(Value):
    """The only time that a token is told."""

    id: str
    token: str
    expires: float
    addresses: tuple[Address, ...]  # of this host, where another one may ask to join


class Use(Value):
    """What is used of a limit of connections, on this host."""

    open: int = 0
    full: int = 0  # refused, as too many were open
    fast: int = 0  # refused, as too many were opened


class EndpointReport(Value):
    """An endpoint and what its data plane counted."""

    endpoint: Endpoint
    link: str
    ifindex: int  # 0: the link is not there (yet)
    drops: tuple[Drops, ...]
    use: Use = Use()  # of its container's limit of connections
    # Its bandwidth as it holds: the lowest of its own and of the services that it stands behind.
    ingress: Bandwidth = Bandwidth()
    egress: Bandwidth = Bandwidth()


class NetworkMade(Network):
    """A network that was just made."""

    warnings: tuple[str, ...] = ()  # what it keeps this host from


class NetworkReport(Value):
    network: Network
    connected: tuple[str, ...]  # the names of the networks it is connected with
    endpoints: int


class Holder(Value):
    """Who holds an address, and why."""

    address: Address
    endpoint: str  # id; "" for the host's own
    reason: str


class BlockReport(Value):
    prefix: Prefix
    network: str
    host: str
    size: int
    usable: int  # without the first and the last address of a whole subnet
    used: int
    holders: tuple[Holder, ...]


class Leak(Value):
    """An inconsistency of the address records, and the command that mends it."""

    address: str
    problem: str
    mend: str


class Finding(Value):
    """One line of `seaway doctor`."""

    check: str
    level: str  # "ok" | "off" | "warning" | "error"
    found: str
    advice: str


class BlackHole(Value):
    """A link that swallows packets of that size and more, and lets small ones pass."""

    source: str  # hosts: the one that found it,
    target: str  # and the other end
    size: int  # bytes, with the header of IP

    def told(self) -> str:
        what = f"packets of {self.size} bytes and more"
        return f"{what} do not pass from {self.source} to {self.target}"


class Detour(Value):
    """A way by another neighbour, and why it was not taken."""

    via: str
    path: tuple[str, ...]  # the hosts after this one, to the end; empty: there is none
    lost: str  # why
    hops: int = 0
    rtt: int = 0  # microseconds
    cost: int = 0  # likewise


class RouteReport(Value):
    """The computed way to another host."""

    host: str
    routing: str
    path: tuple[str, ...]  # the hosts after this one, to the end; empty: there is none
    hops: int = 0
    rtt: int = 0  # microseconds
    cost: int = 0  # likewise: of round-trip times, loss and load
    equal: tuple[str, ...] = ()  # next hops by which the way is no longer: flows take these too
    backup: str = ""  # the next hop if the first is dead
    detours: tuple[Detour, ...] = ()
    holes: tuple[BlackHole, ...] = ()  # on the way
    unmeasured: tuple[str, ...] = ()  # links on the way, or to the backup, that nobody has measured


class BackendReport(Value):
    """One that may be a backend of a service, and whether this host chooses it."""

    port: str  # of the service, as 80/tcp; empty: it has none
    address: Address | None  # None: it has none of that family
    target: int  # port; 0: it has none of that name
    name: str  # the endpoint's; of one that a slice names, SLICE/NUMBER
    host: str  # empty: not known
    weight: int
    chosen: bool
    why: str  # it is, or is not


class ServiceReport(Value):
    """A service, as this host sees it."""

    service: Service
    known: int  # endpoints that are selected, or named by slices
    chosen: int  # of those, as many as get new connections to its first port
    warnings: tuple[str, ...] = ()


class ServiceDetail(ServiceReport):
    backends: tuple[BackendReport, ...] = ()
    use: Use = Use()  # of its limit


class Serving(Value):
    """What one host says of a backend that drains."""

    connections: int  # that it led there, by whatever service
    draining: bool = False  # it knows of it, and so leads no new one there


class BackendDrain(Value):
    """Whether a backend may go."""

    service: str  # NETWORK/NAME
    backend: str  # the endpoint's name
    host: str
    draining: bool  # it gets no new connection
    connections: int  # that are left, of all hosts that answered, by whatever service
    unheard: tuple[str, ...] = ()  # hosts that did not
    unaware: tuple[str, ...] = ()  # hosts that did, and do not know of it yet

    @property
    def ready(self) -> bool:
        return self.draining and not (self.connections or self.unheard or self.unaware)


class Applied(Value):
    """What became of one object of a file."""

    kind: str  # Service or EndpointSlice
    name: str  # NETWORK/NAME
    did: str  # created, changed, unchanged or removed
    warnings: tuple[str, ...] = ()
