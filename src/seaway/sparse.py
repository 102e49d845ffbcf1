"""What is found under each of many names: mostly one thing, for which a set or a dictionary of its
own would cost several times as much as the thing itself.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any


class Readers:
    """Who looked at a name."""

    def __init__(self) -> None:
        self._one: dict[Hashable, Hashable] = {}
        self._several: dict[Hashable, set[Hashable]] = {}

    def __len__(self) -> int:
        return len(self._one) + len(self._several)

    def of(self, name: Hashable) -> Collection[Any]:
        if name in self._one:
            return (self._one[name],)
        return self._several.get(name, ())

    def add(self, name: Hashable, reader: Hashable) -> None:
        if name in self._several:
            self._several[name].add(reader)
        elif self._one.setdefault(name, reader) != reader:
            self._several[name] = {self._one.pop(name), reader}

    def discard(self, name: Hashable, reader: Hashable) -> None:
        """One that was added."""
        if name not in self._several:
            del self._one[name]
            return
        readers = self._several[name]
        readers.discard(reader)
        if not readers:
            del self._several[name]


class Found:
    """Values by a name and a key."""

    def __init__(self) -> None:
        self._one: dict[Hashable, tuple[Hashable, Any]] = {}
        self._several: dict[Hashable, dict[Hashable, Any]] = {}

    def __len__(self) -> int:
        return len(self._one) + len(self._several)

    def of(self, name: Hashable) -> Mapping[Hashable, Any]:
        if name in self._one:
            key, value = self._one[name]
            return {key: value}
        return self._several.get(name, {})

    def put(self, name: Hashable, key: Hashable, value: Any) -> None:
        if name in self._several:
            self._several[name][key] = value
        elif name not in self._one or self._one[name][0] == key:
            self._one[name] = key, value
        else:
            self._several[name] = dict([self._one.pop(name), (key, value)])

    def remove(self, name: Hashable, key: Hashable) -> None:
        """One that was put."""
        if name not in self._several:
            del self._one[name]
            return
        found = self._several[name]
        del found[key]
        if not found:
            del self._several[name]
