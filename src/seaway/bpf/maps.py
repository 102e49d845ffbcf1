"""The maps that the control plane fills: one target each, keyed by values of the model.

An agent without memory knows them for its own by their pins in our folder; whatever stands
in them is ours. What is missing here is written by the programs alone: `counters`, `STATE`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Generic, TypeVar

from seaway.bpf import abi
from seaway.bpf.askers import Askers, Place
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table, digest
from seaway.model.addresses import UNSPECIFIED, Address, Prefix, mapped, unmapped
from seaway.model.publications import PROTOCOLS

K = TypeVar("K")
V = TypeVar("V")
_U32, _U64 = struct.Struct("=I"), struct.Struct("=Q")
_FEW: Final = 64  # elements; more of them are read faster with all the others
_MAPPED_BITS: Final = 96  # before the bits of a mapped IPv4 address


@dataclass(frozen=True)
class Codec(Generic[K]):
    """How a value of ours stands in a map."""

    pack: Callable[[K], bytes]
    unpack: Callable[[bytes], K]


class Epoch:
    """Counts up when what flows were judged by has changed: each is judged again by its next
    packet, so that what a change ends ends with it, and nobody walks the table of flows.
    """

    def __init__(self, fd: int) -> None:
        self._table = Table(fd)

    def end(self) -> None:
        first = _U32.pack(0)
        (_, value), *_ = self._table.elements()
        now = (_unpack_number(value) + 1) % (1 << 32)
        for error in self._table.update([(first, _U32.pack(now))]).values():
            raise error


class MapTarget(Generic[K, V]):
    """A target (`seaway.reconcile`) over one map. `epoch`: ends with every change of it."""

    remembers = True

    def __init__(
        self, name: str, fd: int, key: Codec[K], value: Codec[V], epoch: Epoch | None = None
    ) -> None:
        self.name = name
        self._table = Table(fd)
        self._epoch = epoch
        self._key = key
        self._value = value
        self._read = b""  # a digest of what was read last, and what that meant
        self._meant: dict[K, V] = {}

    def read(self) -> dict[K, V]:
        chunks = list(self._table.chunks())
        if (read := digest(chunks)) != self._read:
            elements = filter(self._is_there, self._table.of_chunks(chunks))
            self._meant = dict(self._meaning(elements))
            self._read = read
        return self._meant

    def _meaning(self, elements: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[K, V]]:
        """Of values that are the same there is one."""
        known: dict[bytes, V] = {}
        for key, value in elements:
            if value not in known:
                known[value] = self._value.unpack(value)
            yield self._key.unpack(key), known[value]

    def _is_there(self, _: tuple[bytes, bytes]) -> bool:
        return True

    def look(self, keys: Collection[K]) -> Mapping[K, V]:
        if len(keys) > _FEW:
            return self.read()
        found = {key: self._table.element(self._key.pack(key)) for key in keys}
        return {k: self._value.unpack(value) for k, value in found.items() if value is not None}

    def put(self, objects: Mapping[K, V]) -> dict[K, OSError]:
        packed = {self._key.pack(k): (k, self._value.pack(v)) for k, v in objects.items()}
        failed = self._table.update([(k, value) for k, (_, value) in packed.items()])
        if self._epoch:
            self._epoch.end()
        return {packed[k][0]: error for k, error in failed.items()}

    def delete(self, keys: set[K]) -> dict[K, OSError]:
        packed = {self._key.pack(k): k for k in keys}
        failed = self._table.delete(list(packed))
        if self._epoch:
            self._epoch.end()
        return {packed[k]: error for k, error in failed.items()}


class ArrayTarget(MapTarget[int, V]):
    """Over an array, whose elements are always there: what is not, is all zeroes."""

    def _is_there(self, element: tuple[bytes, bytes]) -> bool:
        return any(element[1])

    def look(self, keys: Collection[int]) -> Mapping[int, V]:
        found = self.read()
        return {key: found[key] for key in keys if key in found}

    def delete(self, keys: set[int]) -> dict[int, OSError]:
        packed = {self._key.pack(k): k for k in keys}
        failed = self._table.update([(k, bytes(self._table.value_size)) for k in packed])
        return {packed[k]: error for k, error in failed.items()}


def _pack_prefix(prefix: Prefix) -> bytes:
    shift = _MAPPED_BITS if prefix.version == 4 else 0
    return abi.Prefix(shift + prefix.prefixlen, mapped(prefix.network_address)).pack()


def _unpack_prefix(data: bytes) -> Prefix:
    found = abi.Prefix.unpack(data)
    address = unmapped(found.addr)
    if address.version == 4 and found.length >= _MAPPED_BITS:
        return IPv4Network((address, found.length - _MAPPED_BITS))
    return IPv6Network((found.addr, found.length))


def _unpack_number(data: bytes) -> int:
    number: int = _U32.unpack(data)[0]
    return number


def _unpack_cookie(data: bytes) -> int:
    cookie: int = _U64.unpack(data)[0]
    return cookie


def _unpack_pair(data: bytes) -> tuple[int, int]:
    found = abi.Connection.unpack(data)
    return found.source, found.target


ADDRESS: Final[Codec[Address]] = Codec(mapped, unmapped)
PREFIX: Final[Codec[Prefix]] = Codec(_pack_prefix, _unpack_prefix)
NUMBER: Final[Codec[int]] = Codec(_U32.pack, _unpack_number)
COOKIE: Final[Codec[int]] = Codec(_U64.pack, _unpack_cookie)
PAIR: Final[Codec[tuple[int, int]]] = Codec(lambda p: abi.Connection(*p).pack(), _unpack_pair)
UNDERLAY: Final[Codec[abi.Underlay]] = Codec(abi.Underlay.pack, abi.Underlay.unpack)
REMOTE: Final[Codec[abi.Remote]] = Codec(abi.Remote.pack, abi.Remote.unpack)
PATH: Final[Codec[abi.Path]] = Codec(abi.Path.pack, abi.Path.unpack)
NEXT_HOP: Final[Codec[abi.NextHop]] = Codec(abi.NextHop.pack, abi.NextHop.unpack)
MEMBER: Final[Codec[abi.Member]] = Codec(abi.Member.pack, abi.Member.unpack)
LINK: Final[Codec[abi.LinkNumber]] = Codec(abi.LinkNumber.pack, abi.LinkNumber.unpack)
PORT: Final[Codec[abi.PortKey]] = Codec(abi.PortKey.pack, abi.PortKey.unpack)
PUBLICATION: Final[Codec[abi.Publication]] = Codec(abi.Publication.pack, abi.Publication.unpack)
CLIENT: Final[Codec[abi.Client]] = Codec(abi.Client.pack, abi.Client.unpack)
LIMIT: Final[Codec[abi.Limit]] = Codec(abi.Limit.pack, abi.Limit.unpack)
SHAPER: Final[Codec[abi.Shaper]] = Codec(abi.Shaper.pack, abi.Shaper.unpack)
ENDPOINT: Final[Codec[abi.Endpoint]] = Codec(abi.Endpoint.pack, abi.Endpoint.unpack)

CODECS: Final[dict[str, tuple[Codec[Any], Codec[Any]]]] = {
    "endpoints": (ADDRESS, ENDPOINT),
    "interfaces": (NUMBER, ENDPOINT),
    "shaped": (NUMBER, SHAPER),
    "subnets": (PREFIX, NUMBER),
    "connections": (PAIR, NUMBER),
    "identities": (PREFIX, NUMBER),
    "underlays": (NUMBER, UNDERLAY),
    "remotes": (PREFIX, REMOTE),
    "paths": (NUMBER, PATH),
    "next_hops": (NUMBER, NEXT_HOP),
    "members": (ADDRESS, MEMBER),
    "tunnels": (NUMBER, NUMBER),
    "link_numbers": (NUMBER, LINK),
    "publications": (PORT, PUBLICATION),
    "clients": (COOKIE, CLIENT),
}
_JUDGED_BY: Final = frozenset(
    ("endpoints", "connections", "publications", "identities")
)  # verdicts rest on these
_ARRAYS: Final = frozenset(("underlays",))
_UDP: Final = PROTOCOLS["udp"]


class PublicationTarget(MapTarget[abi.PortKey, abi.Publication]):
    """With its elements end the sockets of the host that they led (`askers`)."""

    name = "publications"

    def __init__(self, plane: DataPlane, epoch: Epoch) -> None:
        super().__init__(self.name, plane.maps[self.name], PORT, PUBLICATION, epoch)
        self._askers = Askers(plane)

    def put(self, objects: Mapping[abi.PortKey, abi.Publication]) -> dict[abi.PortKey, OSError]:
        before = self._ends(objects)
        failed = super().put(objects)
        self._end_those_at(before - self._ends(objects) if before else ())
        return failed

    def delete(self, keys: set[abi.PortKey]) -> dict[abi.PortKey, OSError]:
        before = self._ends(keys)
        failed = super().delete(keys)
        self._end_those_at(before)
        return failed

    def end_astray(self, inside: Collection[Prefix]) -> None:
        """Sockets of the host that were led to one of these subnets, where nothing leads now."""
        self._askers.end(lambda address, _: any(address in p for p in inside), self._astray)

    def _end_those_at(self, backends: Collection[tuple[bytes, bytes]]) -> None:
        if backends:
            ends = {(unmapped(addr), int.from_bytes(port, "big")) for addr, port in backends}
            self._askers.end(lambda address, port: (address, port) in ends, self._astray)

    def _ends(self, keys: Iterable[abi.PortKey]) -> set[tuple[bytes, bytes]]:
        """Where these lead that are of datagrams."""
        of_datagrams = [key for key in keys if key.protocol == _UDP]
        found = self.look(of_datagrams)
        return {_end(found[key]) for key in of_datagrams if key in found}

    def _astray(self, place: Place, backend: Place) -> bool:
        """As `publication_at` of bpf/lib/publication.h looks."""
        every = mapped(UNSPECIFIED[unmapped(place.addr).version])
        keys = [abi.PortKey(addr, place.port, _UDP) for addr in (place.addr, every)]
        found = self.look(keys)
        now = next((found[key] for key in keys if key in found), None)
        return now is None or _end(now) != (backend.addr, backend.port)


def _end(publication: abi.Publication) -> tuple[bytes, bytes]:
    return publication.backend, publication.port


def targets(plane: DataPlane) -> dict[str, MapTarget[Any, Any]]:
    """By the map's name."""
    epoch = Epoch(plane.maps["epochs"])
    epoch.end()  # whoever wrote last may have died before it said so
    found: dict[str, MapTarget[Any, Any]] = {
        name: (ArrayTarget if name in _ARRAYS else MapTarget)(
            name, plane.maps[name], key, value, epoch if name in _JUDGED_BY else None
        )
        for name, (key, value) in CODECS.items()
    }
    return found | {PublicationTarget.name: PublicationTarget(plane, epoch)}


def end_astray(plane: DataPlane) -> None:
    """Of those who asked a port that is published no more: who ended it may have died over it."""
    subnets = MapTarget("subnets", plane.maps["subnets"], PREFIX, NUMBER).read()
    PublicationTarget(plane, Epoch(plane.maps["epochs"])).end_astray(subnets)
