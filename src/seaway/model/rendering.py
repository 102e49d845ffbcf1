"""Services and slices as Kubernetes-shaped manifests: `manifests` reads them again.

What is read from what was written asks for the same (property-tested).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seaway.model import manifest_ports
from seaway.model.bandwidth import spelled
from seaway.model.checks import NONE, written
from seaway.model.manifest_shapes import KNOBS
from seaway.model.manifests import SERVICE_NAME
from seaway.model.services import DRAIN, EndpointSlice, Service, ServicePort, SliceEndpoint


def render(one: Service | EndpointSlice) -> dict[str, Any]:
    """As it could be applied again: what is read from it asks for the same."""
    return _service_manifest(one) if isinstance(one, Service) else _slice_manifest(one)


def render_all(found: Iterable[Service | EndpointSlice]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": [render(one) for one in found]}


def _service_manifest(service: Service) -> dict[str, Any]:
    exposed, published = manifest_ports.rendered(service)
    knobs = {
        f"{KNOBS}{manifest_ports.PUBLISH}": published,
        f"{KNOBS}algorithm": "" if service.algorithm == "random" else service.algorithm,
        f"{KNOBS}check": _unless(written(service.check), NONE),
        f"{KNOBS}drain": "" if service.drain == DRAIN else repr(service.drain),
        f"{KNOBS}limit-connections": _unless(str(service.limit_connections), "0"),
        f"{KNOBS}limit-rate": _unless(str(service.limit_rate), "0"),
        f"{KNOBS}ingress-rate": _bits(service.ingress_rate),
        f"{KNOBS}ingress-burst": _bits(service.ingress_burst),
        f"{KNOBS}egress-rate": _bits(service.egress_rate),
        f"{KNOBS}egress-burst": _bits(service.egress_burst),
    }
    spec = {
        **exposed,
        "externalName": service.external_name,
        **_rendered_addresses(service),
        "selector": service.selector,
        "ports": [_rendered_port(port) for port in service.ports],
        "internalTrafficPolicy": _unless(service.internal_policy, "Cluster"),
        "trafficDistribution": service.distribution,
        "publishNotReadyAddresses": service.publish_not_ready,
        **_rendered_affinity(service.affinity),
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _rendered_metadata(service, {}, knobs),
        "spec": _full(spec),
    }


def _rendered_addresses(service: Service) -> dict[str, Any]:
    if service.headless:
        return {"clusterIP": "None"}
    addresses = [str(address) for address in service.addresses]
    if not addresses:
        return {}
    return {
        "clusterIP": addresses[0],
        "clusterIPs": addresses,
        "ipFamilies": [f"IPv{address.version}" for address in service.addresses],
        "ipFamilyPolicy": "SingleStack" if len(addresses) == 1 else "RequireDualStack",
    }


def _rendered_port(port: ServicePort) -> dict[str, Any]:
    rendered = {
        "name": port.name,
        "protocol": port.protocol.upper(),
        "port": port.port,
        "targetPort": port.target,
        "appProtocol": port.app_protocol,
        "nodePort": port.node_port,
    }
    return _full(rendered)


def _rendered_affinity(seconds: int) -> dict[str, Any]:
    if not seconds:
        return {}
    config = {"clientIP": {"timeoutSeconds": seconds}}
    return {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}


def _slice_manifest(of: EndpointSlice) -> dict[str, Any]:
    weights = [endpoint.weight for endpoint in of.endpoints]
    told = weights[:1] if len(set(weights)) == 1 else weights
    knobs = {f"{KNOBS}weight": "" if set(weights) <= {1} else ",".join(map(str, told))}
    ports = (
        {"name": port.name, "protocol": port.protocol.upper(), "port": port.port}
        for port in of.ports
    )
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _rendered_metadata(of, {SERVICE_NAME: of.service}, knobs),
        "addressType": f"IPv{of.family}",
        "ports": [_full(port) for port in ports],
        "endpoints": [_rendered_endpoint(endpoint) for endpoint in of.endpoints],
    }


def _rendered_endpoint(endpoint: SliceEndpoint) -> dict[str, Any]:
    conditions = {
        "ready": endpoint.ready,
        "serving": endpoint.serving,
        "terminating": endpoint.terminating,
    }
    hints = {
        "forZones": [{"name": name} for name in endpoint.for_zones],
        "forNodes": [{"name": name} for name in endpoint.for_hosts],
    }
    rendered = {
        "addresses": [str(address) for address in endpoint.addresses],
        "conditions": {name: told for name, told in conditions.items() if told is not None},
        "nodeName": endpoint.host,
        "zone": endpoint.zone,
        "hints": _full(hints),
    }
    return _full(rendered)


def _rendered_metadata(
    of: Service | EndpointSlice, labels: dict[str, str], annotations: dict[str, str]
) -> dict[str, Any]:
    rendered = {
        "name": of.name,
        "namespace": of.network,
        "labels": labels,
        "annotations": _full(annotations),
    }
    return _full(rendered)


def _bits(number: int) -> str:
    return spelled(number) if number else ""


def _unless(value: str, usual: str) -> str:
    return "" if value == usual else value


def _full(rendered: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, and means the same as nothing."""
    return {name: value for name, value in rendered.items() if value}
