"""Node ports as they are asked for: ports of every host that lead to one of a service.

Each check raises `Invalid`, without a look at any fact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from seaway.errors import Invalid
from seaway.model.publications import PORT_MOST
from seaway.model.requests import NewService
from seaway.model.services import NodePort, Service, ServicePort

ANY_PORT: Final = -1  # of those from FIRST to LAST one is chosen
FIRST, LAST = 30000, 32767  # those of Kubernetes, and of Swarm
NONE: Final = "none"
_MOST: Final = 50  # of one service: others in their place are one transaction, and etcd takes 128
_PUBLISH = re.compile(r"(?:([0-9]{1,10}):)?([A-Za-z0-9-]{1,63})(?:/([A-Za-z0-9]{1,10}))?", re.ASCII)

HostPort = tuple[str, int]  # of a host, or of every one: protocol and number


@dataclass(frozen=True, slots=True)
class HealthPort:
    """What is told at one: of which service, and how many backends on this host are ready."""

    network: str
    service: str
    backends: int


def published(ports: Sequence[ServicePort], texts: Sequence[str]) -> tuple[ServicePort, ...]:
    """These ports, of which those are published that [PUBLISHED:]PORT[/PROTOCOL] name, and no
    others.
    """
    found = [0] * len(ports)
    for text in () if list(texts) == [NONE] else texts:
        matched = _PUBLISH.fullmatch(text)
        if not matched:
            raise Invalid(
                f"{text[:80]!r} publishes no port of a service",
                "expected [PUBLISHED:]PORT[/PROTOCOL], e.g. 8080:80, http or 5300:53/udp; or none",
            )
        number, name, protocol = matched.groups()
        at = _named(ports, name, (protocol or "").lower())
        if found[at]:
            raise Invalid(f"port '{name}' of a service is published twice", "publish it once")
        found[at] = ANY_PORT if number is None else check_port(int(number))
    return tuple(replace(p, node_port=number) for p, number in zip(ports, found, strict=True))


def _named(ports: Sequence[ServicePort], name: str, protocol: str) -> int:
    """Which of them is meant."""
    found = [
        at
        for at, port in enumerate(ports)
        if name in (port.name, str(port.port)) and protocol in ("", port.protocol)
    ]
    if len(found) == 1:
        return found[0]
    has = ", ".join(f"{port.port}/{port.protocol}" for port in ports) or "none"
    word = f"{name}/{protocol}" if protocol else name
    if found:
        raise Invalid(f"'{word}' means several ports of the service", f"say which: {has}")
    raise Invalid(f"the service has no port '{word}' to be published", f"it has {has}")


def check_port(port: int) -> int:
    if not 1 <= port <= PORT_MOST:
        raise Invalid(
            f"port {port} is out of range, and no host has it", f"expected 1 to {PORT_MOST}"
        )
    return port


def check(new: NewService) -> None:
    """All that can be said of a service's node ports alone."""
    had = [port for port in new.ports if port.node_port]
    if had:
        _check_ports(new, had)
    elif new.external_policy != "Cluster" or new.algorithm == "maglev":
        asked = "algorithm maglev" if new.algorithm == "maglev" else "an external policy"
        raise Invalid(
            f"service '{new.name}' has {asked}, which is one of published ports, and has none",
            "publish one, or leave that out",
        )
    if new.health_port:
        check_port(new.health_port)
        if new.external_policy != "Local":
            raise Invalid(
                f"service '{new.name}' has a health port, and not the external policy Local",
                "with any other each host leads to all backends, and there is nothing to ask",
            )
    given = [place for place in node_ports_of(new) if place[1] != ANY_PORT]
    if twice := [place for place, times in Counter(given).items() if times > 1]:
        protocol, port = twice[0]
        raise Invalid(
            f"port {port}/{protocol} is asked for twice by service '{new.name}'", "give it once"
        )


def _check_ports(new: NewService, had: Sequence[ServicePort]) -> None:
    if new.headless or new.external_name:
        what = "headless" if new.headless else f"another name of {new.external_name}"
        raise Invalid(
            f"service '{new.name}' is {what}: no port of a host leads to it",
            "publish none of its ports",
        )
    if len(had) > _MOST:
        raise Invalid(f"a service has at most {_MOST} published ports", "make several services")
    for port in had:
        if port.node_port != ANY_PORT:
            check_port(port.node_port)


def node_ports_of(service: Service | NewService) -> list[HostPort]:
    """What of every host it has, or asks for."""
    found = [(port.protocol, port.node_port) for port in service.ports if port.node_port]
    return [*found, *([("tcp", service.health_port)] if service.health_port else [])]


def records_of(service: Service) -> list[NodePort]:
    """What is recorded with it."""
    return [
        NodePort(port=port, protocol=protocol, network=service.network, service=service.name)
        for protocol, port in node_ports_of(service)
    ]
