"""Where this host's records lie: in a file of its own, in etcd, or with other hosts.

Where they lie elsewhere the host remembers what it saw last, and lives by that without them.
"""

from __future__ import annotations

from dataclasses import dataclass

from seaway import names
from seaway.model.membership import Membership
from seaway.store.base import Store
from seaway.store.peers import Ask, PeerStore
from seaway.store.remembering import Remembering
from seaway.store.sqlite import SqliteStore
from seaway.trust.folder import Folder


@dataclass(frozen=True)
class Stores:
    """`shared` is where all records lie; `own` the same, as this host sees it."""

    own: Store
    shared: Store

    @property
    def remembering(self) -> Remembering | None:
        return self.own if isinstance(self.own, Remembering) else None


def opened(member: Membership | None, ask: Ask) -> Stores:
    """To be closed, the `own` one, by who asked for it. `ask` asks another host."""
    if member is None or not member.elsewhere:
        store = SqliteStore(names.STORE_FILE)
        return Stores(store, store)
    shared = _etcd(member) if member.etcd else PeerStore(member.host, member.through, ask)
    cache = SqliteStore(names.CACHE_FILE)
    return Stores(Remembering(shared, cache, member.host), shared)


def _etcd(member: Membership) -> Store:
    from seaway.store.etcd import EtcdStore  # noqa: PLC0415, 12 MB where there is none
    from seaway.store.members import Identity  # noqa: PLC0415

    folder = Folder()
    return EtcdStore(member.etcd, Identity(folder.authority, folder.host, folder.host))
