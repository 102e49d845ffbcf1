"""Where this host's records lie: in a file of its own, in etcd, or with other hosts.

Where they lie elsewhere the host remembers what it saw last, and lives by that without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seaway import names
from seaway.errors import Unavailable
from seaway.model.membership import Membership
from seaway.store.base import Store
from seaway.store.peers import Ask, PeerStore
from seaway.store.remembering import Remembering, open_cache
from seaway.store.sqlite import SqliteStore
from seaway.trust.folder import Folder

if TYPE_CHECKING:
    from seaway.store.etcd import EtcdStore
    from seaway.store.voters import Voters


@dataclass(frozen=True)
class Stores:
    """`shared` is where all records lie; `own` the same, as this host sees it."""

    own: Store
    shared: Store
    voters: Voters | None = None  # of the etcd where they lie

    @property
    def remembering(self) -> Remembering | None:
        return self.own if isinstance(self.own, Remembering) else None


Identity = tuple[Path, Path, Path]  # CA, certificate, key: files in PEM


def opened(member: Membership | None, ask: Ask) -> Stores:
    """To be closed, the `own` one, by who asked for it. `ask` asks another host."""
    if member is None or not member.elsewhere:
        store = SqliteStore(names.STORE_FILE)
        return Stores(store, store)
    cache = open_cache(names.CACHE_FILE)
    if member.etcd:
        shared = etcd(member.etcd, identity(Folder()))
        return Stores(Remembering(shared, cache, member.host), shared, shared.voters)
    passed = PeerStore(member.host, member.through, ask)
    return Stores(Remembering(passed, cache, member.host), passed)


def identity(folder: Folder) -> Identity:
    """By which etcd and this host know each other: that of the cluster, or one that was given."""
    if folder.etcd_authority.exists():
        return folder.etcd_authority, folder.etcd, folder.etcd
    return folder.authority, folder.host, folder.host


def etcd(urls: Sequence[str], shown: Identity) -> EtcdStore:
    from seaway.store.etcd import EtcdStore  # noqa: PLC0415, 15 MB where there is none
    from seaway.store.members import Identity as Shown  # noqa: PLC0415

    return EtcdStore(urls, Shown(*shown))


async def unreached(urls: Sequence[str], folder: Folder) -> str:
    """Why the records in etcd cannot be had from here; empty: they can."""
    store = etcd(urls, identity(folder))
    try:
        await store.load()
    except Unavailable as error:
        return error.message
    finally:
        await store.close()
    return ""
