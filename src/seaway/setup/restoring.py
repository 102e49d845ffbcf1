"""The steps of `restore`: a backup's state takes the place of what this host knows.

Everything is checked before the agent is stopped. Then the store is replaced in one step, so
that whatever happens the host has the old state or the new one; the agent is started as by
`init`, and brings the kernel to what its records say.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seaway import backups, names
from seaway.backups import Here, Restored
from seaway.cluster import membership
from seaway.cluster.seats import OwnSeat
from seaway.daemons import AGENT
from seaway.desired.network.ports import left_ports, shared
from seaway.errors import Conflict, Invalid, SeawayError, StoreDamaged
from seaway.facts import Facts
from seaway.kernel import host, netns
from seaway.kernel.links import LinkTarget
from seaway.kernel.whereabouts import whereabouts
from seaway.model.backup import Backup, from_bytes
from seaway.model.facts import Before, Cluster, Endpoint, Host, Network
from seaway.model.membership import Membership
from seaway.model.publications import in_ranges
from seaway.presence import alone
from seaway.setup import service
from seaway.setup.beginning import must_be_root, put_files, require_fit, start_agent
from seaway.setup.reading import read_own_store
from seaway.store import file as store_file
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper

if TYPE_CHECKING:
    from seaway.client import Client

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What `restore` was asked for."""

    backup: Backup
    replace: bool = False
    cni: bool = True


def read(path: Path) -> Backup:
    """Of a file that `backup` wrote; '-': standard input."""
    must_be_root("restore this host")
    try:
        return from_bytes(_bytes_of(path))
    except SeawayError as error:
        raise type(error)(f"{path}: {error.message}", error.hint) from error


