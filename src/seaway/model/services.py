"""Services: a name, virtual addresses (VIPs) and ports, in front of chosen endpoints.

The words are those of Kubernetes' Service v1 and EndpointSlice discovery.k8s.io/v1, whose namespace
is our network.
"""

from __future__ import annotations

from typing import Final, Literal

from seaway.model.addresses import Address
from seaway.model.facts import Publication, Value

Algorithm = Literal["random", "round-robin", "least-connections", "maglev"]
TrafficPolicy = Literal["Cluster", "Local"]
Distribution = Literal["", "PreferSameZone", "PreferSameNode"]
DRAIN: Final = 30.0  # seconds in which connections may end, where nothing else is said


class ServicePort(Value):
    port: int
    target: int | str  # of the backend: a number, or the name of one of its ports
    protocol: str = "tcp"  # or udp
    name: str = ""
    app_protocol: str = ""
    # Of every host, which leads here too; 0: none does. In requests also `ANY_PORT`: one is chosen.
    node_port: int = 0


class Check(Value):
    """How the hosts of a service's endpoints find out whether they serve. The usual values but for
    the interval are those of Kubernetes' probes.
    """

    by: Literal["", "tcp", "http"] = ""  # empty: there is none
    path: str = ""  # of http: what is asked for
    port: int | str = 0  # of the endpoint, or its name for it; 0: the first TCP target
    interval: int = 10  # seconds from one check to the next
    timeout: int = 1  # seconds
    failures: int = 3  # in a row, until it fails
    successes: int = 1  # in a row, until it passes again


class Service(Value):
    """Stored under `services/<network>/<name>`."""

    name: str
    network: str  # of its backends
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[Address, ...] = ()  # VIPs, at most one a family; none: headless or external
    selector: dict[str, str] = {}  # labels of its backends; empty: its slices name them
    headless: bool = False  # its name is that of all its backends
    external_name: str = ""  # a name elsewhere, and nothing else
    algorithm: Algorithm = "random"
    affinity: int = 0  # seconds for which a client keeps its backend; 0: he does not
    internal_policy: TrafficPolicy = "Cluster"
    external_policy: TrafficPolicy = "Cluster"
    distribution: Distribution = ""
    publish_not_ready: bool = False
    drain: float = DRAIN  # seconds in which connections to a backend that goes may end
    check: Check = Check()
    health_port: int = 0  # of every host, which says whether it has backends of its own; 0: none
    limit_connections: int = 0  # at once, from each host; 0: as many as one likes
    limit_rate: int = 0  # likewise: new ones in a second
    ingress_rate: int = 0  # of each of its backends, as `Endpoint` has it
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class Health(Value):
    """Of one endpoint: which services' checks it fails, as its host found out. Where it fails none,
    there is no record. Stored under `health/<host>/<endpoint's id>`.
    """

    host: str
    endpoint: str
    network: str
    failing: dict[str, str]  # why, as it turned, by the name of the service


class Vip(Value):
    """Stored under `vips/<address>`: no two services have one."""

    address: Address
    network: str
    service: str


class NodePort(Value):
    """Stored under `nodeports/<port>-<protocol>`: no two services have one."""

    port: int
    protocol: str
    network: str
    service: str


class SlicePort(Value):
    port: int
    protocol: str = "tcp"
    name: str = ""


class SliceEndpoint(Value):
    """Conditions are as Kubernetes tells them: None is not known, and means `ready`, `serving`, and
    not `terminating`.
    """

    addresses: tuple[Address, ...]
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None
    host: str = ""
    zone: str = ""
    for_zones: tuple[str, ...] = ()  # hints
    for_hosts: tuple[str, ...] = ()
    weight: int = 1


class EndpointSlice(Value):
    """Backends that are named. Stored under `slices/<network>/<name>`."""

    name: str
    network: str
    service: str
    family: int
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()


class Answering(Value):
    """Observed: an endpoint of this host that stood behind a published port, and answers for it as
    long as connections may go on. Key: its id.
    """

    endpoint: str


class Distant(Value, gc=False):
    """An endpoint of another host, as far as services and names need it. Key: `<host>/<id>`, as its
    id is its host's alone.
    """

    id: str
    name: str
    network: str
    host: str
    addresses: tuple[Address, ...]
    labels: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
    port_names: dict[str, int] = {}
    weight: int = 1
    ready: bool = True
    terminating: bool = False
    draining: bool = False
    ports: tuple[Publication, ...] = ()  # of its host, which no service has then
