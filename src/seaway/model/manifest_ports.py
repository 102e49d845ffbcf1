"""Published ports of a Service, as Kubernetes writes them: `type: NodePort` and what goes with it.

There all ports of a service are published, or none; `seaway.dev/publish` names those of them that
are: numbers or names, as `80/tcp,dns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from seaway.errors import Invalid, Unsupported
from seaway.model import node_ports
from seaway.model.documents import short
from seaway.model.manifest_shapes import KNOBS, ServiceSpec
from seaway.model.services import Service, ServicePort, TrafficPolicy

PUBLISH: Final = "publish"  # the annotation, without the prefix that all of ours have
_TYPES: Final = ("ClusterIP", "ExternalName", "NodePort")
_ALIKE: Final = "use NodePort: every host answers at its ports, for a balancer of yours in front"


@dataclass(frozen=True)
class Outside:
    """How a service is asked from outside."""

    ports: tuple[ServicePort, ...]
    policy: TrafficPolicy = "Cluster"
    health_port: int = 0


def check_type(spec: ServiceSpec) -> None:
    if spec.type == "LoadBalancer":
        raise Unsupported("'spec.type: LoadBalancer' is not served", _ALIKE)
    if spec.type not in _TYPES:
        raise Invalid(
            short(f"'spec.type: {spec.type}' is no type"), f"expected {', '.join(_TYPES)}"
        )
    if (spec.type == "ExternalName") != bool(spec.external_name):
        raise Invalid(
            "'spec.externalName' and 'spec.type: ExternalName' go together", "give both or none"
        )


def outside(spec: ServiceSpec, ports: tuple[ServicePort, ...], knobs: Mapping[str, str]) -> Outside:
    """`ports`: those of the spec, as they would be if none were published."""
    numbers = [port.node_port for port in spec.ports]
    if spec.type != "NodePort":
        _check_inside(spec, numbers, knobs)
        return Outside(ports)
    if spec.cluster_ip == "None" or spec.cluster_ips == ["None"]:
        raise Invalid(
            "'spec.type: NodePort' is of no headless service", "leave out clusterIP: None"
        )
    named = [word.strip() for word in knobs.get(PUBLISH, "").split(",") if word.strip()]
    if any(":" in word for word in named):
        raise Invalid(f"'{KNOBS}{PUBLISH}' names ports of the service", "give theirs as nodePort")
    every = tuple(replace(port, node_port=node_ports.ANY_PORT) for port in ports)
    chosen = node_ports.published(ports, named) if named else every
    for place, (number, port) in enumerate(zip(numbers, chosen, strict=True)):
        if number and not port.node_port:
            raise Invalid(
                f"'{KNOBS}{PUBLISH}' does not name the port of 'spec.ports[{place}].nodePort'",
                "name it there, or leave out one of both",
            )
    made = (replace(p, node_port=n or p.node_port) for n, p in zip(numbers, chosen, strict=True))
    return Outside(
        tuple(made), spec.external_traffic_policy or "Cluster", spec.health_check_node_port
    )


def _check_inside(spec: ServiceSpec, numbers: list[int], knobs: Mapping[str, str]) -> None:
    places = [f"spec.ports[{place}].nodePort" for place, number in enumerate(numbers) if number]
    places += ["spec.externalTrafficPolicy"] if spec.external_traffic_policy else []
    places += ["spec.healthCheckNodePort"] if spec.health_check_node_port else []
    places += [f"{KNOBS}{PUBLISH}"] if PUBLISH in knobs else []
    if places:
        raise Invalid(
            f"'{places[0]}' goes with 'spec.type: NodePort', and this is {spec.type}",
            "give that type, or leave it out",
        )


def rendered(service: Service) -> tuple[dict[str, int | str], str]:
    """What of its spec says that, and the annotation."""
    has = [port for port in service.ports if port.node_port]
    if not has:
        return {"type": "ExternalName" if service.external_name else "ClusterIP"}, ""
    spec: dict[str, int | str] = {
        "type": "NodePort",
        "externalTrafficPolicy": "Local" if service.external_policy == "Local" else "",
        "healthCheckNodePort": service.health_port,
    }
    named = ",".join(f"{port.port}/{port.protocol}" for port in has)
    return spec, named if len(has) < len(service.ports) else ""
