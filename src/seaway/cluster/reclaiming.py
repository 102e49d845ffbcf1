"""What hosts that are no more have left in the records, and in which steps it goes.

Any host may do it, at any time, again, or beside another one: each step rests on every record
being as it was read, and on the host being gone, so that one that has joined under the same name
loses nothing. A host's blocks go after its endpoints: an address is free when nobody holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from seaway.store.base import Snapshot

_ORDER = ("health", "endpoints", "before", "blocks")
_MOST = 50  # keys of one step: etcd takes 128 operations at once, and each rests on as many


@dataclass(frozen=True)
class Step:
    changes: Mapping[str, bytes | None]
    expect: Mapping[str, int]


def steps(snapshot: Snapshot, owners: Mapping[str, str]) -> Iterator[Step]:
    """`owners`: of each block by its key, which host has it."""
    for folder in _ORDER:
        gone = [
            (key, owner)
            for key in sorted(snapshot.items)
            if key.startswith(f"{folder}/") and (owner := _owner(key, owners))
            if f"hosts/{owner}" not in snapshot.items
        ]
        for start in range(0, len(gone), _MOST):
            part = gone[start : start + _MOST]
            expect = {key: snapshot.items[key].revision for key, _ in part}
            expect |= {f"hosts/{owner}": 0 for _, owner in part}
            yield Step(dict.fromkeys(key for key, _ in part), expect)


def _owner(key: str, owners: Mapping[str, str]) -> str:
    folder, _, rest = key.partition("/")
    return owners.get(key, "") if folder == "blocks" else rest.partition("/")[0]
