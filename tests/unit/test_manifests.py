"""Kubernetes-shaped manifests: read, refused by name, and written again."""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from seaway.errors import Invalid, Undecodable, Unsupported
from seaway.model.bandwidth import LEAST, MOST
from seaway.model.manifests import read
from seaway.model.node_ports import ANY_PORT
from seaway.model.rendering import render, render_all
from seaway.model.requests import NewService, Objects, request_of
from seaway.model.services import (
    Check,
    EndpointSlice,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)

ALL_OF_A_SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  labels: {team: a}
  annotations: {seaway.dev/algorithm: least-connections, seaway.dev/drain: 2m,
    seaway.dev/check: "http:/ready,port=web", other: x}
  creationTimestamp: null
  uid: 5b0a
  resourceVersion: "7"
spec:
  type: ClusterIP
  clusterIP: 10.223.0.7
  clusterIPs: [10.223.0.7, "fd00::7"]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: web, appProtocol: http}
  - {name: dns, port: 53, protocol: UDP}
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  internalTrafficPolicy: Local
  trafficDistribution: PreferClose
  publishNotReadyAddresses: true
status: {loadBalancer: {}}
"""
ALL_OF_A_SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: {kubernetes.io/service-name: web}
  annotations: {seaway.dev/weight: "3, 0"}
addressType: IPv4
ports:
- {name: http, port: 8080, protocol: TCP}
endpoints:
- addresses: [192.0.2.1, 192.0.2.2]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: host1
  zone: a
  hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: host2}]}
  targetRef: {kind: Pod, name: p}
- addresses: [192.0.2.3]
"""


def one(text: str) -> NewService | EndpointSlice:
    objects = read(text)
    (found,) = (*objects.services, *objects.slices)
    return found


def test_every_field_of_a_service_that_is_served_is_read() -> None:
    assert NewService(
        name="web",
        network="shop",
        ports=(
            ServicePort(port=80, target="web", name="http", app_protocol="http"),
            ServicePort(port=53, target=53, protocol="udp", name="dns"),
        ),
        addresses=(ip_address("10.223.0.7"), ip_address("fd00::7")),
        families=(4, 6),
        selector={"app": "web"},
        algorithm="least-connections",
        affinity=60,
        internal_policy="Local",
        distribution="PreferSameZone",
        publish_not_ready=True,
        drain=120.0,
        check=Check(by="http", path="/ready", port="web"),
    ) == one(ALL_OF_A_SERVICE)


def test_every_field_of_a_slice_that_is_served_is_read() -> None:
    assert EndpointSlice(
        name="web-1",
        network="shop",
        service="web",
        family=4,
        ports=(SlicePort(port=8080, name="http"),),
        endpoints=(
            SliceEndpoint(
                addresses=(ip_address("192.0.2.1"), ip_address("192.0.2.2")),
                ready=True,
                serving=True,
                terminating=False,
                host="host1",
                zone="a",
                for_zones=("a", "b"),
                for_hosts=("host2",),
                weight=3,
            ),
            SliceEndpoint(addresses=(ip_address("192.0.2.3"),), weight=0),
        ),
    ) == one(ALL_OF_A_SLICE)


def service(spec: str, metadata: str = "name: web") -> str:
    return f"{{apiVersion: v1, kind: Service, metadata: {{{metadata}}}, spec: {{{spec}}}}}"


