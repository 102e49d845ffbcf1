"""Services: a name, virtual addresses (VIPs) and ports, in front of chosen endpoints.

The words are those of Kubernetes' Service v1 and EndpointSlice discovery.k8s.io/v1, whose namespace
is our network.
"""

from __future__ import annotations

from typing import Literal

from seaway.model.addresses import Address
from seaway.model.facts import Value

Algorithm = Literal["random", "round-robin", "least-connections"]
TrafficPolicy = Literal["Cluster", "Local"]
Distribution = Literal["", "PreferSameZone", "PreferSameNode"]


class ServicePort(Value):
    port: int
    target: int | str  # of the backend: a number, or the name of one of its ports
    protocol: str = "tcp"  # or udp
    name: str = ""
    app_protocol: str = ""


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
    drain: float = 30.0  # seconds in which connections to a backend that goes may end


class Vip(Value):
    """Stored under `vips/<address>`: no two services have one."""

    address: Address
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


class Distant(Value, gc=False):
    """An endpoint of another host, as far as services and names need it. Key: its id."""

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
