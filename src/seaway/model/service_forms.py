"""What services and slices may look like: the same for the API, the command line and manifests.

Each check raises `Invalid`, without a look at any fact. The bounds are those of Kubernetes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from seaway.errors import Invalid, Unsupported
from seaway.model import bandwidth, checks, forms, limits, node_ports
from seaway.model.addresses import Address
from seaway.model.publications import PORT_MOST, PROTOCOLS
from seaway.model.requests import NewService
from seaway.model.services import EndpointSlice, ServicePort, SliceEndpoint, SlicePort

AFFINITY_MOST: Final = 86400  # seconds
DRAIN_MOST: Final = 86400.0
WEIGHT_MOST: Final = 65535
_PORTS_MOST: Final = 100
_ENDPOINTS_MOST: Final = 1000  # of one slice
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1035, 2.3.1
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ZONE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?|")
_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)  # of any length between dots: Kubernetes makes names of slices longer than a label of DNS
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL.pattern}(\.{_LABEL.pattern})*")
_PORT_NAME = re.compile(
    r"(?=.{1,15}\Z)(?!.*--)(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?"
)  # RFC 6335
_PORT = re.compile(
    r"(?:([A-Za-z0-9-]{1,63})=)?([0-9]{1,10})(?::([A-Za-z0-9-]{1,63}))?(?:/([A-Za-z0-9]{1,10}))?",
    re.ASCII,
)
# To such addresses the data plane sends nothing.
_NOBODYS: Final[dict[str, Callable[[Address], bool]]] = {
    "a loopback": lambda a: a.is_loopback,
    "a link-local": lambda a: a.is_link_local,
    "a multicast": lambda a: a.is_multicast,
    "an unspecified": lambda a: a.is_unspecified,
    "a reserved": lambda a: a.version == 4 and a.packed[0] in {0, *range(240, 256)},
}
_APP_PROTOCOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,252}")


def parse_port(text: str) -> ServicePort:
    """Of [NAME=]PORT[:TARGET][/PROTOCOL]; the target is that port where none is said."""
    found = _PORT.fullmatch(text)
    if not found:
        raise Invalid(
            f"{_told(text)} is no port of a service",
            "expected [NAME=]PORT[:TARGET][/PROTOCOL], e.g. 80, http=80:8080/tcp or dns=53:dns/udp",
        )
    name, port, target, protocol = found.groups()
    made = ServicePort(
        port=int(port),
        target=int(port) if target is None else int(target) if target.isdecimal() else target,
        protocol=(protocol or "tcp").lower(),
        name=name or "",
    )
    check_ports([made])
    return made


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{_told(name)} is no service name",
            "expected up to 63 of a-z, 0-9 and '-', beginning with a letter",
        )


def check_slice_name(name: str) -> None:
    if not _SUBDOMAIN.fullmatch(name):
        raise Invalid(
            f"{_told(name)} is no name of a slice", "expected a-z, 0-9, '-' and '.', at most 253"
        )


def check_service(new: NewService) -> None:
    """All that can be said of it alone."""
    check_name(new.name)
    check_ports(new.ports)
    forms.check_labels(new.selector)
    check_affinity(new.affinity)
    check_drain(new.drain)
    limits.check_limits(new.limit_connections, new.limit_rate)
    bandwidth.check_ways(new)
    _check_addresses(new)
    _check_check(new)
    node_ports.check(new)
    if new.external_name:
        _check_external(new)
    elif not (new.ports or new.headless):
        raise Invalid(
            f"service '{new.name}' has no port", "give one, e.g. 80:8080/tcp; or make it headless"
        )


def _check_check(new: NewService) -> None:
    check = new.check
    checks.check_form(check)
    if not check.by:
        return
    if not new.selector:
        raise Invalid(
            f"service '{new.name}' has no selector, and its check is of endpoints that one finds",
            "give a selector; the backends of slices are checked by who writes them",
        )
    if isinstance(check.port, str):
        check_port_name(check.port)
    elif check.port:
        check_port(check.port, "a check")
    elif not any(port.protocol == "tcp" for port in new.ports):
        raise Invalid(
            f"service '{new.name}' has no TCP port that could be checked",
            "name one of its endpoints': --check tcp,port=PORT",
        )


def _check_external(new: NewService) -> None:
    if not _DNS_NAME.fullmatch(new.external_name.removesuffix(".").lower()):
        raise Invalid(f"{_told(new.external_name)} is no DNS name", "expected e.g. db.example.org")
    limited = any(way.rate for way in bandwidth.ways_of(new))
    if new.headless or new.selector or new.addresses or new.families or limited:
        raise Invalid(
            f"service '{new.name}' is another name of {new.external_name}: it has no backends and "
            "no addresses",
            "leave out selector, addresses, families, headless and rates",
        )


def _check_addresses(new: NewService) -> None:
    families = [address.version for address in new.addresses]
    if new.headless and (families or new.families):
        raise Invalid(
            f"service '{new.name}' is headless: its addresses are those of its backends",
            "leave out addresses and families",
        )
    if set(new.families) - {4, 6} or len(set(new.families)) != len(new.families):
        raise Invalid("a service has IPv4, IPv6 or both", "expected families 4 and 6, each once")
    if twice := [family for family, times in Counter(families).items() if times > 1]:
        raise Invalid(
            f"service '{new.name}' asks for more than one IPv{twice[0]} address", "name one"
        )
    for address in new.addresses if new.families else ():
        if address.version not in new.families:
            raise Invalid(
                f"{address} is of IPv{address.version}, which was not asked for",
                f"name one of IPv{new.families[0]}",
            )
    if new.single and len({*families, *new.families}) > 1:
        raise Invalid(
            f"service '{new.name}' is to have one family, and both are named", "name one of them"
        )


def check_ports(ports: Sequence[ServicePort]) -> None:
    if len(ports) > _PORTS_MOST:
        raise Invalid(f"a service has at most {_PORTS_MOST} ports", "make several services")
    for port in ports:
        check_port(port.port, "a service")
        check_protocol(port.protocol)
        _check_target(port.target)
        if port.name and not _LABEL.fullmatch(port.name):
            raise Invalid(f"{_told(port.name)} is no name of a port", "expected a-z, 0-9 and '-'")
        if port.app_protocol and not _APP_PROTOCOL.fullmatch(port.app_protocol):
            raise Invalid(
                f"{_told(port.app_protocol)} is no protocol of an application", "expected e.g. http"
            )
        if len(ports) > 1 and not port.name:
            raise Invalid(
                f"port {port.port} has no name, and the service has several ports",
                "name each, e.g. http=80:8080/tcp",
            )
    _once((f"port {p.port}/{p.protocol}" for p in ports), "a service")
    _once((f"the port name '{p.name}'" for p in ports if p.name), "a service")


def check_port(port: int, of: str) -> None:
    if not 1 <= port <= PORT_MOST:
        raise Invalid(f"port {port} of {of} is out of range", f"expected 1 to {PORT_MOST}")


def check_protocol(protocol: str) -> None:
    if protocol.lower() == "sctp":
        raise Unsupported(
            "SCTP is not offered for services: the data plane does not translate it",
            "use tcp or udp; SCTP passes between endpoints by their own addresses",
        )
    if protocol not in PROTOCOLS:
        raise Invalid(f"{_told(protocol)} is no protocol of ports", "expected tcp or udp")


def _check_target(target: int | str) -> None:
    if isinstance(target, int):
        check_port(target, "backends")
    else:
        check_port_name(target)


def check_port_name(name: str) -> None:
    if not _PORT_NAME.fullmatch(name):
        raise Invalid(
            f"{_told(name)} is no name of a port of an endpoint",
            "expected up to 15 of a-z, 0-9 and '-', with a letter, as http",
        )


def check_port_names(names: dict[str, int]) -> None:
    for name, port in names.items():
        check_port_name(name)
        check_port(port, f"'{name}'")


def check_weight(weight: int) -> None:
    if not 0 <= weight <= WEIGHT_MOST:
        raise Invalid(f"weight {weight} is out of range", f"expected 0 to {WEIGHT_MOST}")


def check_zone(zone: str) -> None:
    if not _ZONE.fullmatch(zone):
        raise Invalid(
            f"{_told(zone)} is no zone", "expected up to 63 letters, digits, '-', '_' and '.'"
        )


def check_affinity(seconds: int) -> None:
    if not 0 <= seconds <= AFFINITY_MOST:
        raise Invalid(
            f"an affinity of {seconds} s is out of range",
            f"expected 1 to {AFFINITY_MOST} s; 0: none",
        )


def check_drain(seconds: float) -> None:
    if not 0 <= seconds <= DRAIN_MOST:
        raise Invalid(
            f"a drain of {seconds:g} s is out of range", f"expected 0 to {DRAIN_MOST:g} s"
        )


def check_slice(new: EndpointSlice) -> None:
    """All that can be said of it alone."""
    check_slice_name(new.name)
    check_name(new.service)
    if new.family not in {4, 6}:
        raise Invalid(f"slice '{new.name}' is of no family", "expected 4 or 6")
    if len(new.endpoints) > _ENDPOINTS_MOST or len(new.ports) > _PORTS_MOST:
        raise Invalid(
            f"slice '{new.name}' has {len(new.endpoints)} endpoints and {len(new.ports)} ports",
            f"expected at most {_ENDPOINTS_MOST} and {_PORTS_MOST}: make several slices",
        )
    _check_slice_ports(new.ports)
    for endpoint in new.endpoints:
        _check_slice_endpoint(endpoint, new.family)


def _check_slice_ports(ports: Sequence[SlicePort]) -> None:
    for port in ports:
        check_port(port.port, "a slice")
        check_protocol(port.protocol)
        if port.name and not _LABEL.fullmatch(port.name):
            raise Invalid(f"{_told(port.name)} is no name of a port", "expected a-z, 0-9 and '-'")
    _once((f"the port name '{p.name}'" for p in ports), "a slice")


def _check_slice_endpoint(endpoint: SliceEndpoint, family: int) -> None:
    if not 1 <= len(endpoint.addresses) <= _PORTS_MOST:
        raise Invalid(
            f"an endpoint has {len(endpoint.addresses)} addresses",
            f"expected 1 to {_PORTS_MOST}, of which the first counts",
        )
    check_weight(endpoint.weight)
    if endpoint.host:
        forms.check_host(endpoint.host)
    for host in endpoint.for_hosts:
        forms.check_host(host)
    for address in endpoint.addresses:
        _check_backend(address, family)


def _check_backend(address: Address, family: int) -> None:
    if address.version != family:
        raise Invalid(
            f"{address} is of IPv{address.version}, in a slice of IPv{family}",
            "make a slice for each family",
        )
    if address.version == 6 and address.ipv4_mapped:
        told = f"{address.ipv4_mapped} is an IPv4 address, in a slice of IPv6"
        raise Invalid(told, "write it as one, in a slice of IPv4")
    for kind, is_one in _NOBODYS.items():
        if is_one(address):
            raise Invalid(
                f"{address} is {kind} address, and no backend has one",
                "name an address at which all hosts reach it",
            )


def _once(words: Iterable[str], of: str) -> None:
    for word, times in Counter(words).items():
        if times > 1:
            raise Invalid(f"{word} of {of} is given {times} times", "give it once")


def _told(text: str) -> str:
    """As Python writes it, and not all of what is endless."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
