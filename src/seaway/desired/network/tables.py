"""What the programs of this host look up, and what they ask of it, as bpf/lib has it.

Whoever makes one says where it is looked up: in the kernel's own maps, so that what is told of a
packet is what becomes of it, and not what should.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple

from seaway.bpf import abi
from seaway.desired.network.host import IDENTITY_HOST
from seaway.desired.network.overlay import HERE
from seaway.model.addresses import UNSPECIFIED, Address, host_prefix, mapped
from seaway.model.publications import PROTOCOLS
from seaway.model.trace import Lead

_SHARE: Final = 4  # LIMIT_SHARE of bpf/lib/use.h
_GROUP: Final = {4: 0xE0000000 >> 28, 6: 0xFF}  # the first bits of groups, of class E and above


class Choice(NamedTuple):
    """By which next hop a path goes now (bpf/lib/next_hop.h)."""

    path: abi.Path | None
    hop: abi.NextHop | None = None  # of the first share of its flows; None: nowhere
    spared: bool = False  # the path's own is dead: it is another one
    others: tuple[abi.NextHop, ...] = ()  # by which its other flows go


class AskedService(NamedTuple):
    """A service that is asked, by the key of its frontend (bpf/lib/service.h, frontend.h)."""

    key: abi.PortKey
    service: abi.Service

    @property
    def bare(self) -> bool:
        """Nobody may be chosen now."""
        return not (self.service.backends and self.service.weight)

    @property
    def silent(self) -> bool:
        return self.bare and bool(self.service.flags & abi.SERVICE_SILENT)


class Held(NamedTuple):
    """Connections from this host under a limit (bpf/lib/limit.h)."""

    most: int  # at once; 0: as many as one likes
    rate: int  # new ones in a second; likewise
    open: int = 0
    own: int = 0  # of them, the client's that is asked about

    @property
    def full(self) -> bool:
        """Whether that client gets no more. What it opened lately is not looked at."""
        left = self.most - self.open
        shares = not self.own or self.own + _SHARE < _SHARE * left
        return bool(self.most) and not (left > 0 and shares)

    def told(self, whose: str) -> str:
        """Why it gets no more."""
        why = f"of the {self.most} connections from this host that {whose} may have at once, "
        why += f"{self.open} are open"
        if self.open < self.most:
            why += f", {self.own} of them this client's: what is left is for others"
        return why


class Tables:
    """`find`: the element of a map, by its name and a key; of prefixes, the one that matches best.
    `lead`: how the host's routes lead to an address; None: they do not.
    """

    def __init__(
        self,
        find: Callable[[str, Hashable], Any],
        lead: Callable[[Address], Lead | None],
    ) -> None:
        self._find = find
        self.lead = lead

    def endpoint(self, address: Address) -> abi.Endpoint | None:
        found: abi.Endpoint | None = self._find("endpoints", address)
        return found

    def interface(self, ifindex: int) -> abi.Endpoint | None:
        found: abi.Endpoint | None = self._find("interfaces", ifindex)
        return found

    def subnet(self, address: Address) -> int:
        """The number of the network that it belongs to; 0: to none."""
        return self._find("subnets", host_prefix(address)) or 0

    def is_host(self, address: Address) -> bool:
        return bool(self._find("identities", host_prefix(address)) == IDENTITY_HOST)

    def underlay(self) -> abi.Underlay | None:
        """None: this host has no other beside it."""
        found: abi.Underlay | None = self._find("underlays", HERE)
        return found if found and any(found.port) else None

    def remote(self, address: Address) -> abi.Remote | None:
        if not self.underlay():
            return None
        found: abi.Remote | None = self._find("remotes", host_prefix(address))
        return found

    def member(self, underlay: Address) -> abi.Member | None:
        found: abi.Member | None = self._find("members", underlay)
        return found

    def neighbour(self, host: int) -> abi.NextHop | None:
        """Whatever path leads there, and be the link dead."""
        found: abi.NextHop | None = self._find("next_hops", host)
        return found

    def alive(self, host: int) -> abi.NextHop | None:
        """None: there is no link to that host, or it is dead."""
        return None if not host or self.is_dead(host) else self.neighbour(host)

    def is_dead(self, host: int) -> bool:
        """The link to that host."""
        return self._find("dead", host) is not None

    def choice(self, key: int) -> Choice:
        """Of a path, by its key in `paths`."""
        path: abi.Path | None = self._find("paths", key)
        if path is None:
            return Choice(None)
        hop = next(filter(None, map(self.alive, path.tried())), None)
        shares = map(self.alive, (path.second, path.third, path.fourth))
        others = tuple(other for other in shares if other and other != hop)
        return Choice(path, hop, spared=hop is None or hop.host != path.via, others=others)

    def published(self, address: Address, port: int, protocol: str) -> abi.Publication | None:
        """Of this very address, else of every one: the caller knows whether it is the host's."""
        for place in (address, UNSPECIFIED[address.version]):
            key = abi.PortKey(mapped(place), port.to_bytes(2, "big"), PROTOCOLS[protocol])
            found: abi.Publication | None = self._find("publications", key)
            if found:
                return found
        return None

    def publication(self, address: Address, port: int, protocol: str) -> abi.Publication | None:
        """By which a packet is translated; None: it is nobody's business."""
        if address.is_link_local or is_internal(address) or not self.is_host(address):
            return None
        return self.published(address, port, protocol)

    # Services

    def service(self, address: Address, port: int, protocol: str) -> AskedService | None:
        """At a virtual address."""
        key = abi.PortKey(mapped(address), port.to_bytes(2, "big"), PROTOCOLS[protocol])
        found: abi.Service | None = self._find("services", key)
        return AskedService(key, found) if found else None

    def every_host(self, address: Address, port: int, protocol: str) -> AskedService | None:
        """At a port of every host, whatever the address: the caller knows whether it is one."""
        return self.service(UNSPECIFIED[address.version], port, protocol)

    def frontend(self, address: Address, port: int, protocol: str) -> AskedService | None:
        """The same, where a packet is for this host."""
        if address.is_link_local or is_internal(address) or not self.is_host(address):
            return None
        return self.every_host(address, port, protocol)

    def backends(self, asked: AskedService) -> list[tuple[abi.Backend, int]]:
        """With the weight of each."""
        found: list[tuple[abi.Backend, int]] = []
        service, before = asked.key.pack(), 0
        for slot in range(asked.service.backends):
            backend: abi.Backend | None = self._find("backends", abi.BackendKey(service, slot))
            if backend:
                found.append((backend, backend.upto - before))
                before = backend.upto
        return found

    def is_behind(self, address: Address, port: int, protocol: str) -> bool:
        """Whether a service leads from every host to this port of an endpoint."""
        key = abi.PortKey(mapped(address), port.to_bytes(2, "big"), PROTOCOLS[protocol])
        return self._find("behind", key) is not None

    def client(self, cookie: int) -> abi.Client | None:
        """Whose sockets in that network namespace may ask services."""
        found: abi.Client | None = self._find("clients", cookie) if cookie else None
        return found

    def held(self, number: int, client: int = 0) -> Held | None:
        """Of a limit by its number; `client`: the cookie of one, where it is shared by several."""
        limit: abi.Limit | None = self._find("limits", number) if number else None
        if limit is None:
            return None
        whose = (0, abi.USE_GIVEN, client)  # what is given back for those that are gone
        uses = (self._find("uses", abi.UseKey(number, one)) for one in whose)
        together, given, own = (use.open if use else 0 for use in uses)
        return Held(limit.connections, limit.rate, together - given, own if client else 0)

    def is_outside(self, address: Address) -> bool:
        """Whether somebody outside may have it."""
        ours = self.is_host(address) or self.subnet(address) or self.endpoint(address)
        odd = is_group(address) or is_internal(address) or address.is_link_local
        return not (ours or odd)

    def owns(self, endpoint: abi.Endpoint, ifindex: int) -> bool:
        """Whether the endpoint's container has this device."""
        other = self.interface(ifindex)
        same = other is not None and other.container == endpoint.container
        return endpoint.ifindex == ifindex or same

    def connected(self, one: int, other: int) -> bool:
        return self._find("connections", (one, other)) is not None


def is_group(address: Address) -> bool:
    """Multicast, or IPv4's class E and broadcast: nobody's own address."""
    if isinstance(address, IPv4Address):
        return int(address) >> 28 >= _GROUP[4]
    return address.packed[0] == _GROUP[6]


def is_internal(address: Address) -> bool:
    """It never stands on a wire."""
    if isinstance(address, IPv4Address):
        return address.packed[0] in (0, 127)
    return int(address) in (0, 1)
