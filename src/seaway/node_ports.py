"""Which ports of all hosts a service gets; what is wrong with one that is asked for.

Whose one is, is a record of its own (`NodePort`), made with that of the service: of two hosts that
take the same at once, one is told to choose again. Nobody knows all sockets of all hosts: those of
the host that is asked count.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NoReturn

from msgspec.structs import replace

from seaway.bpf.abi import MAGLEV_MOST, MAGLEV_PARTS
from seaway.desired.transport.node_ports import claims
from seaway.desired.transport.publications import Claim, overlap
from seaway.errors import Conflict, Exhausted
from seaway.facts import Facts
from seaway.model.addresses import UNSPECIFIED, Address
from seaway.model.facts import Cluster, Endpoint
from seaway.model.node_ports import ANY_PORT, FIRST, LAST, HostPort, node_ports_of
from seaway.model.publications import HeldPort
from seaway.model.requests import NewService
from seaway.model.services import Distant, NodePort, Service, ServicePort
from seaway.names import ETCD_PEER_PORT, ETCD_PORT, HOSTS_PORT, ROUTED_PORT

# The first of those that are chosen from are chosen last: people choose there (Kubernetes,
# KEP-3668).
_BAND: Final = 86
# Of a cluster: each has a table of Maglev's for each family.
_MOST: Final = MAGLEV_MOST // MAGLEV_PARTS // 2
_EVERYWHERE: Final[tuple[Address, ...]] = tuple(UNSPECIFIED.values())


@dataclass
class Taken:
    """What is not to be seen in facts: `held` by processes of this host, and what is about to be
    recorded, for whom.
    """

    held: Sequence[HeldPort] = ()
    others: dict[HostPort, str] = field(default_factory=dict)


def may_take(new: NewService | Service, old: Service | None) -> set[HostPort]:
    """Of which ports it must be known who of this host has them."""
    had = set(node_ports_of(old)) if old else set()
    found = {place for place in node_ports_of(new) if place not in had}
    for protocol in {protocol for protocol, port in found if port == ANY_PORT}:
        found |= {(protocol, port) for port in range(FIRST, LAST + 1)}
    return {(protocol, port) for protocol, port in found if port != ANY_PORT}


def allot(facts: Facts, service: Service, old: Service | None, taken: Taken) -> Service:
    """It, with a port wherever any was asked for. It keeps those that it had (`old`)."""
    had = set(node_ports_of(old)) if old else set()
    given = {place for place in node_ports_of(service) if place[1] != ANY_PORT}
    for place in given - had:
        if claim := _claim(facts, place, _families(service, place), taken):
            _refuse(place, claim, service)
    used, ports = given | had, []
    for port in service.ports:
        number = port.node_port
        if number == ANY_PORT:
            number = _kept(port, old, given) or _free(facts, service, port.protocol, used, taken)
            used.add((port.protocol, number))
        ports.append(replace(port, node_port=number))
    made = replace(service, ports=tuple(ports))
    _check_room(facts, len(node_ports_of(made)) - len(had))
    whose = f"service '{service.name}' of network '{service.network}', which asks for it too"
    taken.others |= dict.fromkeys(node_ports_of(made), whose)
    return made


def _families(service: Service, place: HostPort) -> tuple[int, ...]:
    if place == ("tcp", service.health_port):
        return 4, 6
    return tuple(address.version for address in service.addresses)


def _kept(port: ServicePort, old: Service | None, given: Collection[HostPort]) -> int:
    """The one that this port had before; 0: none, or another one of the service has it now."""
    had: tuple[ServicePort, ...] = old.ports if old else ()
    for before in had:
        if (before.port, before.protocol) == (port.port, port.protocol):
            return 0 if (before.protocol, before.node_port) in given else before.node_port
    return 0


def _free(
    facts: Facts, service: Service, protocol: str, used: Collection[HostPort], taken: Taken
) -> int:
    """By chance, so that hosts that choose at once choose differently."""
    size = LAST + 1 - FIRST - _BAND
    start = secrets.randbelow(size)
    turned = (FIRST + _BAND + (start + step) % size for step in range(size))
    for number in chain(turned, range(FIRST, FIRST + _BAND)):
        place = protocol, number
        if place in used or place in taken.others:
            continue
        if _claim(facts, place, _families(service, place), taken) is None:
            return number
    raise Exhausted(
        f"no {protocol} port from {FIRST} to {LAST} is free", "unpublish some, or name another one"
    )


def _claim(facts: Facts, place: HostPort, families: Collection[int], taken: Taken) -> Claim | None:
    """Whose it is already; None: nobody's, as far as this host knows."""
    wanted = [UNSPECIFIED[family] for family in families]
    held = (had for had in taken.held if (had.protocol, had.port) == place)
    found: tuple[Claim, ...] = (
        *_own(facts, place),
        *([Claim("", taken.others[place], _EVERYWHERE)] if place in taken.others else []),
        *claims(facts, place),
        *facts.parts(Endpoint, "port", place),
        *facts.parts(Distant, "port", place),
        *(Claim("", had.holder, (had.address,)) for had in held),
    )
    for claim in found:
        if any(overlap(one, other) for one in wanted for other in claim.addresses):
            return claim
    return None


def _own(facts: Facts, place: HostPort) -> Iterator[Claim]:
    """What Seaway itself is asked at, on some host or on all."""
    cluster = facts.get(Cluster, "cluster")
    own: dict[HostPort, str] = {
        ("tcp", HOSTS_PORT): "the agents of hosts",
        ("tcp", ROUTED_PORT): "routed",
        ("udp", ROUTED_PORT): "routed",
    }
    if cluster:
        own["udp", cluster.overlay_port] = "the overlay"
    if cluster and cluster.etcd_own:
        own |= {("tcp", port): "etcd" for port in (ETCD_PORT, ETCD_PEER_PORT)}
    if place in own:
        yield Claim("", f"Seaway itself, for {own[place]}", _EVERYWHERE)


def _refuse(place: HostPort, claim: Claim, service: Service) -> NoReturn:
    protocol, number = place
    raise Conflict(
        f"port {number}/{protocol} is taken by {claim.owner}, and service '{service.name}' cannot "
        "have it too",
        "choose another, or leave it out: then one is chosen",
    )


def _check_room(facts: Facts, more: int) -> None:
    if more > 0 and facts.number(NodePort) + more > _MOST:
        raise Exhausted(
            f"this cluster has no room for {more} more published ports of services",
            f"it takes {_MOST}: unpublish some",
        )