PORT = "ports: [{port: 80}]"
NODE = f"{PORT}, type: NodePort"
BOTH = "ports: [{name: a, port: 1, nodePort: 30001}, {name: b, port: 2}]"
PUBLISH = "name: web, annotations: {seaway.dev/publish"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (PORT, {}),
        (f"{PORT}, type: ClusterIP, clusterIP: ''", {}),
        (f"{PORT}, clusterIP: None", {"headless": True}),
        ("clusterIP: None", {"headless": True, "ports": ()}),
        (f"{PORT}, clusterIPs: [None]", {"headless": True}),
        (f"{PORT}, clusterIP: None, ipFamilyPolicy: RequireDualStack", {"headless": True}),
        (f"{PORT}, ipFamilies: [IPv6]", {"families": (6,)}),
        (f"{PORT}, ipFamilyPolicy: SingleStack", {"single": True}),
        (f"{PORT}, ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]", {"families": (6,)}),
        (f"{PORT}, ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6]", {}),
        (f"{PORT}, ipFamilyPolicy: RequireDualStack", {"families": (4, 6)}),
        (
            f"{PORT}, ipFamilyPolicy: SingleStack, clusterIP: 10.223.0.7",
            {"families": (4,), "addresses": (ip_address("10.223.0.7"),)},
        ),
        (f"{PORT}, sessionAffinity: ClientIP", {"affinity": 10800}),
        (f"{PORT}, sessionAffinity: None", {}),
        (f"{PORT}, trafficDistribution: PreferSameNode", {"distribution": "PreferSameNode"}),
        (
            "type: ExternalName, externalName: db.example.org",
            {"external_name": "db.example.org", "ports": ()},
        ),
    ],
)
def test_what_is_not_said_is_as_in_kubernetes(spec: str, expected: dict[str, Any]) -> None:
    usual = {"ports": (ServicePort(port=80, target=80),)}
    assert NewService(name="web", **usual | expected) == one(service(spec))


@pytest.mark.parametrize(
    ("spec", "metadata", "numbers", "expected"),
    [
        (NODE, "name: web", [ANY_PORT], {}),
        (f"type: NodePort, {BOTH}", "name: web", [30001, ANY_PORT], {}),
        (f"type: NodePort, {BOTH}", f"{PUBLISH}: a}}", [30001, 0], {}),
        (f"type: NodePort, {BOTH}", f"{PUBLISH}: '2/tcp, a'}}", [30001, ANY_PORT], {}),
        ("type: NodePort, ports: [{port: 80, nodePort: 0}]", "name: web", [ANY_PORT], {}),
        (
            f"{NODE}, externalTrafficPolicy: Local, healthCheckNodePort: 30100",
            "name: web",
            [ANY_PORT],
            {"external_policy": "Local", "health_port": 30100},
        ),
        (f"{NODE}, externalTrafficPolicy: Cluster", "name: web", [ANY_PORT], {}),
        (NODE, "name: web, annotations: {seaway.dev/algorithm: maglev}", [-1], {}),
    ],
)
def test_ports_of_every_host_are_named_or_left_to_be_chosen(
    spec: str, metadata: str, numbers: list[int], expected: dict[str, Any]
) -> None:
    found = one(service(spec, metadata))
    assert isinstance(found, NewService)
    assert numbers == [port.node_port for port in found.ports]
    usual = {"external_policy": "Cluster", "health_port": 0}
    assert usual | expected == {name: getattr(found, name) for name in usual}


def test_a_file_may_hold_documents_and_lists_of_yaml_or_json() -> None:
    names = [s.name for s in read(f"---\n{ALL_OF_A_SERVICE}\n---\n---\n{service(PORT)}\n").services]
    assert ["web", "web"] == names
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "metadata": {},
        "items": [yaml.safe_load(ALL_OF_A_SLICE), yaml.safe_load(service(PORT))],
    }
    for text in (json.dumps(listed, indent="\t"), yaml.safe_dump(listed)):
        objects = read(text)
        assert (1, 1) == (len(objects.services), len(objects.slices))


