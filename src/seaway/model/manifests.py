"""Kubernetes-shaped manifests: Service v1 and EndpointSlice discovery.k8s.io/v1, as they are read.

`metadata.namespace` is our network. What Kubernetes has no word for is an annotation of ours,
`seaway.dev/<knob>`: algorithm, drain, check, limits and bandwidth of a service, and which of its
ports are published; weight of a slice's endpoints (one for all, or one for each: `1,2,5`). Other
labels and annotations are allowed, and not kept.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from seaway.errors import Invalid, SeawayError, Undecodable, Unsupported
from seaway.model import forms, service_forms
from seaway.model.addresses import Address, parse_address
from seaway.model.bandwidth import parse_bits
from seaway.model.checks import NONE, parse_check
from seaway.model.documents import documents, short
from seaway.model.durations import parse_duration
from seaway.model.limits import parse_connections, parse_rate
from seaway.model.manifest_ports import PUBLISH, check_type, outside
from seaway.model.manifest_shapes import (
    AFFINITY_DEFAULT,
    KNOBS,
    EndpointShape,
    Metadata,
    PortShape,
    ServiceShape,
    ServiceSpec,
    SlicePortShape,
    SliceShape,
    shaped,
    unknown,
)
from seaway.model.requests import NewService, Objects
from seaway.model.services import (
    DRAIN,
    Algorithm,
    Distribution,
    EndpointSlice,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)

T = TypeVar("T")
SERVICE_NAME: Final = "kubernetes.io/service-name"  # the label of a slice that names its service
_PROXY: Final = "service.kubernetes.io/service-proxy-name"
_TOPOLOGY: Final = (
    "service.kubernetes.io/topology-mode",
    "service.kubernetes.io/topology-aware-hints",
)
_FAMILIES: Final = {"IPv4": 4, "IPv6": 6}
_ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "random": "random",
    "round-robin": "round-robin",
    "least-connections": "least-connections",
    "maglev": "maglev",
}
_DISTRIBUTIONS: Final[Mapping[str, Distribution]] = {
    "": "",
    "PreferClose": "PreferSameZone",  # an alias that Kubernetes gives up
    "PreferSameZone": "PreferSameZone",
    "PreferSameNode": "PreferSameNode",
}
_FLOW_CONTROL: Final[Mapping[str, Callable[[str], int]]] = {
    "limit-connections": parse_connections,
    "limit-rate": parse_rate,
    "ingress-rate": parse_bits,
    "ingress-burst": parse_bits,
    "egress-rate": parse_bits,
    "egress-burst": parse_bits,
}
_DIGITS: Final = 6
_KINDS: Final = "Service (v1), EndpointSlice (discovery.k8s.io/v1), List (v1)"


def read(text: str) -> Objects:
    """All objects of a file of YAML or JSON: several documents, or lists."""
    services: list[NewService] = []
    slices: list[EndpointSlice] = []
    for where, document in documents(text):
        for place, item in _items(where, document):
            found = _object(place, item)
            if isinstance(found, NewService):
                services.append(found)
            else:
                slices.append(found)
    if not (services or slices):
        raise Invalid("there is no object in it", f"expected {_KINDS}")
    return Objects(services=tuple(services), slices=tuple(slices))


def _items(where: str, document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(document, dict):
        raise Undecodable(f"{where} is no object", f"expected {_KINDS}")
    if document.get("kind") != "List":
        yield where, document
        return
    items = document.get("items", [])
    if odd := document.keys() - {"apiVersion", "kind", "metadata", "items"}:
        raise unknown(where, min(odd))
    if document.get("apiVersion") != "v1" or not isinstance(items, list):
        raise Undecodable(f"{where} is no List of v1", "expected apiVersion: v1 and items")
    for number, item in enumerate(items, 1):
        place = f"{where}, item {number}"
        if not isinstance(item, dict):
            raise Undecodable(f"{place} is no object", f"expected {_KINDS}")
        yield place, item


def _object(where: str, given: dict[str, Any]) -> NewService | EndpointSlice:
    given = dict(given)
    version, kind = given.pop("apiVersion", None), given.pop("kind", None)
    if (version, kind) == ("v1", "Service"):
        return _told_of(where, lambda: _service(shaped(given, ServiceShape)))
    if (version, kind) == ("discovery.k8s.io/v1", "EndpointSlice"):
        return _told_of(where, lambda: _slice(shaped(given, SliceShape)))
    for name, said in (("apiVersion", version), ("kind", kind)):
        if said is None:
            raise Invalid(f"{where}: it has no '{name}'", f"expected {_KINDS}")
    instead = "; for Endpoints, use EndpointSlice" if kind == "Endpoints" else ""
    raise Unsupported(
        f"{where}: kind {reprlib.repr(kind)} of {reprlib.repr(version)} is not served",
        f"expected {_KINDS}{instead}",
    )


def _told_of(where: str, make: Callable[[], T]) -> T:
    """What is wrong with it, with the place where it is."""
    try:
        return make()
    except SeawayError as error:
        raise type(error)(short(f"{where}: {error.message}"), error.hint) from None


# A service


def _service(given: ServiceShape) -> NewService:
    spec, meta = given.spec, given.metadata
    forms.check_network(meta.namespace)
    check_type(spec)
    _check_foreign(meta)
    knobs = _knobs(meta, {"algorithm", "check", "drain", PUBLISH, *_FLOW_CONTROL})
    limited = {name: parse(knobs.get(name, "0")) for name, parse in _FLOW_CONTROL.items()}
    addresses, headless = _addresses(spec)
    exposed = outside(spec, tuple(_port(port) for port in spec.ports), knobs)
    made = NewService(
        name=meta.name,
        network=meta.namespace,
        ports=exposed.ports,
        addresses=addresses,
        families=_families(spec),
        single=spec.ip_family_policy == "SingleStack" and not (addresses or spec.ip_families),
        selector=spec.selector,
        headless=headless,
        external_name=spec.external_name,
        algorithm=_algorithm(knobs.get("algorithm", "random")),
        affinity=_affinity(spec),
        internal_policy=spec.internal_traffic_policy,
        external_policy=exposed.policy,
        distribution=_DISTRIBUTIONS[spec.traffic_distribution],
        publish_not_ready=spec.publish_not_ready_addresses,
        drain=_seconds(knobs["drain"]) if "drain" in knobs else DRAIN,
        check=parse_check(knobs.get("check", NONE)),
        health_port=exposed.health_port,
        limit_connections=limited["limit-connections"],
        limit_rate=limited["limit-rate"],
        ingress_rate=limited["ingress-rate"],
        ingress_burst=limited["ingress-burst"],
        egress_rate=limited["egress-rate"],
        egress_burst=limited["egress-burst"],
    )
    service_forms.check_service(made)
    return made


def _check_foreign(meta: Metadata) -> None:
    """Labels and annotations that would mean something in Kubernetes."""
    if _PROXY in meta.labels:
        raise Unsupported(f"the label '{_PROXY}' is not served", "leave it out")
    for name in _TOPOLOGY:
        if meta.annotations.get(name, "Disabled").lower() != "disabled":
            raise Unsupported(
                f"the annotation '{name}' is not served",
                "use spec.trafficDistribution: PreferSameZone",
            )


def _knobs(meta: Metadata, known: set[str]) -> dict[str, str]:
    """Annotations of ours, without their prefix."""
    found = {
        name.removeprefix(KNOBS): value
        for name, value in meta.annotations.items()
        if name.startswith(KNOBS)
    }
    if unknown := found.keys() - known:
        expected = ", ".join(f"{KNOBS}{name}" for name in sorted(known))
        raise Invalid(short(f"unknown annotation '{KNOBS}{min(unknown)}'"), f"expected {expected}")
    return found


def _port(given: PortShape) -> ServicePort:
    return ServicePort(
        port=given.port,
        target=given.port if given.target_port is None else given.target_port,
        protocol=given.protocol.lower() if given.protocol.isupper() else given.protocol,
        name=given.name,
        app_protocol=given.app_protocol,
    )


def _addresses(spec: ServiceSpec) -> tuple[tuple[Address, ...], bool]:
    """The wanted ones, and whether it is headless."""
    given = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    if spec.cluster_ip and given[0] != spec.cluster_ip:
        raise Invalid("'spec.clusterIPs' does not begin with 'spec.clusterIP'", "give one of them")
    if given == ["None"]:
        return (), True
    return tuple(parse_address(short(text)) for text in given), False


def _families(spec: ServiceSpec) -> tuple[int, ...]:
    named = tuple(_FAMILIES[family] for family in spec.ip_families)
    match spec.ip_family_policy:
        case "RequireDualStack" if spec.cluster_ip != "None":
            return (4, 6)
        case "RequireDualStack" | "PreferDualStack":
            return ()
        case "SingleStack" if not named and (address := spec.cluster_ip) not in {"", "None"}:
            return (parse_address(short(address)).version,)
    return named


def _algorithm(text: str) -> Algorithm:
    if text not in _ALGORITHMS:
        raise Invalid(
            short(f"{text!r} is no algorithm"), f"expected {', '.join(sorted(_ALGORITHMS))}"
        )
    return _ALGORITHMS[text]


def _affinity(spec: ServiceSpec) -> int:
    config = spec.session_affinity_config
    if spec.session_affinity == "None":
        if config:
            raise Invalid(
                "'spec.sessionAffinityConfig' is given without 'spec.sessionAffinity: ClientIP'",
                "give both or none",
            )
        return 0
    seconds = config.client_ip.timeout_seconds if config else AFFINITY_DEFAULT
    if seconds < 1:
        raise Invalid(f"an affinity of {seconds} s is none", "expected 1 to 86400 s")
    return seconds


def _seconds(text: str) -> float:
    with suppress(ValueError):
        return float(text)
    return parse_duration(short(text))


# A slice


def _slice(given: SliceShape) -> EndpointSlice:
    meta = given.metadata
    forms.check_network(meta.namespace)
    if given.address_type == "FQDN":
        raise Unsupported("'addressType: FQDN' is not served", "use a Service of type ExternalName")
    if given.address_type not in _FAMILIES:
        raise Invalid(
            short(f"'addressType: {given.address_type}' is none"), "expected IPv4 or IPv6"
        )
    if SERVICE_NAME not in meta.labels:
        raise Invalid(f"the label '{SERVICE_NAME}' is missing", "it names the service of a slice")
    weights = _weights(_knobs(meta, {"weight"}).get("weight", "1"), len(given.endpoints))
    made = EndpointSlice(
        name=meta.name,
        network=meta.namespace,
        service=meta.labels[SERVICE_NAME],
        family=_FAMILIES[given.address_type],
        ports=tuple(_slice_port(port) for port in given.ports),
        endpoints=tuple(map(_endpoint, given.endpoints, weights)),
    )
    service_forms.check_slice(made)
    return made


def _weights(text: str, number: int) -> list[int]:
    """One for all, or one for each."""
    words = [word.strip() for word in text.split(",")]
    if not all(w.isascii() and w.isdecimal() and len(w) < _DIGITS for w in words):
        raise Invalid(
            short(f"{text!r} is no weight"), "expected 0 to 65535, or one for each: 1,2,5"
        )
    if len(words) not in {1, number}:
        raise Invalid(
            f"there are {len(words)} weights for {number} endpoints", "give one, or one for each"
        )
    return [int(word) for word in words] * (number if len(words) == 1 else 1)


def _slice_port(given: SlicePortShape) -> SlicePort:
    protocol = given.protocol.lower() if given.protocol.isupper() else given.protocol
    return SlicePort(port=given.port, protocol=protocol, name=given.name)


def _endpoint(given: EndpointShape, weight: int) -> SliceEndpoint:
    return SliceEndpoint(
        addresses=tuple(parse_address(short(text)) for text in given.addresses),
        ready=given.conditions.ready,
        serving=given.conditions.serving,
        terminating=given.conditions.terminating,
        host=given.node_name,
        zone=given.zone,
        for_zones=tuple(hint.name for hint in given.hints.for_zones),
        for_hosts=tuple(hint.name for hint in given.hints.for_nodes),
        weight=weight,
    )
