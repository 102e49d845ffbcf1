"""The map `origins`, by the addresses of backends: each port of one that something leads to.

An agent without memory knows what stands there for its own by its pin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from seaway.bpf import abi
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table
from seaway.model.addresses import Address, unmapped


class OriginTarget:
    """A target (`seaway.reconcile`)."""

    name = "origins"

    def __init__(self, plane: DataPlane) -> None:
        self._table = Table(plane.maps[self.name])
        self._read = b""  # a digest of what was read last
        self._meant: Mapping[Address, abi.Origins] = {}

    def read(self) -> Mapping[Address, abi.Origins]:
        digest = self._table.digest()
        if digest != self._read:
            found: dict[bytes, list[tuple[abi.PortKey, abi.Origin]]] = defaultdict(list)
            for packed, value in self._table.elements():
                key = abi.PortKey.unpack(packed)
                found[key.addr].append((key, abi.Origin.unpack(value)))
            self._meant = {unmapped(addr): _in_order(of) for addr, of in found.items()}
            self._read = digest
        return self._meant

    def look(self, keys: Collection[Address]) -> Mapping[Address, abi.Origins]:
        found = self.read()
        return {key: found[key] for key in keys if key in found}

    def put(self, objects: Mapping[Address, abi.Origins]) -> dict[Address, OSError]:
        before = self.look(objects)
        new = [
            (key.pack(), origin.pack())
            for address, of in objects.items()
            for key, origin in set(of).difference(before.get(address, ()))
        ]
        failed = self._table.update(new)
        here = {key for of in objects.values() for key, _ in of}
        gone = [key.pack() for of in before.values() for key, _ in of if key not in here]
        return _by_address(failed | self._table.delete(gone))

    def delete(self, keys: set[Address]) -> dict[Address, OSError]:
        gone = [key.pack() for of in self.look(keys).values() for key, _ in of]
        return _by_address(self._table.delete(gone))


def _in_order(of: list[tuple[abi.PortKey, abi.Origin]]) -> abi.Origins:
    return tuple(sorted(of, key=lambda item: (item[0].port, item[0].protocol)))


def _by_address(failed: Mapping[bytes, OSError]) -> dict[Address, OSError]:
    return {unmapped(abi.PortKey.unpack(key).addr): error for key, error in failed.items()}
