"""Ports of endpoints that stand behind services' ports on every host: the map `behind`.

The keys of the target are addresses: which of its ports are meant is known only together with the
services that have the endpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from seaway.bpf import abi
from seaway.bpf.maps import NUMBER
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table
from seaway.model.addresses import Address, unmapped

Ports = frozenset[abi.PortKey]


class BehindTarget:
    """A target (`seaway.reconcile`)."""

    name = "behind"

    def __init__(self, plane: DataPlane) -> None:
        self._table = Table(plane.maps[self.name])
        self._there: dict[Address, Ports] = {}  # as read or written last

    def read(self) -> dict[Address, Ports]:
        found: dict[Address, set[abi.PortKey]] = defaultdict(set)
        for key, _ in self._table.elements():
            port = abi.PortKey.unpack(key)
            found[unmapped(port.addr)].add(port)
        self._there = {address: frozenset(ports) for address, ports in found.items()}
        return dict(self._there)

    def put(self, objects: Mapping[Address, Ports]) -> dict[Address, OSError]:
        written = {port.pack(): address for address, ports in objects.items() for port in ports}
        failed = self._table.update([(key, NUMBER.pack(1)) for key in written])
        failed |= self._empty({a: self._there.get(a, Ports()) - of for a, of in objects.items()})
        self._there |= objects
        return {unmapped(abi.PortKey.unpack(key).addr): error for key, error in failed.items()}

    def delete(self, keys: set[Address]) -> dict[Address, OSError]:
        failed = self._empty({address: self._there.get(address, Ports()) for address in keys})
        told = {unmapped(abi.PortKey.unpack(key).addr): error for key, error in failed.items()}
        for address in keys - told.keys():
            self._there.pop(address, None)
        return told

    def _empty(self, ports: Mapping[Address, Ports]) -> dict[bytes, OSError]:
        return self._table.delete([port.pack() for of in ports.values() for port in of])
