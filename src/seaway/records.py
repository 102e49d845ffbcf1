"""Facts that are stored: under which key each kind lies, and how a change becomes both.

A record is committed to the store first and becomes a fact only then, so that nothing is in
the kernel that a restart would not know of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import structs

from seaway.errors import StoreDamaged, Undecodable
from seaway.facts import Facts
from seaway.model import codec
from seaway.model.facts import Before, Block, Cluster, Endpoint, Host, Network, Peer, Value
from seaway.store.base import Snapshot, Store

_FOLDERS: dict[str, type[Value]] = {
    "cluster": Cluster,
    "hosts": Host,
    "networks": Network,
    "blocks": Block,
    "endpoints": Endpoint,
    "before": Before,
}
_MEND = "use the version that wrote it, or: seaway restore FILE --replace"


def fact_key(record: Value) -> str:
    """Under which key a record is a fact."""
    match record:
        case Cluster():
            return "cluster"
        case Host(name=name) | Network(name=name) | Before(host=name):
            return name
        case Block(prefix=prefix):
            return str(prefix)
        case Endpoint(id=id):
            return id
    raise TypeError(f"{type(record).__name__} is no record")


def store_key(record: Value) -> str:
    """Under which key a record lies in the store."""
    match record:
        case Cluster():
            return "cluster"
        case Host(name=name):
            return f"hosts/{name}"
        case Network(name=name):
            return f"networks/{name}"
        case Block(prefix=prefix):
            return f"blocks/{str(prefix).replace('/', '-')}"
        case Endpoint(host=host, id=id):
            return f"endpoints/{host}/{id}"
        case Before(host=host):
            return f"before/{host}"
    raise TypeError(f"{type(record).__name__} is no record")


def parse(key: str, data: bytes) -> Value:
    """The record that lies under a key; `Undecodable` where it is none of this version's."""
    kind = _FOLDERS.get(key.partition("/")[0])
    if kind is None:
        raise Undecodable(f"'{key}', which this version does not know")
    try:
        record = codec.decode(data, kind)
    except Undecodable as error:
        raise Undecodable(f"a record '{key}' that is {error.message}") from error
    if store_key(record) != key:
        raise Undecodable(f"a record '{key}' that belongs under '{store_key(record)}'")
    return record


def as_fact(record: Value, host: str) -> Value | None:
    """What a record is to this host (empty: the only one): other hosts are peers to it, and what is
    attached there is their own affair.
    """
    match record:
        case Host(name=name) if host and name != host:
            return Peer(**structs.asdict(record))
        case Endpoint(host=other) | Before(host=other) if host and other != host:
            return None
    return record


class Records:
    """The store and the facts, changed together. `host`: whose facts; empty: of the only one."""

    def __init__(self, store: Store, facts: Facts, host: str = "") -> None:
        self._store = store
        self._facts = facts
        self._host = host
        self._revisions: dict[str, int] = {}

    async def load(self) -> None:
        """All records become facts; one that cannot be read stops everything."""
        snapshot = await self._store.load()
        for key, item in snapshot.items.items():
            try:
                record = parse(key, item.value)
            except Undecodable as error:
                raise StoreDamaged(f"the store holds {error.message}", _MEND) from error
            self._revisions[key] = item.revision
            self._learn(record)

    def _learn(self, record: Value) -> None:
        if fact := as_fact(record, self._host):
            self._facts.change(type(fact), fact_key(fact), fact)

    async def snapshot(self) -> Snapshot:
        """All of it at one moment, as it is stored."""
        return await self._store.load()

    async def commit(self, put: Iterable[Value] = (), delete: Sequence[Value] = ()) -> None:
        """All of it or nothing; rests on what was read of these very records."""
        new = {store_key(record): record for record in put}
        gone = {store_key(record): record for record in delete}
        changes: dict[str, bytes | None] = {k: codec.encode(r) for k, r in new.items()}
        changes |= dict.fromkeys(gone)
        expect = {key: self._revisions.get(key, 0) for key in changes}
        commit = await self._store.commit(changes, expect)
        for key, record in new.items():
            self._revisions[key] = commit.revision
            self._learn(record)
        for key, record in gone.items():
            self._revisions.pop(key, None)
            if fact := as_fact(record, self._host):
                self._facts.change(type(fact), fact_key(fact), None)