SLICE = "apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4"
NAMED = "metadata: {name: s, labels: {kubernetes.io/service-name: web}}"


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        # unknown fields, by their paths
        (service("prots: []"), Undecodable, "document 1: unknown field 'spec.prots'"),
        (service("ports: [{port: 1, prot: 2}]"), Undecodable, "field 'spec.ports[0].prot'"),
        (service(PORT, "name: web, lables: {}"), Undecodable, "field 'metadata.lables'"),
        ("{apiVersion: v1, kind: Service, spce: 1}", Undecodable, "unknown field 'spce'"),
        (f"--- {{{SLICE}, {NAMED}, endpoint: []}}", Undecodable, "unknown field 'endpoint'"),
        (
            f"{{{SLICE}, {NAMED}, endpoints: [{{addresses: [], conditions: {{raedy: true}}}}]}}",
            Undecodable,
            "unknown field 'endpoints[0].conditions.raedy'",
        ),
        (service(PORT, "name: w, annotations: {seaway.dev/x: y}"), Invalid, "'seaway.dev/x' (exp"),
        ("{apiVersion: v1, kind: List, itmes: []}", Undecodable, "document 1: unknown field 'it"),
        # kinds
        ("{apiVersion: apps/v1, kind: Deployment}", Unsupported, "kind 'Deployment' of 'apps/v1'"),
        ("{apiVersion: v1, kind: Endpoints}", Unsupported, "for Endpoints, use EndpointSlice"),
        ("{apiVersion: v2, kind: Service}", Unsupported, "kind 'Service' of 'v2' is not served"),
        ("{}", Invalid, "document 1: it has no 'apiVersion'"),
        ("apiVersion: v1", Invalid, "document 1: it has no 'kind'"),
        ("[]", Undecodable, "document 1 is no object"),
        ("--- 1\n--- 2", Undecodable, "document 1 is no object"),
        ("", Invalid, "there is no object in it"),
        ("---\n---\n", Invalid, "there is no object in it"),
        ("{apiVersion: v1, kind: List, items: {}}", Undecodable, "is no List of v1"),
        ("{apiVersion: v1, kind: List, items: [1]}", Undecodable, "document 1, item 1 is no obj"),
        # what is known and not served
        (service(f"{PORT}, type: LoadBalancer"), Unsupported, "use NodePort: every host answers"),
        (service(f"{PORT}, type: Other"), Invalid, "'spec.type: Other' is no type"),
        (service(f"{PORT}, externalIPs: [192.0.2.1]"), Unsupported, "'spec.externalIPs' is not"),
        (service(f"{PORT}, loadBalancerIP: x"), Unsupported, "'spec.loadBalancerIP' is not served"),
        (
            service(f"{PORT}, allocateLoadBalancerNodePorts: true"),
            Unsupported,
            "'spec.allocateLoad",
        ),
        # what goes with NodePort alone, and what does not go with it
        (
            service("ports: [{port: 1, nodePort: 2}]"),
            Invalid,
            "'spec.ports[0].nodePort' goes with 'spec.type: NodePort', and this is ClusterIP",
        ),
        (
            service(f"{PORT}, externalTrafficPolicy: Local"),
            Invalid,
            "'spec.externalTrafficPolicy' ",
        ),
        (
            service(f"{PORT}, healthCheckNodePort: 30000"),
            Invalid,
            "'spec.healthCheckNodePort' goes",
        ),
        (
            service("type: ExternalName, externalName: a.b, ports: [{port: 1, nodePort: 2}]"),
            Invalid,
            "and this is ExternalName",
        ),
        (service(PORT, f"{PUBLISH}: '80'}}"), Invalid, "'seaway.dev/publish' goes with 'spec.type"),
        (service(f"{NODE}, clusterIP: None"), Invalid, "is of no headless service"),
        (service("type: NodePort"), Invalid, "service 'web' has no port"),
        (
            service("type: NodePort, ports: [{port: 1, nodePort: 70000}]"),
            Invalid,
            "port 70000 is o",
        ),
        (service("type: NodePort, ports: [{port: 1, nodePort: -5}]"), Invalid, "port -5 is out of"),
        (
            service("type: NodePort, ports: [{port: 1, nodePort: x}]"),
            Undecodable,
            "nodePort: Expec",
        ),
        (
            service(
                "type: NodePort, ports: [{name: a, port: 1, nodePort: 9}, "
                "{name: b, port: 2, nodePort: 9}]"
            ),
            Invalid,
            "port 9/tcp is asked for twice by service 'web'",
        ),
        (
            service(f"{NODE}, externalTrafficPolicy: Near"),
            Undecodable,
            "externalTrafficPolicy: Inv",
        ),
        (service(f"{NODE}, healthCheckNodePort: 9"), Invalid, "not the external policy Local"),
        (service(NODE, f"{PUBLISH}: '81'}}"), Invalid, "has no port '81' to be published"),
        (service(NODE, f"{PUBLISH}: '9:80'}}"), Invalid, "'seaway.dev/publish' names ports of the"),
        (
            service(f"type: NodePort, {BOTH}", f"{PUBLISH}: b}}"),
            Invalid,
            "'seaway.dev/publish' does not name the port of 'spec.ports[0].nodePort'",
        ),
        (service("ports: [{port: 1, protocol: SCTP}]"), Unsupported, "SCTP is not offered"),
        (service(PORT, "name: w, finalizers: [x]"), Unsupported, "'metadata.finalizers' is not"),
        (service(PORT, "generateName: w-, name: w"), Unsupported, "'metadata.generateName' is no"),
        (
            service(PORT, "name: w, annotations: {service.kubernetes.io/topology-mode: Auto}"),
            Unsupported,
            "use spec.trafficDistribution: PreferSameZone",
        ),
        (
            service(PORT, "name: w, labels: {service.kubernetes.io/service-proxy-name: x}"),
            Unsupported,
            "the label 'service.kubernetes.io/service-proxy-name'",
        ),
        (
            f"{{{SLICE}, {NAMED}, endpoints: [{{addresses: [], hostname: x}}]}}",
            Unsupported,
            "hostn",
        ),
        (f"{{{SLICE.replace('IPv4', 'FQDN')}, {NAMED}}}", Unsupported, "use a Service of type Ext"),
        # wrong values
        (service("ports: [{port: 99999}]"), Invalid, "port 99999 of a service is out of range"),
        (service("ports: [{port: http}]"), Undecodable, "spec.ports[0].port: Expected `int`"),
        (service("ports: [{port: true}]"), Undecodable, "spec.ports[0].port: Expected `int`"),
        (service("ports: [{port: 9999999999999}]"), Undecodable, "spec.ports[0].port: Expected"),
        (service("ports: [{port: 1, targetPort: -1}]"), Invalid, "port -1 of backends"),
        (service("selector: {app: 1}"), Undecodable, "Expected `str`, got `int`"),
        (service(""), Invalid, "service 'web' has no port"),
        ("{apiVersion: v1, kind: Service, metadata: {name: w}}", Undecodable, "required field `sp"),
        (service(PORT, "namespace: a"), Undecodable, "missing required field `name`"),
        (service(PORT, "name: W"), Invalid, "'W' is no service name"),
        (service(PORT, "name: w, namespace: ../x"), Invalid, "'../x' is no network name"),
        (service(f"{PORT}, clusterIP: x"), Invalid, "'x' is no IP address"),
        (
            service(f"{PORT}, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2]"),
            Invalid,
            "does not begin",
        ),
        (
            service(f"{PORT}, clusterIPs: [10.0.0.1, 10.0.0.2]"),
            Invalid,
            "more than one IPv4 address",
        ),
        (
            service(f"{PORT}, ipFamilies: [IPv4], clusterIP: 'fd00::7'"),
            Invalid,
            "is of IPv6, which",
        ),
        (service(f"{PORT}, ipFamilies: [IPv5]"), Undecodable, "spec.ipFamilies[0]: Invalid enum"),
        (service("type: ExternalName"), Invalid, "go together"),
        (service(f"{PORT}, externalName: x.org"), Invalid, "go together"),
        (
            service(f"{PORT}, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 1}}}}"),
            Invalid,
            "without 'spec.sessionAffinity: ClientIP'",
        ),
        (
            service(
                f"{PORT}, sessionAffinity: ClientIP, "
                "sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}"
            ),
            Invalid,
            "an affinity of 0 s is none",
        ),
        (
            service(PORT, "name: w, annotations: {seaway.dev/algorithm: magic}"),
            Invalid,
            "'magic' i",
        ),
        (
            service(PORT, "name: w, annotations: {seaway.dev/drain: soon}"),
            Invalid,
            "'soon' is no s",
        ),
        (
            service(PORT, "name: w, annotations: {seaway.dev/check: ping}"),
            Invalid,
            "'ping' is no c",
        ),
        (service(PORT, "name: w, annotations: {seaway.dev/check: tcp}"), Invalid, "no selector"),
        (service(PORT, "name: w, annotations: {seaway.dev/drain: inf}"), Invalid, "out of range"),
        (
            service(PORT, "name: w, annotations: {seaway.dev/ingress-rate: fast}"),
            Invalid,
            "'fast' is no number of bits",
        ),
        (
            service(PORT, "name: w, annotations: {seaway.dev/egress-rate: 7kbit}"),
            Invalid,
            "expected 8kbit to 32gbit",
        ),
        (
            service(PORT, "name: w, annotations: {seaway.dev/egress-burst: 1mbit}"),
            Invalid,
            "a burst of egress is given without a rate",
        ),
        (
            service(
                "type: ExternalName, externalName: a.b",
                "name: w, annotations: {seaway.dev/egress-rate: 1mbit}",
            ),
            Invalid,
            "it has no backends",
        ),
        (f"{{{SLICE}, metadata: {{name: s}}}}", Invalid, "label 'kubernetes.io/service-name' is m"),
        (f"{{{SLICE.replace('IPv4', 'IPv5')}, {NAMED}}}", Invalid, "'addressType: IPv5' is none"),
        (f"{{{SLICE}, {NAMED}, endpoints: [{{addresses: [127.0.0.1]}}]}}", Invalid, "a loopback"),
        (
            f"{{{SLICE}, {NAMED}, endpoints: [{{addresses: ['fd00::1']}}]}}",
            Invalid,
            "in a slice of",
        ),
        (
            f"{{{SLICE}, {NAMED[:-1]}, annotations: {{seaway.dev/weight: '1,2,3'}}}}}}",
            Invalid,
            "there are 3 weights for 0 endpoints",
        ),
        (
            f"{{{SLICE}, {NAMED[:-1]}, annotations: {{seaway.dev/weight: x}}}}}}",
            Invalid,
            "'x' is no weight",
        ),
        # no YAML, or not what it says it is
        ("a: b: c", Undecodable, "neither JSON nor YAML"),
        ("{a: 1, a: 2}", Undecodable, "the key 'a' is given twice"),
        ("{1: 2}", Undecodable, "the key 1 is no text"),
        ("a: !!int x", Undecodable, "neither JSON nor YAML"),
        ("a: !!timestamp x", Undecodable, "neither JSON nor YAML"),
        ("a: !!bool x", Undecodable, "neither JSON nor YAML"),
        ("a: 2024-99-99", Undecodable, "neither JSON nor YAML"),
        (f"a: {'9' * 5000}", Undecodable, "neither JSON nor YAML"),
        ("a: !!python/object:os.system {}", Undecodable, "neither JSON nor YAML"),
        ("\x00", Undecodable, "neither JSON nor YAML"),
        ("&a [*a]", Undecodable, "that is too much for a manifest"),
        ("[" * 100_000, Undecodable, "neither JSON nor YAML"),
        ("- " * 50, Undecodable, "more than 40 values in each other"),
        ('{"a":' * 100_000, Undecodable, "neither JSON nor YAML"),
        (
            "".join(
                f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 10)}]\n" for n in range(12)
            ),
            Undecodable,
            "that is too much for a manifest",
        ),
    ],
    ids=lambda v: str(v)[-40:],
)
def test_what_is_wrong_is_told_by_its_name_and_place(
    text: str, kind: type[Invalid], told: str
) -> None:
    with pytest.raises(kind) as caught:
        read(text)
    assert told in str(caught.value)
    assert caught.value.hint
    assert len(str(caught.value)) < 500


