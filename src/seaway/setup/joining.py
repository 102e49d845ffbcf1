"""The steps of `join`: from a bare host to one of a cluster that is there.

The host's key is made first and kept until all is written: a join that died on its way, or whose
answer was lost, is finished by the same command. Whatever is refused leaves nothing.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from seaway import __version__, names
from seaway.cluster import joining, membership, stores
from seaway.cluster.calls import AgentAddress, Calls, Unreached
from seaway.daemons import AGENT
from seaway.errors import Conflict, Forbidden, Invalid, SeawayError, Unavailable
from seaway.kernel import host, underlay
from seaway.model.addresses import parse_place
from seaway.model.facts import Cluster, Host
from seaway.model.membership import Ground, Joined, Joining, Membership
from seaway.setup.beginning import must_be_root, put_files, require_fit, start_agent
from seaway.setup.reading import read_own_store
from seaway.trust import contexts
from seaway.trust.folder import Folder

if TYPE_CHECKING:
    from seaway.client import Client
    from seaway.model.addresses import Address
    from seaway.trust.tokens import JoinToken

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What `join` was asked for."""

    token: JoinToken
    at: str  # where a host of the cluster answers
    advertise: tuple[Address, ...] = ()  # empty: of the device that leads there
    cni: bool = True


def join(wish: Wish, client: Client, say: Say) -> Joined:
    """Return when the agent is ready. `say` gets a line for each step."""
    must_be_root("have this host join a cluster")
    require_fit()
    folder = Folder()
    again = _is_member(wish, folder)
    joined = asyncio.run(_ask(wish, folder, again=again))
    say(f"joined cluster {joined.cluster.id} as host {joined.host.number}, '{joined.host.name}'")
    _keep(wish, folder, joined, say)
    if AGENT.running() is not None:
        AGENT.stop()
    put_files(say, cni=wish.cni)
    start_agent(client, say)
    return joined


def _is_member(wish: Wish, folder: Folder) -> bool:
    """Whether it is a host of that very cluster already; refused where it is of another one."""
    member = membership.load()
    if member is None:
        if cluster := read_own_store().get(Cluster, "cluster"):
            raise _of_another(cluster.id)
        return False
    if not folder.whole or _digest(folder.authority.read_bytes()) != wish.token.authority:
        raise _of_another(member.cluster, elsewhere=member.elsewhere)
    return True


def _of_another(cluster: str, *, elsewhere: bool = False) -> Conflict:
    """`elsewhere`: its records are; else they tell whether it is the only one."""
    alone = not elsewhere and len(read_own_store().all(Host)) == 1
    way = (
        "remove what is its own by 'seaway uninstall'" if alone else "take it out by 'seaway leave'"
    )
    return Conflict(f"this host is of another cluster already: {cluster}", f"{way}, then join")


def _digest(authority: bytes) -> str:
    from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

    return certificates.authority_digest(authority)


async def _ask(wish: Wish, folder: Folder, *, again: bool) -> Joined:
    """Believe nobody before he has proved to be of the token's cluster."""
    place = AgentAddress(wish.at)
    async with Calls(contexts.blind()) as calls:
        ground: Ground = await calls.call(place, "GET", "/v1/join", None, Ground)
    _check(wish, ground)
    key = _key(folder)
    request = _joining(wish, key, again=again)
    try:
        async with Calls(contexts.joining(ground.authority)) as calls:
            joined: Joined = await calls.call(place, "POST", "/v1/join", request, Joined)
    except Unavailable as error:
        raise unfinished(error) from None
    except SeawayError:
        folder.forget()
        raise
    folder.put(folder.authority, ground.authority.encode())
    if joined.authority_key:
        folder.put(folder.authority_key, joined.authority_key.encode())
    folder.put_host(key, joined.certificate)
    return joined


def unfinished(error: Unavailable) -> Unavailable:
    """Where nobody answered it may be done all the same. Who answered says himself what to do: of
    one who has to wait, nothing was begun.
    """
    if isinstance(error, Unreached):
        return Unavailable(error.message, "repeat the command: what was begun is finished")
    return error


def _check(wish: Wish, ground: Ground) -> None:
    try:
        found = _digest(ground.authority.encode())
    except Invalid:
        found = ""
    if found != wish.token.authority:
        raise Forbidden(
            f"who answers at {wish.at} is not of the cluster that the token is of",
            "is the address right? else somebody pretends to be it: the token was not sent",
        )
    joining.check_version(__version__, ground.version, f"the host at {wish.at}")
    joining.check_clock(time.time(), ground.clock, f"the host at {wish.at}")


def _key(folder: Folder) -> bytes:
    """This host's own; of a join that was begun before, the same."""
    from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

    if folder.joining.exists():
        return folder.joining.read_bytes()
    if folder.host.exists():
        return folder.host_key()
    key = certificates.new_key()
    folder.put(folder.joining, key)
    return key


def _joining(wish: Wish, key: bytes, *, again: bool) -> Joining:
    from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

    member = membership.load()
    name = member.host if member else socket.gethostname()
    return Joining(
        token=wish.token.id,
        secret=wish.token.secret,
        name=name,
        request=certificates.request(key, name[:64]),
        underlay=wish.advertise or underlay.towards(_address_of(wish.at)),
        foreign=tuple(host.foreign_prefixes()),
        clock=time.time(),
        version=__version__,
        again=again,
    )


def _address_of(at: str) -> str:
    """Of a name the first address that it has."""
    name, port = parse_place(at, names.HOSTS_PORT)
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"there is no address of '{name}': {error}", "give one") from error
    return str(found[0][4][0])


def _keep(wish: Wish, folder: Folder, joined: Joined, say: Say) -> None:
    """What this host must know from now on; last, as it is a host of the cluster by that."""
    folder.put_etcd(joined.etcd.authority, joined.etcd.identity)
    through = tuple(dict.fromkeys((wish.at, *joined.through)))
    member = Membership(
        cluster=joined.cluster.id,
        host=joined.host.name,
        etcd=joined.etcd.urls,
        through=() if joined.etcd.urls else through,
    )
    if member.etcd and (trouble := asyncio.run(stores.unreached(member.etcd, folder))):
        say(f"etcd is not reached from here ({trouble}): the records come through {wish.at}")
        member = replace(member, etcd=(), through=through)
    membership.save(member)
    folder.forget()
