"""The steps of `init --etcd`: the records of the first host move to an etcd that is given.

Everything is checked before the agent is stopped. Until the membership is written the host lives by
its own store; from then on by etcd. The old store is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from seaway import joining, membership, moving, names, stores
from seaway.daemons import AGENT
from seaway.errors import Conflict, Invalid, SeawayError
from seaway.facts import Facts
from seaway.kernel import underlay
from seaway.model.facts import Cluster, Host
from seaway.model.membership import Membership
from seaway.presence import alone
from seaway.records import Records
from seaway.setup import service
from seaway.store import file
from seaway.store.base import Store
from seaway.store.sqlite import SqliteStore
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper

Say = Callable[[str], None]


@dataclass(frozen=True)
class Access:
    """How a given etcd is reached. Files in PEM; none of them: by the cluster's own CA."""

    urls: tuple[str, ...]
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def checked(access: Access) -> Access:
    """Refused where others could read or change records on their way."""
    given = (access.authority, access.certificate, access.key)
    if any(given) and not all(given):
        raise Invalid(
            "of --etcd-ca, --etcd-cert and --etcd-key some are missing", "give all, or none"
        )
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


def move(access: Access, member: Membership, say: Say) -> Membership:
    """Return the membership by which the host lives from now on; its agent is not there."""
    with ExitStack() as undo:
        identity = _identity(access)
        if AGENT.running() is not None:
            say("stopping the agent ...")
            undo.callback(service.start)
        AGENT.stop()
        with alone():
            filled = asyncio.run(_fill(access, identity, member))
        undo.pop_all()
    _keep(access)
    member = replace(member, etcd=access.urls)
    membership.save(member)
    say(
        f"{filled.records} records are in etcd: revision {filled.old} of this host's store is "
        f"revision {filled.new} there"
    )
    return member


def finish(member: Membership, say: Say) -> None:
    """What comes after the membership; repeated, it does nothing."""
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


async def _fill(access: Access, identity: stores.Identity, member: Membership) -> moving.Filled:
    source = SqliteStore(names.STORE_FILE)
    try:
        await _begin_trust(source, member)
        target = stores.etcd(access.urls, identity)
        try:
            return await moving.fill(source, target, member.host, access.urls)
        except SeawayError as error:
            told = f"{', '.join(access.urls)}: {error.message}"
            raise type(error)(told, error.hint) from error
        finally:
            await target.close()
    finally:
        await source.close()


async def _begin_trust(source: Store, member: Membership) -> None:
    """Hosts that join will ask for it, and etcd perhaps too."""
    facts, keeper = Facts(()), Keeper()
    records = Records(source, facts, member.host)
    await records.load()
    host, cluster = facts.get(Host, member.host), facts.get(Cluster, "cluster")
    if host is None or cluster is None:
        raise Conflict(f"there is no host '{member.host}' in this host's store", "seaway init")
    if not keeper.whole:
        begun = joining.first_control_host(host, cluster, keeper, underlay.default())
        await records.commit([begun])


def _keep(access: Access) -> None:
    """For the agent, and for hosts that join."""
    if access.authority and access.certificate and access.key:
        identity = access.key.read_text().strip() + "\n" + access.certificate.read_text()
        Folder().put_etcd(access.authority.read_text(), identity)
