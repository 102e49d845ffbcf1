"""The steps of `init --etcd`: the records of the first host move to an etcd that is given, or to
one that Seaway begins here.

Everything is checked before the agent is stopped. Until the membership is written the host lives by
its own store, and whatever fails leaves it there; from then on by etcd. The old store is kept.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from seaway import names
from seaway.cluster import joining, membership, moving, seats, stores
from seaway.daemons import AGENT
from seaway.errors import Conflict, Invalid, SeawayError, Unavailable
from seaway.facts import Facts
from seaway.kernel import underlay
from seaway.model.facts import Cluster, Host
from seaway.model.membership import Membership
from seaway.model.seats import Seating, client_url, peer_url
from seaway.presence import alone
from seaway.records import Records
from seaway.setup import service
from seaway.store import file
from seaway.store.base import Store
from seaway.store.sqlite import SqliteStore
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper

Say = Callable[[str], None]
_BEGINS_WITHIN, _POLL = 20.0, 0.1  # seconds
_ANSWERS_WITHIN = 5.0  # seconds


@dataclass(frozen=True)
class Access:
    """How an etcd is reached. Files in PEM; none of them: by the cluster's own CA."""

    urls: tuple[str, ...]
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    own: bool = False  # it is yet to be begun, by Seaway


OWN = "own"


def access(urls: tuple[str, ...], files: Sequence[Path | None]) -> Access:
    """As a user says it: URLs, or the word `own`."""
    if OWN not in urls:
        authority, certificate, key = files
        return Access(urls, authority, certificate, key)
    if len(urls) > 1 or any(files):
        raise Invalid(
            f"'{OWN}' is an etcd that Seaway runs itself", "give nothing beside it, or URLs"
        )
    return Access((), own=True)


def checked(access: Access) -> Access:
    """Refused where others could read or change records on their way."""
    given = (access.authority, access.certificate, access.key)
    if any(given) and not all(given):
        raise Invalid(
            "of --etcd-ca, --etcd-cert and --etcd-key some are missing", "give all, or none"
        )
    if access.own:
        seats.require_program()
    for url in access.urls:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise Invalid(f"'{url}' is no way to etcd", "expected e.g. https://192.0.2.1:2379")
    for path in filter(None, given):
        if not path.is_file():
            raise Invalid(f"there is no file {path}", "give files in PEM")
    return access


def _is_here(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def reach(access: Access) -> None:
    """`Unavailable`, before anything is begun, where nobody answers at these URLs."""
    failed = []
    for url in access.urls:
        parts = urlsplit(url)
        try:
            at = (parts.hostname, parts.port or names.ETCD_PORT)
            socket.create_connection(at, _ANSWERS_WITHIN).close()
        except OSError as error:
            failed.append(f"{url} cannot be asked: {error.strerror or error}")
        else:
            return
    if failed:
        raise Unavailable("; ".join(failed), "does etcd run there, and may this host ask it?")


def move(access: Access, member: Membership, say: Say) -> Membership:
    """Return the membership by which the host lives from now on; its agent is not there."""
    with ExitStack() as undo:
        if AGENT.running() is not None:
            say("stopping the agent ...")
            undo.callback(service.start)
        AGENT.stop()
        if access.own:
            undo.callback(seats.OwnSeat().leave)
        with alone():
            filled = asyncio.run(_fill(access, member))
        _keep(access)
        member = replace(member, etcd=filled.cluster.etcd)
        membership.save(member)
        undo.pop_all()
    say(
        f"{filled.records} records are in etcd: revision {filled.old} of this host's store is "
        f"revision {filled.new} there"
    )
    return member


def finish(member: Membership, say: Say) -> None:
    """What comes after the membership; once it is done, etcd need not be there for it."""
    if not file.exists(names.STORE_FILE):
        return
    asyncio.run(_finish(member))
    if kept := file.set_aside(names.STORE_FILE):
        say(f"the records before are kept as {kept}")


async def _finish(member: Membership) -> None:
    store = stores.etcd(member.etcd, stores.identity(Folder()))
    try:
        await moving.finish(store, member.cluster)
    finally:
        await store.close()


def _identity(access: Access) -> stores.Identity:
    if access.authority and access.certificate and access.key:
        return access.authority, access.certificate, access.key
    folder = Folder()
    return folder.authority, folder.host, folder.host


async def _fill(access: Access, member: Membership) -> moving.Filled:
    source = SqliteStore(names.STORE_FILE)
    try:
        host = await _begin_trust(source, member)
        urls = _begin_own(host, member) if access.own else access.urls
        target = stores.etcd(urls, _identity(access))
        try:
            if access.own:
                await _wait_for(target)
            return await moving.fill(source, target, member.host, urls, own=access.own)
        except SeawayError as error:
            told = f"{', '.join(urls)}: {error.message}"
            raise type(error)(told, error.hint) from error
        finally:
            await target.close()
    finally:
        await source.close()


def _begin_own(host: Host, member: Membership) -> tuple[str, ...]:
    """The first member of an etcd of ours; one that was begun before goes on."""
    if not host.underlay:
        raise Conflict("no other host reaches this one", "say where: --advertise ADDR")
    seating = Seating(
        id=0,
        cluster=member.cluster,
        host=host.name,
        address=host.underlay[0],
        members={host.name: peer_url(host)},
    )
    seat = seats.OwnSeat()
    seat.take(seating)
    if seat.daemon.running() is None:
        seat.daemon.start()
    return (client_url(host),)


async def _wait_for(store: Store) -> None:
    deadline = time.monotonic() + _BEGINS_WITHIN
    while True:
        try:
            await store.load()
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise Unavailable(error.message, f"see {names.ETCD_LOG_FILE}") from error
            await asyncio.sleep(_POLL)
        else:
            return


async def _begin_trust(source: Store, member: Membership) -> Host:
    """Hosts that join will ask for it, and etcd perhaps too."""
    facts, keeper = Facts(()), Keeper()
    records = Records(source, facts, member.host)
    await records.load()
    host = facts.get(Host, member.host)
    if host is None or facts.get(Cluster, "cluster") is None:
        raise Conflict(f"there is no host '{member.host}' in this host's store", "seaway init")
    if not keeper.whole:
        host = joining.first_control_host(facts, host, keeper, underlay.default())
        await records.commit([host])
    return host


def _keep(access: Access) -> None:
    """For the agent, and for hosts that join."""
    if access.authority and access.certificate and access.key:
        identity = access.key.read_text().strip() + "\n" + access.certificate.read_text()
        Folder().put_etcd(access.authority.read_text(), identity)