def _bytes_of(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    if path.is_dir():
        raise Invalid("is a directory", "expected a file of: seaway backup; or '-' for a pipe")
    if not path.is_file():
        raise Invalid("there is no such file", "expected one of: seaway backup; or '-' for a pipe")
    return path.read_bytes()


def restore(wish: Wish, client: Client, say: Say) -> Restored:
    """Return when the agent is ready with the backup's state."""
    require_fit()
    _refuse_elsewhere()
    if not wish.replace:
        _refuse_state()
    backups.adapted(wish.backup, _here(_known()))
    with ExitStack() as undo:
        if AGENT.running() is not None:
            say("stopping the agent ...")
            undo.callback(service.start)
        AGENT.stop()
        with alone():
            restored = _put(wish.backup, say)
        undo.pop_all()
    put_files(say, cni=wish.cni)
    start_agent(client, say)
    _tell_released(restored, client, say)
    return restored


def _refuse_state() -> None:
    """A host that has a state already, and one that is damaged, which raises by itself."""
    if cluster := read_own_store().get(Cluster, "cluster"):
        raise Conflict(
            f"this host is of cluster {cluster.id} already",
            "give --replace to put the backup's state in its place",
        )


def _refuse_elsewhere() -> None:
    """The cluster goes on there, and would be there twice."""
    member = membership.load()
    if member and member.elsewhere:
        raise Conflict(
            f"this host is one of cluster {member.cluster}, whose records lie elsewhere",
            "first take it out: seaway leave --force",
        )


def _known() -> Facts:
    """What the store says that is to be replaced; nothing, if it can say nothing any more."""
    try:
        return read_own_store()
    except StoreDamaged:
        return Facts(())


def _here(known: Facts) -> Here:
    there = _links()
    return Here(
        name=socket.gethostname(),
        whereabouts=whereabouts(),
        lives=lambda endpoint: _is_same(endpoint, known) and _lives(endpoint, there),
        before=_before(known),
        foreign=tuple(host.foreign_prefixes()),
    )


def _before(known: Facts) -> Before | None:
    """What is known of the time before us; the ports that are published now may end."""
    member = membership.load()
    ports = {port.host_port for endpoint in _own(known) for port in endpoint.ports} | shared(known)
    for before in known.all(Before):
        if member is None or before.host == member.host:
            return next(iter(left_ports(before, ports)), before)
    return None


def _own(known: Facts) -> list[Endpoint]:
    member = membership.load()
    return backups.own(known.all(Endpoint), member.host if member else "")


def _links() -> frozenset[str]:
    """Of every endpoint that the kernel still has."""
    with closing(LinkTarget()) as links:
        return frozenset(links.ifindexes())


def _is_same(endpoint: Endpoint, known: Facts) -> bool:
    """A record without a cookie tells its namespace not from the next one of that inode."""
    now = known.get(Endpoint, endpoint.id)
    return now is None or now.created == endpoint.created


def _lives(endpoint: Endpoint, links: frozenset[str]) -> bool:
    """A runtime may have removed the namespace's path; the interface still is there."""
    try:
        found = netns.known(endpoint.netns)
    except OSError:
        return True  # that we could not look says nothing of it: the agent will look again
    if found is None:
        return names.link_name(endpoint.id) in links
    return endpoint.namespace.is_(found)


def _put(backup: Backup, say: Say) -> Restored:
    """The agent is not there: what the store says now is the last word."""
    known, key = _known(), _key(backup)
    here = replace(_here(known), key=key[1])
    restored = backups.adapted(backup, here)
    before = _own(known)
    kept = store_file.replace(names.STORE_FILE, restored.items())
    if member_kept := OwnSeat().set_aside():
        say(f"the etcd that ran here is kept as {member_kept}")
    _put_trust(backup, restored, key[0])
    membership.save(Membership(cluster=restored.cluster.id, host=restored.host))
    if kept:
        say(f"the state before is kept as {kept}")
    networks = {record.name for record in restored.records if isinstance(record, Network)}
    for network in known.all(Network):
        if network.name not in networks:
            say(f"removed: network '{network.name}' is not in the backup")
    for what in _unpublished(known, restored):
        say(f"unpublished: {what}")
    for what in _cut_off(before, restored):
        say(f"detached: {what} is not in the backup")
    for endpoint in restored.released:
        say(f"released: {_named(endpoint)} is not on this host any more")
    return restored


def _key(backup: Backup) -> tuple[bytes, str]:
    """By which other hosts will know this one, and its digest; of the same CA, as before."""
    if backup.trust is None:
        return b"", ""
    from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

    folder = Folder()
    same = folder.whole and folder.trust() == backup.trust
    key = folder.host_key() if same else certificates.new_key()
    return key, certificates.key_digest(certificates.load_key(key).public_key())


def _put_trust(backup: Backup, restored: Restored, key: bytes) -> None:
    """The CA of the backup, and a certificate of it for this host; none, where it has none."""
    Folder().replace(backup.trust)
    if key:
        from seaway.trust.certificates import Identity  # noqa: PLC0415, see trust/__init__.py

        own = next(r for r in restored.records if isinstance(r, Host) and r.name == restored.host)
        identity = Identity(restored.cluster.id, own.name, (*own.underlay, *own.addresses))
        Keeper().certify(key, identity)


def _unpublished(known: Facts, restored: Restored) -> Iterator[str]:
    """Of endpoints that stay."""
    for id_, new in restored.endpoints().items():
        old = known.get(Endpoint, id_)
        gone = set(old.ports) - set(new.ports) if old else None
        if gone:
            yield f"{', '.join(in_ranges(gone))} of {_named(new)} is not in the backup"


def _cut_off(before: Sequence[Endpoint], restored: Restored) -> Iterator[str]:
    """What the agent will take away when it finds no record of it, of those of this host."""
    new = restored.endpoints()
    for endpoint in (e for e in before if e.id not in new):
        ports = ", ".join(in_ranges(endpoint.ports))
        yield f"{_named(endpoint)}{f' with its published ports {ports}' if ports else ''}"
    # Of a damaged store nothing is known, but the kernel has what it had.
    ids = {*new, *(e.id for e in before), *(e.id for e in restored.released)}
    for link in sorted(_links() - {names.link_name(id_) for id_ in ids}):
        yield f"the endpoint of interface {link}"


def _tell_released(restored: Restored, client: Client, say: Say) -> None:
    """What the agent itself found gone."""
    there = {report.endpoint.id for report in client.endpoints()}
    for id_, endpoint in restored.endpoints().items():
        if id_ not in there:
            say(f"released: {_named(endpoint)} is not on this host any more")


def _named(endpoint: Endpoint) -> str:
    return f"endpoint '{endpoint.network}/{endpoint.name}' of container {endpoint.container}"