names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
port_numbers = st.integers(1, 65535)
labels = st.dictionaries(names, names, max_size=2)
addresses4, addresses6 = (st.ip_addresses(v=v) for v in (4, 6))
usable4 = st.ip_addresses(network="192.0.2.0/24")


def several(ports: list[ServicePort]) -> tuple[ServicePort, ...]:
    """Each with a name of its own, and on a port of its own."""
    return tuple(
        ServicePort(
            port=number,
            target=p.target,
            protocol=p.protocol,
            name=f"p{number}",
            app_protocol=p.app_protocol,
        )
        for number, p in enumerate(ports, 1)
    )


ports = st.lists(
    st.builds(
        ServicePort,
        port=port_numbers,
        target=st.one_of(port_numbers, names),
        protocol=st.sampled_from(("tcp", "udp")),
        app_protocol=st.sampled_from(("", "http", "kubernetes.io/h2c")),
    ),
    min_size=1,
    max_size=3,
).map(several)
knobs = {
    "name": names,
    "network": names,
    "selector": labels,
    "algorithm": st.sampled_from(("random", "round-robin", "least-connections")),
    "affinity": st.integers(0, 86400),
    "internal_policy": st.sampled_from(("Cluster", "Local")),
    "distribution": st.sampled_from(("", "PreferSameZone", "PreferSameNode")),
    "publish_not_ready": st.booleans(),
    "drain": st.floats(0, 86400),
}
services = st.one_of(
    st.builds(
        Service,
        ports=ports,
        addresses=st.one_of(
            addresses4.map(lambda a: (a,)),
            addresses6.map(lambda a: (a,)),
            st.tuples(addresses4, addresses6),
        ),
        **knobs,
    ),
    st.builds(Service, headless=st.just(True), ports=st.one_of(st.just(()), ports), **knobs),
    st.builds(Service, name=names, network=names, external_name=st.just("db.example.org")),
)
told = st.one_of(st.none(), st.booleans())
slices = st.builds(
    EndpointSlice,
    name=names,
    network=names,
    service=names,
    family=st.just(4),
    ports=st.one_of(
        st.just(()),
        st.builds(lambda p: (SlicePort(port=p, name="a"), SlicePort(port=p)), port_numbers),
    ),
    endpoints=st.lists(
        st.builds(
            SliceEndpoint,
            addresses=st.lists(usable4, min_size=1, max_size=2).map(tuple),
            ready=told,
            serving=told,
            terminating=told,
            host=st.one_of(st.just(""), names),
            zone=st.one_of(st.just(""), names),
            for_zones=st.lists(names, max_size=2).map(tuple),
            for_hosts=st.lists(names, max_size=2).map(tuple),
            weight=st.integers(0, 65535),
        ),
        max_size=3,
    ).map(tuple),
)


