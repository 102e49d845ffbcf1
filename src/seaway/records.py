"""Facts that are stored: under which key each kind lies, and how a change becomes both.

A record is committed to the store first and becomes a fact only then, so that nothing is in
the kernel that a restart would not know of.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import aclosing

import structlog
from msgspec import structs

from seaway.errors import Conflict, StoreDamaged, Undecodable
from seaway.facts import Facts
from seaway.model import codec
from seaway.model.facts import (
    Before,
    Block,
    Cluster,
    Endpoint,
    Host,
    Network,
    Peer,
    Token,
    Value,
)
from seaway.model.services import Distant, EndpointSlice, Health, NodePort, Service, Vip
from seaway.store.base import Commit, Missed, Moment, Snapshot, Store

_FOLDERS: dict[str, type[Value]] = {
    "cluster": Cluster,
    "hosts": Host,
    "networks": Network,
    "blocks": Block,
    "endpoints": Endpoint,
    "before": Before,
    "tokens": Token,
    "services": Service,
    "slices": EndpointSlice,
    "vips": Vip,
    "nodeports": NodePort,
    "health": Health,
}
_ELSEWHERE: dict[type[Value], type[Value]] = {Host: Peer, Endpoint: Distant}  # on other hosts
# A name is unique in its network; an endpoint's id, on its host.
_BY_PATH = frozenset({Service, EndpointSlice, Health, Distant})
_FOLDER_OF = {kind: folder for folder, kind in _FOLDERS.items()} | {Peer: "hosts"}
_MEND = "use the version that wrote it, or: seaway restore FILE --replace"

log = structlog.get_logger(__name__)


def fact_key(record: Value) -> str:
    """Under which key a record is a fact."""
    match record:
        case Cluster():
            return "cluster"
        case Host(name=name) | Network(name=name) | Before(host=name):
            return name
        case Block(prefix=place) | Vip(address=place):
            return str(place)
        case Endpoint(id=id) | Token(id=id):
            return id
        case (
            Service(network=folder, name=name)
            | EndpointSlice(network=folder, name=name)
            | Health(host=folder, endpoint=name)
            | Distant(host=folder, id=name)
        ):
            return f"{folder}/{name}"
        case NodePort(port=port, protocol=protocol):
            return f"{port}-{protocol}"
    raise TypeError(f"{type(record).__name__} is no record")


def store_key(record: Value) -> str:
    """Under which key a record lies in the store."""
    match record:
        case Cluster():
            return "cluster"
        case Block(prefix=prefix):
            name = str(prefix).replace("/", "-")
        case Endpoint(host=host, id=id):
            name = f"{host}/{id}"
        case _:
            name = fact_key(record)
    return f"{_FOLDER_OF[type(record)]}/{name}"


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
    """What a record is to this host (empty: the only one): other hosts are peers to it, and of what
    is attached there it knows what services and names are made of.
    """
    match record:
        case Host(name=name) if host and name != host:
            return Peer(**structs.asdict(record))
        case Endpoint(host=other) if host and other != host:
            return distant(record)
        case Before(host=other) if host and other != host:
            return None
        case Endpoint():
            return _shared(record)
    return record


def _shared(endpoint: Endpoint) -> Endpoint:
    """What endpoints have in common is one string for all."""
    return structs.replace(
        endpoint,
        host=sys.intern(endpoint.host),
        network=sys.intern(endpoint.network),
        interface=sys.intern(endpoint.interface),
        boot=sys.intern(endpoint.boot),
        door=sys.intern(endpoint.door),
        door_network=sys.intern(endpoint.door_network),
        labels={sys.intern(k): sys.intern(v) for k, v in endpoint.labels.items()},
    )


def distant(endpoint: Endpoint) -> Distant:
    """An endpoint as other hosts know it. There may be very many: what they have in common is one
    string for all.
    """
    return Distant(
        id=endpoint.id,
        name=endpoint.name,
        network=sys.intern(endpoint.network),
        host=sys.intern(endpoint.host),
        addresses=tuple(interface.ip for interface in endpoint.addresses),
        labels={sys.intern(k): sys.intern(v) for k, v in endpoint.labels.items()},
        aliases=endpoint.aliases,
        port_names={sys.intern(name): port for name, port in endpoint.port_names.items()},
        weight=endpoint.weight,
        ready=endpoint.ready,
        terminating=endpoint.terminating,
        draining=endpoint.draining,
        ports=endpoint.ports,
    )


def as_host(record: Host) -> Host:
    """A peer as the host that it is: as it is recorded, and told outside."""
    return Host(**structs.asdict(record))


def _place(key: str, host: str) -> tuple[type[Value], str] | None:
    """Of which kind the fact is that lies under a key, and under which key of its own; None: what
    lies there is no fact to this host.
    """
    folder, *path = key.split("/")
    kind, name = _FOLDERS.get(folder), path[-1] if path else folder
    elsewhere = bool(host and path and path[0] != host)
    if kind is None or (elsewhere and kind is Before):
        return None
    if elsewhere:
        kind = _ELSEWHERE.get(kind, kind)
    if kind in _BY_PATH:
        return kind, "/".join(path)
    return kind, name.replace("-", "/") if kind is Block else name


class Records:
    """The store and the facts, changed together. `host`: whose facts; empty: of the only one.

    Once this host was `removed` from its cluster nothing more is learnt: what runs here goes on
    until it is detached.
    """

    def __init__(self, store: Store, facts: Facts, host: str = "") -> None:
        self.removed = False
        self._store = store
        self._facts = facts
        self._host = host
        self._own = f"hosts/{host}"
        self._revisions: dict[str, int] = {}
        self._known = Moment(0)  # until here, nothing is missing
        self._ahead: dict[str, int] = {}  # what we changed since: others' changes before it are old
        self._committing = asyncio.Lock()

    async def load(self) -> None:
        """All records become facts; one that cannot be read stops everything."""
        snapshot = await self._store.load()
        for key, item in snapshot.items.items():
            try:
                self._learn(key, parse(key, item.value), item.revision)
            except Undecodable as error:
                raise StoreDamaged(f"the store holds {error.message}", _MEND) from error
        self._known = snapshot.moment

    async def snapshot(self) -> Snapshot:
        """All of it at one moment, as it is stored."""
        return await self._store.load()

    async def commit(
        self,
        put: Iterable[Value] = (),
        delete: Iterable[Value] = (),
        rests: Iterable[Value] = (),
    ) -> None:
        """All of it or nothing; rests on what was read of these very records, and of those that
        it `rests` on besides. `Changed`: see `reload`.
        """
        new: dict[str, Value | None] = {store_key(record): record for record in put}
        if self.removed and new:
            raise Conflict(
                "this host was removed from the cluster", "seaway leave --force, then join anew"
            )
        new |= dict.fromkeys(map(store_key, delete))
        changes = {k: None if r is None else codec.encode(r) for k, r in new.items()}
        # As whoever decided this has read it: what is learnt until it is our turn he did not know.
        keys = [*changes, *map(store_key, rests)]
        expect = {key: self._revisions.get(key, 0) for key in keys}
        async with self._committing:
            commit = await self._store.commit(changes, expect)
            if commit.revision == self._known.revision + 1:
                self._known = commit.moment
            elif commit.revision > self._known.revision:
                self._ahead |= dict.fromkeys(changes, commit.revision)
            for key, record in new.items():
                self._learn(key, record, commit.revision)

    def _learn(self, key: str, record: Value | None, revision: int) -> None:
        if record is None and key == self._own:
            self.removed = True
            return
        if record is None:
            self._revisions.pop(key, None)
        else:
            self._revisions[key] = revision
        if place := _place(key, self._host):
            self._facts.change(*place, record and as_fact(record, self._host))

    async def follow(self, changed: Callable[[], None]) -> None:
        """Learn what others change, and say so each time. After `load`; goes on for ever.

        `Unavailable`, where the store does not remember (`store/remembering.py`).
        """
        while True:
            try:
                async with aclosing(self._store.watch(self._known)) as commits:
                    async for commit in commits:
                        if self._take(commit):
                            changed()
            except Missed as error:
                log.info("the store is read again", why=error.message)
                await self.reload()
                changed()

    def _take(self, commit: Commit) -> bool:
        """Never an older value over a newer one. Whether there was anything new."""
        if commit.revision <= self._known.revision:
            return False
        self.removed |= commit.changes.get(self._own, b"") is None
        if self.removed:
            self._known = commit.moment
            return False
        new = {k: v for k, v in commit.changes.items() if commit.revision > self._ahead.get(k, 0)}
        for key, value in new.items():
            self._read(key, value, commit.revision)
        self._known = commit.moment
        self._ahead = {k: at for k, at in self._ahead.items() if at > commit.revision}
        return bool(new)

    def _read(self, key: str, value: bytes | None, revision: int) -> None:
        """What cannot be read (of a newer version?) changes no fact, nor may we change it."""
        try:
            self._learn(key, None if value is None else parse(key, value), revision)
        except Undecodable as error:
            log.warning("the store holds what cannot be read", what=error.message)

    async def reload(self) -> None:
        """Learn what others changed, now. What is not there was deleted: no commit of ours is
        under way meanwhile.
        """
        async with self._committing:
            snapshot = await self._store.load()
            self.removed |= self._own in self._revisions and self._own not in snapshot.items
            if not self.removed:
                for key in self._revisions.keys() - snapshot.items.keys():
                    self._learn(key, None, 0)
                for key, item in snapshot.items.items():
                    self._read(key, item.value, item.revision)
            self._known, self._ahead = snapshot.moment, {}
