"""The steps of `init`, in order. Each may be repeated; the first that fails ends it all.

Everything is checked before anything is written: who asks, the settings, the kernel.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seaway import bootstrap, config, names
from seaway.bpf import objects
from seaway.cluster import membership
from seaway.daemons import AGENT
from seaway.desired.network.overlay import overhead
from seaway.errors import Conflict, Forbidden, Unavailable
from seaway.kernel import host
from seaway.model.membership import Membership
from seaway.setup import files, health, moving, service
from seaway.store import file
from seaway.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from seaway.bootstrap import Initialised
    from seaway.client import Client
    from seaway.model.addresses import Address, Prefix


Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What `init` was asked for."""

    pools: tuple[Prefix, ...] = ()
    service_subnets: tuple[Prefix, ...] = ()
    advertise: tuple[Address, ...] = ()  # empty: as it was, or what the host can tell
    carrying: dict[str, Any] = field(default_factory=dict)  # as of the plan
    etcd: moving.Access | None = None  # where the records are to lie
    cni: bool = True


def must_be_root(what: str) -> None:
    if os.geteuid() != 0:
        raise Forbidden(f"this user may not {what}", "use root, e.g. by sudo")


def begin(wish: Wish, client: Client, say: Say) -> tuple[Address, ...]:
    """Set the host up; return its own addresses when its agent is ready. `say` gets a line for
    each step.
    """
    must_be_root("set this host up")
    settings = require_fit()
    access = moving.checked(wish.etcd) if wish.etcd else None
    member = membership.load()
    if access and not member:
        moving.reach(access)
    if member and member.elsewhere:
        _refuse_wish(wish, member)
        say(f"this host is set up already: '{member.host}' of cluster {member.cluster}")
    else:
        member = _begin_own(wish, settings.network.mtu, member, say)
        if access:
            member = moving.move(access, member, say)
    if member.etcd:
        moving.finish(member, say)
    put_files(say, cni=wish.cni)
    if _is_ready(client):
        say("the agent is running already")
    else:
        start_agent(client, say)
    return client.status().addresses


def _begin_own(wish: Wish, mtu: int, member: Membership | None, say: Say) -> Membership:
    """With the records in this host's own file."""
    if (wish.advertise or wish.carrying) and AGENT.stop():
        say("the agent was stopped, to be told what is new")
    begun = asyncio.run(_initialise(wish, mtu, member))
    member = Membership(cluster=begun.cluster.id, host=begun.host.name)
    membership.save(member)
    _tell(begun, say)
    return member


def _refuse_wish(wish: Wish, member: Membership) -> None:
    """What only the first host of a cluster may decide."""
    if wish.etcd and member.through:
        raise Conflict(
            f"the records of cluster {member.cluster} are not on this host",
            "say this on the host that has them: see seaway status, 'store'",
        )
    same = wish.etcd and (wish.etcd.urls == member.etcd or (wish.etcd.own and _runs_own()))
    if wish.etcd and not same:
        raise Conflict(
            f"the records of this host are in the etcd at {', '.join(member.etcd)} already",
            "move them by etcd's own means, e.g. more members",
        )
    if wish.pools or wish.service_subnets or wish.advertise or wish.carrying:
        raise Conflict(
            f"this host is '{member.host}' of cluster {member.cluster} already",
            "leave out the options, or run 'seaway leave' first",
        )


def _runs_own() -> bool:
    return names.SEAT_FILE.exists()


def require_fit() -> config.Config:
    """The settings; raise what is wrong with them, or keeps the data plane from being loaded."""
    settings = config.load()
    host.require(objects.probe)
    health.require_programs()
    return settings


def start_agent(client: Client, say: Say) -> None:
    say("starting the agent ...")
    service.start()
    service.wait_until_ready(client)
    say("the agent is ready")


async def _initialise(wish: Wish, mtu: int, member: Membership | None) -> Initialised:
    added = overhead(wish.advertise, wish.carrying.get("encapsulation", ""))
    plan = bootstrap.Plan(
        host=member.host if member else socket.gethostname(),
        cluster=member.cluster if member else "",
        pools=wish.pools,
        service_subnets=wish.service_subnets,
        foreign=tuple(host.foreign_prefixes()),
        mtu=mtu or host.uplink_mtu() - added,
        underlay=wish.advertise,
        carrying=wish.carrying,
    )
    with ExitStack() as undo:
        if not file.exists(names.STORE_FILE):
            undo.callback(_forget_store)
        store = SqliteStore(names.STORE_FILE)
        try:
            begun = await bootstrap.initialise(store, plan)
        finally:
            await store.close()
        undo.pop_all()
    return begun


def _forget_store() -> None:
    """A wish that was refused leaves no empty store."""
    for path in names.STATE_FOLDER.glob(f"{names.STORE_FILE.name}*"):
        path.unlink()


def _tell(begun: Initialised, say: Say) -> None:
    pools = ", ".join(str(pool) for pool in begun.cluster.pools)
    if begun.new:
        say(f"cluster {begun.cluster.id} with the pools {pools}")
    else:
        say(f"this host is set up already: cluster {begun.cluster.id} with the pools {pools}")
    for warning in begun.warnings:
        say(f"warning: {warning}")


def put_files(say: Say, *, cni: bool) -> None:
    if files.put_config():
        say(f"wrote {names.CONFIG_FILE}")
    if not cni:
        return
    if files.put_plugin():
        say(f"wrote {files.PLUGIN}")
    if kept := files.set_aside():
        say(f"warning: {files.CONFLIST} was none of ours, and is kept as {kept}")
    if written := files.put_conflist(names.DEFAULT_NETWORK):
        say(f"wrote {written}")
        before = [path.name for path in files.other_conflists() if path < written]
        if before:
            say(f"warning: runtimes that take the first file in {written.parent} take {before[0]}")


def _is_ready(client: Client) -> bool:
    try:
        return client.status().ready
    except Unavailable:
        return False