def checked(service: Service, check: Check) -> Service:
    return replace(service, check=check) if service.selector else service


def limited(service: Service, ways: tuple[tuple[int, int], tuple[int, int]]) -> Service:
    if service.external_name:
        return service
    (into, into_burst), (out, out_burst) = ways
    return replace(
        service,
        ingress_rate=into,
        ingress_burst=into_burst,
        egress_rate=out,
        egress_burst=out_burst,
    )


ways = st.one_of(
    st.just((0, 0)),
    st.tuples(st.integers(LEAST, MOST), st.one_of(st.just(0), st.integers(20_000, 2_000_000))),
)
checks = st.builds(
    Check,
    by=st.just("http"),
    path=st.sampled_from(("/", "/ready?a=%2C&b=~", "/:#'\"{}")),
    port=st.one_of(port_numbers, names.map(lambda n: f"p{n}".replace("--", "-x"))),
    interval=st.integers(30, 3600),
    timeout=st.integers(1, 30),
    failures=st.integers(1, 100),
    successes=st.integers(1, 100),
)


def exposed(service: Service, numbers: list[int], *, local: bool, maglev: bool) -> Service:
    """With as many of its ports published as there are numbers."""
    if service.headless or service.external_name or not numbers:
        return service
    given = dict(enumerate(numbers))
    found = (replace(p, node_port=given.get(at, 0)) for at, p in enumerate(service.ports))
    return replace(
        service,
        ports=tuple(found),
        external_policy="Local" if local else "Cluster",
        health_port=40000 if local else 0,
        algorithm="maglev" if maglev else service.algorithm,
    )


