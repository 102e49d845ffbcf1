"""Published ports as users write them, and the few rules that need no look at any host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from msgspec.structs import replace

from seaway.errors import Invalid, Unsupported
from seaway.model.addresses import Address, parse_address
from seaway.model.facts import Publication

PROTOCOLS: Final = {"tcp": 6, "udp": 17}  # their numbers in a packet (IANA)
PORT_MOST: Final = 65535
_RANGE = r"[0-9]{1,10}(?:-[0-9]{1,10})?"
_MAPPING = re.compile(
    rf"(?:(\[[^\]]*\]|[^:\[\]]+):)?({_RANGE}):({_RANGE})(?:/([A-Za-z0-9]+))?", re.ASCII
)
_EXPECTED = "[HOSTIP:]HOSTPORT[-LAST]:CONTAINERPORT[-LAST][/PROTOCOL]"
_EXAMPLES = "8080:80, 192.0.2.7:53:53/udp or [2001:db8::7]:8000-8009:80-89"


@dataclass(frozen=True, slots=True)
class HeldPort:
    """A port of the host that one of its own sockets has."""

    protocol: str
    address: Address
    port: int
    holder: str  # in words


def parse_mapping(text: str) -> tuple[Publication, ...]:
    """One publication for each port of the range."""
    found = _MAPPING.fullmatch(text)
    if not found:
        raise Invalid(f"'{text}' is no port mapping", f"expected {_EXPECTED}, e.g. {_EXAMPLES}")
    ip, host, container, protocol = found.groups()
    host_ports, container_ports = _ports(host, text), _ports(container, text)
    if len(host_ports) != len(container_ports):
        raise Invalid(
            f"the ranges of '{text}' are of {len(host_ports)} and {len(container_ports)} ports",
            "expected as many ports of the container as of the host",
        )
    first = checked(
        Publication(
            host_port=host_ports[0],
            container_port=container_ports[0],
            protocol=(protocol or "tcp").lower(),
            host_ip=parse_address(ip.strip("[]")) if ip else None,
        )
    )
    pairs = zip(host_ports, container_ports, strict=True)
    return tuple(replace(first, host_port=h, container_port=c) for h, c in pairs)


def _ports(text: str, mapping: str) -> range:
    first, _, last = text.partition("-")
    start, end = int(first), int(last or first)
    for port in (start, end):
        _check_port(port, f"'{mapping}'")
    if end < start:
        raise Invalid(
            f"the range {text} of '{mapping}' is reversed", "expected the lower port first"
        )
    return range(start, end + 1)


def _check_port(port: int, of: str) -> None:
    if not 1 <= port <= PORT_MOST:
        raise Invalid(f"port {port} of {of} is out of range", f"expected 1 to {PORT_MOST}")


def checked(publication: Publication) -> Publication:
    """It, with an IPv4 address written as one; `Invalid` where no host could publish it."""
    for port in (publication.host_port, publication.container_port):
        _check_port(port, str(publication))
    if publication.protocol == "sctp":
        raise Unsupported(
            f"SCTP ports such as {publication} are not offered: the data plane does not "
            "translate them",
            "publish tcp or udp ports",
        )
    if publication.protocol not in PROTOCOLS:
        raise Invalid(f"'{publication.protocol}' is no protocol of ports", "expected tcp or udp")
    ip = publication.host_ip
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        return replace(publication, host_ip=ip.ipv4_mapped)
    return publication


def in_ranges(publications: Iterable[Publication]) -> list[str]:
    """As a user writes them, neighbours together: a thousand ports are one word."""
    return [first.written(last) for first, last in _neighbours(publications)]


def _neighbours(
    publications: Iterable[Publication],
) -> Iterator[tuple[Publication, Publication]]:
    ordered = sorted(publications, key=_order)
    if not ordered:
        return
    first = last = ordered[0]
    for publication in ordered[1:]:
        next_host, next_container = last.host_port + 1, last.container_port + 1
        if publication != replace(last, host_port=next_host, container_port=next_container):
            yield first, last
            first = publication
        last = publication
    yield first, last


def _order(publication: Publication) -> tuple[str, str, int, int]:
    ip = "" if publication.host_ip is None else str(publication.host_ip)
    return publication.protocol, ip, publication.host_port, publication.container_port
