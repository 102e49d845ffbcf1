"""What is found under each of many names: mostly one thing or a few, for which a set or dictionary
of its own would cost several times as much as the thing itself.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, Final, NamedTuple

_FEW: Final = 8  # readers: a set of so many is five times as large as a tuple


class Readers:
    """Who looked at a name."""

    def __init__(self) -> None:
        self._one: dict[Hashable, Hashable] = {}
        self._few: dict[Hashable, tuple[Hashable, ...]] = {}  # the name itself, then they
        self._many: dict[Hashable, tuple[Hashable, set[Hashable]]] = {}  # likewise

    def __len__(self) -> int:
        return len(self._one) + len(self._few) + len(self._many)

    def of(self, name: Hashable) -> Collection[Any]:
        if name in self._one:
            return (self._one[name],)
        if name in self._few:
            return self._few[name][1:]
        return self._many[name][1] if name in self._many else ()

    def add(self, name: Hashable, reader: Hashable) -> Hashable:
        """One that is not there. Gives the name as it is kept here: readers that keep that one keep
        one for all of them.
        """
        if name in self._many:
            known, readers = self._many[name]
            readers.add(reader)
            return known
        if name in self._few:
            known, *few = self._few[name]
            if len(few) < _FEW:
                self._few[known] = known, *few, reader
            else:
                del self._few[known]
                self._many[known] = known, {*few, reader}
            return known
        if name in self._one:
            self._few[name] = name, self._one.pop(name), reader
        else:
            self._one[name] = reader
        return name

    def discard(self, name: Hashable, reader: Hashable) -> None:
        """One that was added."""
        if name in self._many:
            readers = self._many[name][1]
            readers.discard(reader)
            if not readers:
                del self._many[name]
        elif name in self._few:
            known, *few = self._few[name]
            few.remove(reader)
            if few:
                self._few[known] = known, *few
            else:
                del self._few[known]
        else:
            del self._one[name]


class _Part(NamedTuple):
    """What of a fact is found, where that is not all of it."""

    key: Hashable
    part: Any


class Found:
    """Facts of one kind, or parts of them, by a value. `facts`: by their keys, as they are when
    something is looked for: of one that is found as a whole, its key is enough.
    """

    def __init__(self, facts: Mapping[Hashable, Any]) -> None:
        self._facts = facts
        self._one: dict[Hashable, Hashable] = {}
        self._several: dict[Hashable, dict[Hashable, Any]] = {}

    def __len__(self) -> int:
        return len(self._one) + len(self._several)

    def of(self, value: Hashable) -> Mapping[Hashable, Any]:
        """By key."""
        if value not in self._one:
            return self._several.get(value, {})
        found = self._one[value]
        if isinstance(found, _Part):
            return {found.key: found.part}
        return {found: self._facts[found]}

    def put(self, value: Hashable, key: Hashable, part: Any, *, whole: bool) -> None:
        """`whole`: the part is the fact itself."""
        if value in self._several:
            self._several[value][key] = part
            return
        found = self._one.get(value)
        if found is not None and (found.key if isinstance(found, _Part) else found) != key:
            self._several[value] = {**self.of(value), key: part}
            del self._one[value]
        else:
            self._one[value] = key if whole else _Part(key, part)

    def remove(self, value: Hashable, key: Hashable) -> None:
        """One that was put."""
        if value in self._one:
            del self._one[value]
            return
        found = self._several[value]
        del found[key]
        if not found:
            del self._several[value]