@given(
    st.builds(
        exposed,
        st.builds(
            limited,
            st.builds(checked, services, st.one_of(st.just(Check()), checks)),
            st.tuples(ways, ways),
        ),
        st.lists(st.integers(1, 39999), max_size=3, unique=True),
        local=st.booleans(),
        maglev=st.booleans(),
    )
)
def test_a_service_that_is_written_asks_for_itself_when_it_is_read(service: Service) -> None:
    asked = Objects(services=(request_of(service),))
    assert asked == read(json.dumps(render(service)))
    assert asked == read(yaml.safe_dump(render_all([service])))


@given(slices)
def test_a_slice_that_is_written_is_itself_when_it_is_read(slice_: EndpointSlice) -> None:
    asked = Objects(slices=(slice_,))
    assert asked == read(json.dumps(render_all([slice_])))
    assert asked == read(yaml.safe_dump(render(slice_)))


def refused_at_worst(text: str) -> None:
    with suppress(Invalid):
        read(text)


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    refused_at_worst(text)


words = st.sampled_from(
    (
        *("apiVersion", "kind", "v1", "Service", "List", "items", "metadata", "name", "spec"),
        *("ports", "port", "- ", ": ", "\n", "  ", "{", "}", "[", "]", ", ", "&a ", "*a", "!!int "),
        *(
            "<<",
            "? ",
            "| ",
            "> ",
            "---\n",
            "...\n",
            "'",
            '"',
            "%YAML 1.1\n",
            "# ",
            "0x",
            "1e9",
            "~",
        ),
    )
)


