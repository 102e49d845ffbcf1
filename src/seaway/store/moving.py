"""From one store into another: how a host's records become a cluster's."""

from __future__ import annotations

from seaway.errors import Conflict
from seaway.store.base import Store

_AT_ONCE = 100  # records; etcd takes 128
_LAST = "cluster"


async def move(source: Store, target: Store) -> None:
    """All records, in parts: the one that makes a store a cluster's comes last, so that nobody
    takes half of them for all. Killed on the way, it is done again. The source stays as it is.
    """
    if _LAST in (await target.load()).items:
        raise Conflict("that store holds a cluster already", "give an empty one, or: seaway join")
    found = (await source.load()).items
    keys = sorted(found, key=lambda key: (key == _LAST, key))
    for begin in range(0, len(keys), _AT_ONCE):
        part = {key: found[key].value for key in keys[begin : begin + _AT_ONCE]}
        await target.commit(part, {_LAST: 0})
