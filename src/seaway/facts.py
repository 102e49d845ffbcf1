"""What is known on this host, and which derivation looked at it.

A derivation says for one kernel key what should be there, reading through a `View` that
notes what it looked at. A changed fact makes exactly those keys stale that looked at it or
that it brings into being. Level-triggered and pure: no I/O, and no order of events matters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from seaway.collecting import uncollected
from seaway.sparse import Found, Readers

Fact = Any  # a frozen value of the model; its type is its kind
F = TypeVar("F")

_ALL = object()  # the name under which "every fact of a kind" is looked at


@dataclass(frozen=True, eq=False)
class Source:
    """Which keys of a derivation a fact of this kind asks for."""

    kind: type
    keys: Callable[[Any], Iterable[Hashable]]


@dataclass(frozen=True, eq=False)
class Derivation:
    """One kind of kernel object, named as its target is; what each of its keys holds."""

    name: str
    sources: tuple[Source, ...]
    desired: Callable[[Any, View], object | None]


@dataclass(frozen=True)
class Index:
    """Facts of a kind found by something in them: `of` gives the values one is found under.

    Where it gives a mapping, that holds the part of the fact that is found there (`parts`):
    who looks for one of a thousand things in a fact need not go through them.
    """

    kind: type
    name: str
    of: Callable[[Any], Iterable[Hashable]]


Name = Hashable  # what a derivation looked at
Target = tuple[str, Hashable]  # a derivation's name and one of its keys


@dataclass(eq=False)
class View:
    """The facts, as one derivation of one key looks at them."""

    facts: Facts
    looked: set[Name] = field(default_factory=set)
    asked: set[Target] = field(default_factory=set)

    def ask(self, derivation: str, key: Hashable) -> None:
        """Bring a key of another derivation into being, as a fact does that is its source: for
        kinds that many facts might ask for, and few do. None of the others has a key that waits.
        """
        self.asked.add((derivation, key))

    def get(self, kind: type[F], key: Hashable) -> F | None:
        self.looked.add((kind, key))
        return self.facts.get(kind, key)

    def where(self, kind: type[F], index: str, value: Hashable) -> list[F]:
        self.looked.add((kind, index, value))
        return self.facts.where(kind, index, value)

    def parts(self, kind: type, index: str, value: Hashable) -> list[Any]:
        self.looked.add((kind, index, value))
        return self.facts.parts(kind, index, value)

    def common(self, kind: type, index: str, values: Sequence[Hashable]) -> list[Any]:
        """As `parts`, of what is found under all of these values, in no order.

        Whatever comes to them or goes is found under each: it is enough to look at one of them, and
        where the fewest are the fewest changes come.
        """
        fewest = values[0]
        if len(values) > 1:
            fewest = min(values, key=lambda value: self.facts.count(kind, index, value))
        self.looked.add((kind, index, fewest))
        return self.facts.common(kind, index, fewest, values)

    def all(self, kind: type[F]) -> list[F]:
        self.looked.add((kind, _ALL))
        return self.facts.all(kind)


class Facts:
    """The values by kind and key, their indexes, and the keys that are stale."""

    def __init__(self, derivations: Iterable[Derivation], indexes: Iterable[Index] = ()) -> None:
        self._values: dict[type, dict[Hashable, Fact]] = defaultdict(dict)
        self._derivations = {d.name: d for d in derivations}
        self._sources: dict[type, list[tuple[str, Source]]] = defaultdict(list)
        for derivation in self._derivations.values():
            for source in derivation.sources:
                self._sources[source.kind].append((derivation.name, source))
        self._indexes: dict[type, list[Index]] = defaultdict(list)
        self._found: dict[tuple[type, str], Found] = {}
        for index in indexes:
            self._indexes[index.kind].append(index)
            self._found[index.kind, index.name] = Found(self._values[index.kind])
        self._asked: Counter[Target] = Counter()  # by how many source facts and other keys
        self._asking: dict[Target, set[Target]] = {}  # what the keys of those ask for
        self._looked: dict[Target, tuple[Name, ...]] = {}
        self._readers = Readers()
        self._stale: set[Target] = set()
        self._told: dict[type, Callable[[Any, Any], None]] = {}

    def tell(self, kind: type[F], who: Callable[[F | None, F | None], None]) -> None:
        """Of each change of a fact of this kind, what it was and what it will be, before anything
        follows from it: facts of other kinds may go before.
        """
        self._told[kind] = who

    @property
    def stale(self) -> bool:
        return bool(self._stale)

    def get(self, kind: type[F], key: Hashable) -> F | None:
        return self._values[kind].get(key)

    def all(self, kind: type[F]) -> list[F]:
        return _in_order(self._values[kind])

    def number(self, kind: type) -> int:
        """How many there are."""
        return len(self._values[kind])

    def where(self, kind: type[F], index: str, value: Hashable) -> list[F]:
        return _in_order(self._by(kind, index, value))

    def _by(self, kind: type, index: str, value: Hashable) -> Mapping[Hashable, Any]:
        found = self._found.get((kind, index))
        return found.of(value) if found else {}

    def count(self, kind: type, index: str, value: Hashable) -> int:
        """How many `where` would give, at the same cost for few and for many."""
        return len(self._by(kind, index, value))

    def parts(self, kind: type, index: str, value: Hashable) -> list[Any]:
        """As `where`, of an index that gives a mapping: what that holds for each fact."""
        return self.where(kind, index, value)

    def common(
        self, kind: type, index: str, first: Hashable, values: Sequence[Hashable]
    ) -> list[Any]:
        """What is found under all of these values, of which one is the `first`; in no order."""
        found = self._by(kind, index, first)
        if len(values) == 1 or not found:
            return list(found.values())
        others = [self._by(kind, index, v) for v in values if v != first]
        return [part for key, part in found.items() if all(key in other for other in others)]

    def change(self, kind: type, key: Hashable, new: Fact | None) -> None:
        """Learn a fact, or (None) forget it."""
        old = self._values[kind].get(key)
        if old == new:
            return
        if told := self._told.get(kind):
            told(old, new)
        names: set[Name] = {(kind, key), (kind, _ALL)}
        for index in self._indexes[kind]:
            names.update(self._index(index, key, old, new))
        if new is None:
            del self._values[kind][key]
        else:
            self._values[kind][key] = new
        for name in names:
            self._stale.update(self._readers.of(name))
        for derivation, source in self._sources[kind]:
            before = frozenset(() if old is None else source.keys(old))
            after = frozenset(() if new is None else source.keys(new))
            self._ask([(derivation, k) for k in before - after], -1)
            self._ask([(derivation, k) for k in after - before], 1)

    def _ask(self, targets: list[Target], more: int) -> None:
        for target in targets:
            self._asked[target] += more
            if not self._asked[target]:
                del self._asked[target]
        self._stale.update(targets)

    def _index(
        self, index: Index, key: Hashable, old: Fact | None, new: Fact | None
    ) -> Iterator[Name]:
        """What is found otherwise now: of a thousand things in a fact, the one that changed."""
        found = self._found[index.kind, index.name]
        before, after = _parts(index, old), _parts(index, new)
        for value in before.keys() - after.keys():
            found.remove(value, key)
            yield index.kind, index.name, value
        for value, part in after.items():
            if value not in before or before[value] != part:
                found.put(value, key, part, whole=part is new)
                yield index.kind, index.name, value

    def derive(self, most: int | None = None) -> Mapping[str, dict[Hashable, object | None]]:
        """By derivation: what every stale key, or so many of them, should hold; None: nothing."""
        desired: dict[str, dict[Hashable, object | None]] = defaultdict(dict)
        left = most
        with uncollected():
            while self._stale and left != 0:  # one may ask for another
                target = self._stale.pop()
                desired[target[0]][target[1]] = self._derive(target)
                left = None if left is None else left - 1
        return desired

    def _derive(self, target: Target) -> object | None:
        for name in self._looked.pop(target, ()):
            self._readers.discard(name, target)
        view = View(self)
        desired = self._derivations[target[0]].desired(target[1], view)
        kept = desired is not None or target in self._asked
        self._asks(target, view.asked if kept else set())
        if not kept:
            return None  # until somebody asks for it anew
        self._looked[target] = tuple([self._readers.add(name, target) for name in view.looked])
        return desired

    def _asks(self, target: Target, asked: set[Target]) -> None:
        before = self._asking.pop(target, set())
        self._ask([t for t in before if t not in asked], -1)
        self._ask([t for t in asked if t not in before], 1)
        if asked:
            self._asking[target] = asked


def _parts(index: Index, fact: Fact | None) -> Mapping[Hashable, Any]:
    """What of a fact is found under each value."""
    values: Any = () if fact is None else index.of(fact)
    return values if isinstance(values, Mapping) else dict.fromkeys(values, fact)


def _in_order(found: Mapping[Hashable, Any]) -> list[Any]:
    """By key, so that no result depends on the order in which facts were learnt."""
    if len(found) < 2:
        return list(found.values())
    return [fact for _, fact in sorted(found.items(), key=lambda item: str(item[0]))]
