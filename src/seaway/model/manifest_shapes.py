"""The shapes of Kubernetes' Service v1 and EndpointSlice discovery.k8s.io/v1: all their fields.

Each is served, or written only by a cluster's server and passed over, or refused with what to use
instead. One that they do not have is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, dataclass_transform

import msgspec

from seaway.errors import Undecodable, Unsupported
from seaway.model.documents import short
from seaway.model.services import TrafficPolicy
from seaway.names import DEFAULT_NETWORK

T = TypeVar("T")
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
KNOBS: Final = "seaway.dev/"  # before the names of our annotations
AFFINITY_DEFAULT: Final = 10800  # seconds (core/v1)
OUTSIDE: Final = "for the world, use type: NodePort, which every host's addresses have"
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a manifest may hold; `refused` are fields that it may not, and what to do instead."""

    refused: ClassVar[Mapping[str, str]] = {}


class Metadata(Shape):
    name: str
    namespace: str = DEFAULT_NETWORK
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    # written by a cluster's server
    uid: Any = None
    resource_version: Any = None
    creation_timestamp: Any = None
    generation: Any = None
    managed_fields: Any = None
    self_link: Any = None
    owner_references: Any = None
    # refused
    generate_name: Any = None
    finalizers: Any = None
    refused = {
        "generate_name": "give its name",
        "finalizers": "leave them out: nothing here would wait for them",
    }


class PortShape(Shape):
    port: Int32
    name: str = ""
    target_port: Int32 | str | None = None
    protocol: str = "TCP"
    app_protocol: str = ""
    node_port: Int32 = 0


class ClientIp(Shape):
    timeout_seconds: Int32 = AFFINITY_DEFAULT


class AffinityConfig(Shape):
    client_ip: ClientIp = msgspec.field(name="clientIP", default=ClientIp())


class ServiceSpec(Shape):
    type: str = "ClusterIP"
    ports: list[PortShape] = []
    selector: dict[str, str] = {}
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: list[str] = msgspec.field(name="clusterIPs", default=[])
    ip_families: list[Literal["IPv4", "IPv6"]] = []
    ip_family_policy: Literal["", "SingleStack", "PreferDualStack", "RequireDualStack"] = ""
    external_name: str = ""
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: TrafficPolicy = "Cluster"
    traffic_distribution: Literal["", "PreferClose", "PreferSameZone", "PreferSameNode"] = ""
    publish_not_ready_addresses: bool = False
    external_traffic_policy: Literal["", "Cluster", "Local"] = ""
    health_check_node_port: Int32 = 0
    # refused
    external_ips: Any = msgspec.field(name="externalIPs", default=None)
    allocate_load_balancer_node_ports: Any = None
    load_balancer_class: Any = None
    load_balancer_ip: Any = msgspec.field(name="loadBalancerIP", default=None)
    load_balancer_source_ranges: Any = None
    refused = {
        "external_ips": OUTSIDE,
        "allocate_load_balancer_node_ports": OUTSIDE,
        "load_balancer_class": OUTSIDE,
        "load_balancer_ip": OUTSIDE,
        "load_balancer_source_ranges": OUTSIDE,
    }


class ServiceShape(Shape):
    metadata: Metadata
    spec: ServiceSpec
    status: Any = None  # written by a cluster's server


class Conditions(Shape):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Shape):
    name: str


class Hints(Shape):
    for_zones: list[Hint] = []
    for_nodes: list[Hint] = []


class EndpointShape(Shape):
    addresses: list[str]
    conditions: Conditions = Conditions()
    node_name: str = ""
    zone: str = ""
    hints: Hints = Hints()
    target_ref: Any = None  # of what it was made: nothing follows from it
    # refused
    hostname: Any = None
    deprecated_topology: Any = None
    refused = {
        "hostname": "give endpoints names of their own: seaway attach --name",
        "deprecated_topology": "use zone and nodeName",
    }


class SlicePortShape(Shape):
    port: Int32
    name: str = ""
    protocol: str = "TCP"
    app_protocol: Any = None
    refused = {"app_protocol": "say it at the port of the service"}


class SliceShape(Shape):
    metadata: Metadata
    address_type: str
    endpoints: list[EndpointShape] = []
    ports: list[SlicePortShape] = []


def shaped(given: dict[str, Any], kind: type[T]) -> T:
    try:
        made = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from None
    _refuse(made, "")
    return made


def _misshapen(told: str) -> Undecodable:
    message, _, path = told.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    if found := _UNKNOWN.fullmatch(message):
        return unknown("", f"{path}.{found[1]}".lstrip("."))
    return Undecodable(f"{path or 'the object'}: {message}", "see: kubectl explain, or docs/cli.md")


def unknown(where: str, path: str) -> Undecodable:
    before = f"{where}: " if where else ""
    return Undecodable(short(f"{before}unknown field '{path}'"), "mend its name, or leave it out")


def _refuse(shape: object, path: str) -> None:
    """Fields that Kubernetes has and we do not."""
    if isinstance(shape, list):
        for number, item in enumerate(shape):
            _refuse(item, f"{path}[{number}]")
    if not isinstance(shape, Shape):
        return
    names = zip(shape.__struct_fields__, shape.__struct_encode_fields__, strict=True)
    for attribute, name in names:
        value, place = getattr(shape, attribute), f"{path}.{name}".lstrip(".")
        if attribute in shape.refused and value is not None:
            raise Unsupported(f"'{place}' is not served", shape.refused[attribute])
        _refuse(value, place)
