"""What a backup is made of, and what of it is true on the host where it is restored.

Networks, blocks and the cluster are true anywhere. Endpoints are of containers: where those
do not live any more, their records are left out and their addresses are free, as after a
reboot. What a machine's settings were before us is true of that machine alone. The host
takes the name of the machine that it is on now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from seaway import __version__
from seaway.desired.network.blocks import in_the_way
from seaway.errors import Conflict, NotFound, Undecodable
from seaway.model import codec
from seaway.model.addresses import ForeignPrefix
from seaway.model.backup import Backup, Trust, Whereabouts
from seaway.model.facts import Before, Block, Cluster, Endpoint, Host, Network, Value
from seaway.model.services import Health
from seaway.records import parse, store_key
from seaway.store.base import Snapshot


@dataclass(frozen=True)
class Here:
    """The host where a backup is restored, as it is now."""

    name: str
    whereabouts: Whereabouts
    lives: Callable[[Endpoint], bool]
    before: Before | None = None  # what the store that is replaced knows of it
    foreign: tuple[ForeignPrefix, ...] = ()
    key: str = ""  # digest of the one by which other hosts will know it; empty: by none


@dataclass(frozen=True)
class Restored:
    cluster: Cluster
    records: tuple[Value, ...]
    released: tuple[Endpoint, ...]  # whose containers are not here
    host: str  # as it is called now

    def items(self) -> dict[str, bytes]:
        return {store_key(record): codec.encode(record) for record in self.records}

    def endpoints(self) -> dict[str, Endpoint]:
        """This host's own."""
        own = (r for r in self.records if isinstance(r, Endpoint) and r.host == self.host)
        return {r.id: r for r in own}


def take(
    snapshot: Snapshot, whereabouts: Whereabouts, host: str, trust: Trust | None = None
) -> Backup:
    """`host`: whose agent makes it."""
    records = {key: msgspec.Raw(item.value) for key, item in snapshot.items.items()}
    found = [parse(key, bytes(data)) for key, data in records.items()]
    clusters = [record for record in found if isinstance(record, Cluster)]
    hosts = {record.name for record in found if isinstance(record, Host)}
    if not clusters or host not in hosts:
        raise NotFound("this host has no cluster yet", "run: seaway init")
    return Backup(
        version=__version__,
        cluster=clusters[0].id,
        host=host,
        whereabouts=whereabouts,
        at=time.time(),
        revision=snapshot.revision,
        records=records,
        trust=trust,
    )


def records_of(backup: Backup) -> list[Value]:
    """Every record of it; refused where they do not make a cluster together."""
    try:
        found = [parse(key, bytes(data)) for key, data in backup.records.items()]
    except Undecodable as error:
        raise Undecodable(f"the backup holds {error.message}", "use another one") from error
    clusters = {record.id for record in found if isinstance(record, Cluster)}
    hosts = {record.name for record in found if isinstance(record, Host)}
    networks = {record.name for record in found if isinstance(record, Network)}
    needed = {record.network for record in found if isinstance(record, Block | Endpoint)}
    if clusters != {backup.cluster} or backup.host not in hosts or needed - networks:
        raise Undecodable("the backup's records do not belong together", "use another one")
    return found


def adapted(backup: Backup, here: Here) -> Restored:
    """What is to be recorded here, as this host takes the place of the backup's."""
    found = records_of(backup)
    _refuse_name(found, backup, here)
    _refuse_taken(found, here.foreign)
    same_boot = backup.whereabouts.boot == here.whereabouts.boot
    own = [r for r in found if isinstance(r, Endpoint) and r.host == backup.host]
    released = tuple(e for e in own if not (same_boot and here.lives(e)))
    gone = {id(record) for record in released}
    gone |= {id(r) for r in found if isinstance(r, Before) and r.host == backup.host}
    records = [_here(record, backup, here) for record in found if id(record) not in gone]
    before = here.before or _before(found, backup, here)
    if before:
        records.append(replace(before, host=here.name))
    cluster = next(record for record in records if isinstance(record, Cluster))
    return Restored(cluster, tuple(records), released, here.name)


def own(endpoints: Iterable[Endpoint], host: str) -> list[Endpoint]:
    """Those of the host that is replaced: those of others go on, whatever is restored here.
    `host`: as it was called; empty: it is alone.
    """
    return [e for e in endpoints if host in ("", e.host)]


def _refuse_name(found: Iterable[Value], backup: Backup, here: Here) -> None:
    others = {r.name for r in found if isinstance(r, Host)} - {backup.host}
    if here.name in others:
        raise Conflict(
            f"the backup is host '{backup.host}''s, and has another host '{here.name}'",
            "name this machine otherwise: hostnamectl hostname NAME",
        )


def _before(found: Iterable[Value], backup: Backup, here: Here) -> Before | None:
    """Of this very machine, whose store was lost."""
    was, is_ = backup.whereabouts, here.whereabouts
    if was.boot != is_.boot and not (was.machine == is_.machine != "" and backup.host == here.name):
        return None
    own = (record for record in found if isinstance(record, Before) and record.host == backup.host)
    return next(own, None)


def _here(record: Value, backup: Backup, here: Here) -> Value:
    """As it is true on this host. Other hosts are as they were."""
    match record:
        case Cluster():
            return replace(record, etcd=(), etcd_own=False)
        case Host(name=name) if name == backup.host:
            return replace(record, name=here.name, key=here.key, control=bool(here.key))
        case Block(host=host) | Endpoint(host=host) | Health(host=host) if host == backup.host:
            return replace(record, host=here.name)
    return record


def _refuse_taken(found: Iterable[Value], foreign: tuple[ForeignPrefix, ...]) -> None:
    """What would cut this host off from something."""
    for network in (record for record in found if isinstance(record, Network)):
        for subnet in network.subnets:
            if other := in_the_way(subnet, foreign):
                raise Conflict(
                    f"subnet {subnet} of the backup's network '{network.name}' overlaps {other}",
                    "restore on another host, or free it here first",
                )
