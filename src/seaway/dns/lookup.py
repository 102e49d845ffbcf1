"""Of what a name tells: which network's, which name's in it, and what of that.

    <name>                                 of any network of the asker's
    <name>.<network>.seaway
    <service>.<network>.svc.cluster.local

where <name> is an endpoint's, an alias, or a service's; of a service also tasks.<service>, one
backend as <backend>.<service>, and _<port>._<protocol>.<service> for SRV. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

from seaway.model.addresses import Address
from seaway.model.naming import TASKS, ZONES, Asker, Holder, Named, Task, parted
from seaway.names import DOMAIN, SERVICE_DOMAIN

_REVERSE: Final = ("in-addr.arpa", "ip6.arpa")
_OURS: Final = (DOMAIN, "cluster.local")  # nobody else answers for these


class Names(Protocol):
    """What the agent told (`names_file.KnownNames`)."""

    def named(self, name: str) -> Mapping[str, Named]:
        """By network."""

    def holder(self, address: str) -> Holder | None: ...


@dataclass(frozen=True, slots=True)
class Server:
    """What one SRV record tells."""

    target: str
    port: int
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A name of ours that there is."""

    zone: str  # whose SOA tells how long it is true that there is no more
    addresses: tuple[Address, ...] = ()
    servers: tuple[Server, ...] = ()
    pointers: tuple[str, ...] = ()
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A name of ours that there is not."""

    zone: str


def find(name: str, asker: Asker, names: Names) -> Found | Missing | None:
    """None: it is not ours to answer. `name` in lower case, without the last dot."""
    zone = _zone_of(name)
    if zone in _REVERSE:
        return _pointed(name, zone, asker, names)
    if name in _OURS:
        return _bare(name, asker, names) or Found(zone)
    if zone in ZONES:
        return _in_zone(name, zone, asker, names)
    return Missing(zone) if zone in _OURS else _bare(name, asker, names)


def _zone_of(name: str) -> str:
    """The end of it that is ours, or (of a name that has none) itself."""
    for zone in (*ZONES, *_OURS, *_REVERSE):
        if name == zone or name.endswith(f".{zone}"):
            return zone
    return name


def _pointed(name: str, zone: str, asker: Asker, names: Names) -> Found | None:
    """Of an address whose holder has no name for this asker, others may know one."""
    address = _address_of(name, zone)
    holder = names.holder(str(address)) if address else None
    pointers = [p for p in (holder.pointers if holder else ()) if _may(asker, p.network)]
    told = tuple(f"{p.name.lower()}.{p.network}.{DOMAIN}" for p in pointers)
    return Found(zone, pointers=told) if told else None


def _address_of(name: str, zone: str) -> Address | None:
    """The one that goes by this name (RFC 1035, 3.5; RFC 3596, 2.5)."""
    parts = name.removesuffix(zone).rstrip(".").split(".")[::-1]
    address: Address
    try:
        if zone == _REVERSE[0]:
            address = IPv4Address(".".join(parts))
        else:
            address = IPv6Address(bytes.fromhex("".join(parts)))
    except ValueError:
        return None
    return address if address.reverse_pointer == name else None


def _may(asker: Asker, network: str) -> bool:
    return asker.every or network in asker.networks


def _in_zone(name: str, zone: str, asker: Asker, names: Names) -> Found | Missing:
    rest, network = parted(name, zone)
    if not network:
        return Found(zone)
    if not _may(asker, network):
        return Missing(zone)
    if not rest:
        return Found(zone)  # there is something below it
    return _look(rest, {network}, names, _Way(zone, zone)) or Missing(zone)


def _bare(name: str, asker: Asker, names: Names) -> Found | Missing | None:
    networks = None if asker.every else set(asker.networks)
    return _look(name, networks, names, _Way(_zone_of(name), DOMAIN)) if name else None


@dataclass(frozen=True, slots=True)
class _Way:
    """How it was asked: of which zone the answer is, and how targets are called in it."""

    zone: str
    targets: str

    @property
    def services(self) -> bool:
        """Whether endpoints have no names here."""
        return self.zone == SERVICE_DOMAIN

    def target(self, name: str, network: str) -> str:
        return f"{name}.{network}.{self.targets}"


def _look(name: str, networks: set[str] | None, names: Names, way: _Way) -> Found | Missing | None:
    """`networks`: None for all; of several that know the name, the first in their order."""
    if known := _first(name, networks, names, services=way.services):
        return _whole(known[1], way)
    if name.startswith("_"):
        return _servers(name, networks, names, way)
    task, _, service = name.partition(".")
    known = _first(service, networks, names, services=True) if service else None
    if known and task == TASKS:
        return Found(way.zone, addresses=_of(known[1].tasks))
    for one in known[1].tasks if known else ():
        if one.name == task:
            return Found(way.zone, addresses=one.addresses)
    return None


def _whole(named: Named, way: _Way) -> Found:
    return Found(way.zone, named.addresses, elsewhere=named.elsewhere)


def _servers(
    name: str, networks: set[str] | None, names: Names, way: _Way
) -> Found | Missing | None:
    """`_<port>._<protocol>.<service>`; where that service is ours, so is what it has not."""
    parts = name.split(".", 2)
    if len(parts) < 3 or not parts[1].startswith("_"):
        return None
    known = _first(parts[2], networks, names, services=True)
    if not known:
        return None
    network, named = known
    wanted = parts[0][1:], parts[1][1:]
    found = [
        Server(way.target(parts[2], network), port.port, named.addresses)
        for port in named.ports
        if (port.name.lower(), port.protocol) == wanted
    ]
    for task in named.tasks:
        found += [
            Server(way.target(f"{task.name}.{parts[2]}", network), port.port, task.addresses)
            for port in task.ports
            if (port.name.lower(), port.protocol) == wanted
        ]
    return Found(way.zone, servers=tuple(found)) if found else Missing(way.zone)


def _first(
    name: str, networks: set[str] | None, names: Names, *, services: bool
) -> tuple[str, Named] | None:
    known = names.named(name)
    for network in sorted(known):
        if (networks is None or network in networks) and (known[network].service or not services):
            return network, known[network]
    return None


def _of(tasks: tuple[Task, ...]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(address for task in tasks for address in task.addresses))