@given(st.lists(words, max_size=60).map("".join))
def test_no_words_of_yaml_break_it(text: str) -> None:
    refused_at_worst(text)


garbage = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    *("metadata", "spec", "status", "name", "namespace", "labels", "annotations", "ports"),
    *("nodePort", "externalTrafficPolicy", "healthCheckNodePort"),
    *("selector", "clusterIP", "clusterIPs", "type", "externalName", "sessionAffinityConfig"),
    *("endpoints", "addressType", "kind", "apiVersion", "hints", "conditions", "addresses"),
)


def broken(manifest: Any, path: list[int], put: Any) -> Any:
    """With something else at one place of it."""
    if not path or not isinstance(manifest, (dict, list)) or not manifest:
        return put
    if isinstance(manifest, list):
        at = path[0] % len(manifest)
        return [*manifest[:at], broken(manifest[at], path[1:], put), *manifest[at + 1 :]]
    name = sorted(manifest)[path[0] % len(manifest)]
    return manifest | {name: broken(manifest[name], path[1:], put)}


@given(
    st.sampled_from((ALL_OF_A_SERVICE, ALL_OF_A_SLICE)),
    st.lists(st.integers(0, 20), min_size=1, max_size=5),
    st.one_of(garbage, st.dictionaries(st.sampled_from(FIELDS), garbage)),
)
def test_nothing_at_any_place_of_a_manifest_breaks_it(text: str, path: list[int], put: Any) -> None:
    manifest = broken(yaml.safe_load(text), path, put)
    refused_at_worst(yaml.safe_dump(manifest))
    refused_at_worst(json.dumps(manifest, default=str))
