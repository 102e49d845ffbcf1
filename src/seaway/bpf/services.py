"""Services in the maps `services`, `backends` and `maglev`: each port of a VIP, or of every host,
with all its backends, and Maglev's table of those.

An agent without memory knows them for its own by their pins. A program may look between any two
writes, and an agent may die there: a slot is there before the table that names it and the count
that says so, and goes after both, the last one first; a table is there as long as it is asked for.
Who was a backend, and stays one, is found all the time (`slots`).
Of a backend that leaves it is said before until when its connections may go on: of those that are
led packet by packet (bpf/lib/fallback.h) nobody else knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from struct import Struct
from typing import Final

from seaway.bpf import abi
from seaway.bpf.askers import Place
from seaway.bpf.leaving import Leaving
from seaway.bpf.maps import Epoch
from seaway.bpf.objects import DataPlane
from seaway.bpf.slots import Backends, seen, unseen
from seaway.bpf.table import Table
from seaway.model.addresses import UNSPECIFIED, mapped, unmapped
from seaway.model.services import DRAIN

_FEW: Final = 1000  # services; more of them are read faster with all the others
_PLACE: Final = 20  # bytes of a port key
_SLOT: Final = Struct("=I")
_BACKEND: Final = Struct(abi.Backend.c_format)
_EVERY: Final = frozenset(map(mapped, UNSPECIFIED.values()))  # host's ports have these addresses
_NOBODY: Final = abi.Service(0, 0, 0, abi.SERVICE_RANDOM, 0)
_PART: Final = 2 * abi.MAGLEV_PART  # bytes
_TORN: Final = b"torn"  # of a table parts are missing
_NONE: Final = abi.Frontend(_NOBODY, ())

Frontends = Mapping[abi.PortKey, abi.Frontend]
Drains = Mapping[abi.PortKey, float]
Chosen = Callable[[int, Backends, Backends], list[int]]
# A port of a VIP, what is no backend of it any more, and in how many seconds connections may end.
Left = Callable[[abi.PortKey, Collection[abi.PortKey], float], None]


class ServiceTarget:
    """A target (`seaway.reconcile`). `left` is told which backends went. `drains`: of what is about
    to be deleted, the seconds in which its connections may end: no map has them.
    """

    name = "services"
    remembers = True

    def __init__(
        self, plane: DataPlane, left: Left, drains: dict[abi.PortKey, float] | None = None
    ) -> None:
        self._drains = {} if drains is None else drains
        self._services = Table(plane.maps["services"])
        self._backends = Table(plane.maps["backends"])
        self._tables = Tables(Table(plane.maps["maglev"]))
        self._turns = Table(plane.maps["turns"])
        self._leaving = Leaving(Table(plane.maps["leaving"]))
        self._epoch = Epoch(plane.maps["epochs"])
        self._left = left
        self._read = b""  # a digest of what was read last
        self._meant: dict[abi.PortKey, abi.Frontend] = {}
        self._loose: dict[abi.PortKey, list[int]] = {}  # slots that no count has, as seen last

    def read(self) -> dict[abi.PortKey, abi.Frontend]:
        """A digest costs a tenth: all is read only where somebody wrote."""
        digest = self._services.digest() + self._backends.digest() + self._tables.digest()
        if digest != self._read:
            services, slots = dict(self._services.elements()), dict(self._backends.elements())
            self._loose.clear()
            self._meant = dict(self._frontends(services, slots, self._tables.read()))
            self._read = digest
        return self._meant

    def look(self, keys: Collection[abi.PortKey]) -> Frontends:
        if len(keys) > _FEW:
            found = self.read()
            return {key: found[key] for key in keys if key in found}
        services: dict[bytes, bytes] = {}
        slots: dict[bytes, bytes] = {}
        packed = [key.pack() for key in keys]
        for key in packed:
            if (value := self._services.element(key)) is not None:
                services[key] = value
            slots |= self._read_slots(key)
        return dict(self._frontends(services, slots, self._tables.look(packed)))

    def put(self, objects: Frontends) -> dict[abi.PortKey, OSError]:
        before = self.look(objects.keys())
        drains = {key: of.drain for key, of in objects.items()}
        gone = self._gone(before, objects, drains)
        loose = {key: self._loose.pop(key) for key in objects if key in self._loose}
        failed = self._fill(before, objects, unseen)
        failed |= self._count(_changing(before, _others(objects, failed)))
        failed |= self._fill(before, _others(objects, failed), seen)
        failed |= self._lay(before, _others(objects, failed))
        failed |= self._count(_others(objects, failed))
        self._tables.delete(
            key.pack() for key, of in _others(objects, failed).items() if not of.table
        )
        self._empty(
            _slot_keys(key, _beyond(len(of.backends), _slots(before, key), loose.get(key, ())))
            for key, of in objects.items()
            if key not in failed
        )
        self._judge_anew(objects)
        self._tell({key: places for key, places in gone.items() if key not in failed}, drains)
        return failed

    def delete(self, keys: set[abi.PortKey]) -> dict[abi.PortKey, OSError]:
        before = self.look(keys)
        drains = {key: self._drains.get(key, DRAIN) for key in keys}
        lost = self._gone(before, dict.fromkeys(keys, _NONE), drains)
        packed = {key.pack(): key for key in keys}
        failed = {packed[k]: e for k, e in self._services.delete(list(packed)).items()}
        gone = keys - failed.keys()
        self._tables.delete(key.pack() for key in gone)
        self._empty(
            _slot_keys(key, _beyond(0, _slots(before, key), self._loose.pop(key, ())))
            for key in gone
        )
        self._turns.delete([key.pack() for key in gone])
        self._tell({key: places for key, places in lost.items() if key in gone}, drains)
        for key in gone:
            self._drains.pop(key, None)
        self._judge_anew(keys)
        return failed

    def serves(self, service: abi.PortKey, backend: abi.PortKey) -> bool:
        """Whether it is one of its backends now; a service that is not there as asked is looked for
        among those of hosts' ports. May run in a thread.
        """
        packed = service.pack()
        value = self._services.element(packed)
        if value is None:
            packed = on_hosts(service).pack()
            value = self._services.element(packed)
        count = abi.Service.unpack(value).backends if value else 0
        place = backend.addr + backend.port
        return any(v[: len(place)] == place for _, v in islice(self._read_slots(packed), count))

    def _read_slots(self, service: bytes) -> Iterator[tuple[bytes, bytes]]:
        slot = 0
        while (value := self._backends.element(key := service + _SLOT.pack(slot))) is not None:
            yield key, value
            slot += 1

    def _frontends(
        self,
        services: Mapping[bytes, bytes],
        slots: Mapping[bytes, bytes],
        tables: Mapping[bytes, bytes],
    ) -> Iterator[tuple[abi.PortKey, abi.Frontend]]:
        """What stands in slots that no count has is told too: so it differs from what should be."""
        found: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        for slot_key, backend in slots.items():
            slot = _SLOT.unpack_from(slot_key, _PLACE)[0]
            found[slot_key[:_PLACE]].append((slot, backend))
        for packed in services.keys() | found.keys() | tables.keys():
            key, numbered = abi.PortKey.unpack(packed), sorted(found[packed])
            value = services.get(packed)
            service = abi.Service.unpack(value) if value else _NOBODY
            loose = [slot for slot, _ in numbered if slot >= service.backends]
            if loose:
                self._loose[key] = loose
            whole = len(numbered) == (numbered[-1][0] + 1 if numbered else 0)
            backends = (abi.Backend(*_BACKEND.unpack(v)) for _, v in numbered)
            table = tables.get(packed, b"")
            yield key, abi.Frontend(service, tuple(backends) if whole else (), table=table)

    def _count(self, objects: Frontends) -> dict[abi.PortKey, OSError]:
        packed = {key.pack(): key for key in objects}
        items = [(k, objects[key].service.pack()) for k, key in packed.items()]
        return {packed[k]: error for k, error in self._services.update(items).items()}

    def _fill(
        self, before: Frontends, objects: Frontends, chosen: Chosen
    ) -> dict[abi.PortKey, OSError]:
        """Only slots that hold something else."""
        items: list[tuple[bytes, bytes]] = []
        for key, of in objects.items():
            service, new, old = key.pack(), of.backends, before.get(key, _NONE)
            items += (
                (service + _SLOT.pack(n), _BACKEND.pack(b.addr, b.port, b.flags, b.upto))
                for n, b in ((n, new[n]) for n in chosen(old.service.backends, old.backends, new))
            )
        failed = self._backends.update(items)
        return {abi.PortKey.unpack(k[:_PLACE]): error for k, error in failed.items()}

    def _lay(self, before: Frontends, objects: Frontends) -> dict[abi.PortKey, OSError]:
        """Tables, where they are not there as they should be."""
        new = {
            key.pack(): of.table
            for key, of in objects.items()
            if of.table and (key not in before or before[key].table != of.table)
        }
        return {abi.PortKey.unpack(k): error for k, error in self._tables.put(new).items()}

    def _empty(self, slots: Iterable[list[bytes]]) -> None:
        """What stays behind is seen when all is read next, and emptied then."""
        self._backends.delete([key for keys in slots for key in keys])

    def _judge_anew(self, keys: Iterable[abi.PortKey]) -> None:
        """Flows to ports of hosts: their backends may be none now, or get no new connections."""
        if any(key.addr in _EVERY for key in keys):
            self._epoch.end()

    def _gone(
        self, before: Frontends, objects: Frontends, drains: Drains
    ) -> dict[abi.PortKey, set[abi.PortKey]]:
        """Who leaves; until when they may still be spoken with is written now."""
        gone = {
            key: places
            for key, of in objects.items()
            if key in before and (places := _places(key, before[key]) - _places(key, of))
        }
        self._leaving.note(
            {
                _leaving_key(key, place): drains[key]
                for key, places in gone.items()
                for place in places
            }
        )
        return gone

    def _tell(self, gone: Mapping[abi.PortKey, set[abi.PortKey]], drains: Drains) -> None:
        if gone:
            self._epoch.end()
        for key, places in gone.items():
            self._left(key, places, drains[key])


class Tables:
    """Maglev's tables, by packed port keys. Which are there is known once it was looked."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._there: set[bytes] = set()

    def digest(self) -> bytes:
        return self._table.digest()

    def read(self) -> dict[bytes, bytes]:
        parts: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        for key, part in self._table.elements():
            parts[key[:_PLACE]][_SLOT.unpack_from(key, _PLACE)[0]] = part
        self._there = set(parts)
        return {key: _joined(found) for key, found in parts.items()}

    def look(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        found = {key: dict(self._parts(key)) for key in keys}
        self._there |= {key for key, parts in found.items() if parts}
        return {key: _joined(parts) for key, parts in found.items() if parts}

    def _parts(self, key: bytes) -> Iterator[tuple[int, bytes]]:
        for number in range(abi.MAGLEV_PARTS):
            if (part := self._table.element(key + _SLOT.pack(number))) is None:
                return
            yield number, part

    def put(self, tables: Mapping[bytes, bytes]) -> dict[bytes, OSError]:
        """The first part comes last: where it is, the others are."""
        items = [
            (key + _SLOT.pack(number), table[number * _PART : (number + 1) * _PART])
            for key, table in tables.items()
            for number in reversed(range(abi.MAGLEV_PARTS))
        ]
        self._there |= tables.keys()
        return {k[:_PLACE]: error for k, error in self._table.update(items).items()}

    def delete(self, keys: Iterable[bytes]) -> None:
        """Of these, whatever is there. What stays behind is seen when all is read next."""
        gone = self._there.intersection(keys) if self._there else set()
        self._table.delete(
            [key + _SLOT.pack(n) for key in gone for n in reversed(range(abi.MAGLEV_PARTS))]
        )
        self._there -= gone


def _joined(parts: Mapping[int, bytes]) -> bytes:
    if len(parts) != abi.MAGLEV_PARTS:
        return _TORN
    return b"".join(parts[number] for number in range(abi.MAGLEV_PARTS))


def _others(objects: Frontends, failed: Collection[abi.PortKey]) -> Frontends:
    return {key: of for key, of in objects.items() if key not in failed} if failed else objects


def on_hosts(service: abi.PortKey) -> abi.PortKey:
    """The same port of every host."""
    every = mapped(UNSPECIFIED[unmapped(service.addr).version])
    return abi.PortKey(every, service.port, service.protocol)


def _changing(before: Frontends, objects: Frontends) -> Frontends:
    """What holds while slots are written that programs look at: all of them count, those of before
    and those to be, and none is drawn by what is true of the others only. The table that a service
    may be about to ask for is not there yet.
    """
    found = {}
    for key, of in objects.items():
        old, new = before.get(key, _NONE).service, of.service
        uneven = old.flags & ~new.flags & abi.SERVICE_EVEN
        lighter = new.weight < old.weight
        if not (old.backends and new.backends):
            continue
        if new.backends > old.backends or lighter or uneven:
            changing = replace(
                new,
                backends=max(old.backends, new.backends),
                weight=min(old.weight, new.weight),
                algorithm=old.algorithm,
                flags=new.flags & (old.flags | ~abi.SERVICE_EVEN),
            )
            found[key] = replace(of, service=changing)
    return found


def _slots(frontends: Frontends, key: abi.PortKey) -> int:
    return len(frontends[key].backends) if key in frontends else 0


def _beyond(count: int, before: int, loose: Iterable[int]) -> set[int]:
    """The slots that nothing is to stand in."""
    return {slot for slot in (*range(count, before), *loose) if slot >= count}


def _slot_keys(service: abi.PortKey, slots: Collection[int]) -> list[bytes]:
    """The last one first."""
    packed = service.pack() if slots else b""
    return [packed + _SLOT.pack(slot) for slot in sorted(slots, reverse=True)]


def _leaving_key(service: abi.PortKey, backend: abi.PortKey) -> bytes:
    return abi.LeavingKey(service.pack(), Place(backend.addr, backend.port).pack()).pack()


def _places(service: abi.PortKey, frontend: abi.Frontend) -> set[abi.PortKey]:
    return {abi.PortKey(b.addr, b.port, service.protocol) for b in frontend.backends}
