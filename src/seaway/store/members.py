"""The members of an etcd, and a link to one of them that answers.

gRPC tries again by itself, later and later, and goes on with the certificate that it was given
first. So a link that failed is dropped, and the next one is made anew: at once, to the next
member, with the certificate that lies there now. Only who uses a link closes it, as its last user:
closing one under somebody's call would look to him as if his task were cancelled.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import grpc
from aetcd import rpc

from seaway.errors import Invalid, Unavailable

WITHIN = 3.0  # seconds: until it is told that no member answers
AT_LEAST = 0.3  # for a single one
_PORT = 2379
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # A paused member or a cut way is noticed after nine seconds; etcd takes a ping every five.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.ping_timeout_ms", 3000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # another channel's waiting is not ours
)
# What gRPC wraps around the reason that a connection failed.
_WRAPPING = re.compile(r"^(.* last error: )?([A-Z_]+: )?((ipv4|ipv6|unix):\S+: )?")

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it prints it tells us, too


class Identity(NamedTuple):
    """By which this host and the members know each other: files in PEM."""

    ca: Path
    certificate: Path
    key: Path


class Member(NamedTuple):
    target: str  # as gRPC names it
    secure: bool


class Link:
    """To one member. `users`: calls that run over it now; `wanted`: by those that will come."""

    def __init__(self, number: int, target: str, channel: grpc.aio.Channel) -> None:
        self.number = number
        self.users = 0
        self.wanted = True
        self.target = target
        self._channel = channel
        self.kv = rpc.KVStub(channel)
        self.watches = rpc.WatchStub(channel)
        self.members = rpc.ClusterStub(channel)
        self._maintenance = rpc.MaintenanceStub(channel)

    @property
    def stands(self) -> bool:
        return self.wanted and self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def refusal(self, within: float) -> str:
        """Why the member can do nothing for us; empty: it can."""
        try:
            status = await self._maintenance.Status(rpc.StatusRequest(), timeout=within)
        except grpc.aio.AioRpcError as error:
            return self.told(error)
        return "" if status.leader else f"{self.target}: it has no leader"

    def told(self, error: grpc.aio.AioRpcError | TimeoutError) -> str:
        """Which member it is, and what it did not do."""
        late = grpc.StatusCode.DEADLINE_EXCEEDED
        if isinstance(error, TimeoutError) or error.code() is late:
            return f"{self.target}: no answer in time"
        return f"{self.target}: {_WRAPPING.sub('', str(error.details()))}"

    async def close(self) -> None:
        await self._channel.close()


class Members:
    """`members`: host:port, or URLs; unix:PATH is a socket of this host.

    Without a scheme, TLS is spoken where there is an identity.
    """

    def __init__(self, members: Sequence[str], identity: Identity | None = None) -> None:
        if not members:
            raise Invalid("no member of etcd was given", "expected e.g. https://192.0.2.1:2379")
        self._members = [_parsed(member, identity) for member in members]
        self._identity = identity
        self._link: Link | None = None
        self._next = 0

    def __len__(self) -> int:
        return len(self._members)

    @property
    def share(self) -> float:
        """Seconds for one member, where all may be asked one after the other."""
        return max(WITHIN / len(self), AT_LEAST)

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """To the member that answered last, or else to the next that does. None: `Unavailable`."""
        link = self._link if self._link and self._link.stands else await self._find()
        link.users += 1
        try:
            yield link
        finally:
            link.users -= 1
            await self._retire(link)

    def meet(self, members: Sequence[str]) -> None:
        """These are the members from now on."""
        found = [_parsed(member, self._identity) for member in members]
        if not found or found == self._members:
            return
        self._members, self._next = found, 0
        if self._link:
            self._link.wanted = self._link.target in {member.target for member in found}

    def fail(self, link: Link) -> None:
        """It did not do what it was asked for: from now on the next one is asked."""
        if link is self._link:
            self._link = None
            self._next = (link.number + 1) % len(self)

    async def _find(self) -> Link:
        refusals = []
        for step in range(len(self)):
            number = (self._next + step) % len(self)
            try:
                link = Link(number, self._members[number].target, self._channel(number))
            except OSError as error:  # a certificate that cannot be read
                refusals.append(str(error))
                continue
            refusal = await self._refusal(link)
            if not refusal:
                return await self._settle(link)
            refusals.append(refusal)
        raise unavailable(refusals)

    async def _refusal(self, link: Link) -> str:
        refusal = "cancelled"
        try:
            refusal = await link.refusal(self.share)
        finally:
            if refusal:
                await link.close()
        return refusal

    async def _settle(self, link: Link) -> Link:
        """The link of all who come now; somebody may have been faster."""
        old = self._link
        if old and old.stands:
            await link.close()
            return old
        self._link, self._next = link, link.number
        if old:
            await self._retire(old)
        return link

    async def _retire(self, link: Link) -> None:
        if link is not self._link and not link.users:
            await link.close()

    def _channel(self, number: int) -> grpc.aio.Channel:
        member = self._members[number]
        if not member.secure:
            return grpc.aio.insecure_channel(member.target, options=_OPTIONS)
        pem = [path.read_bytes() for path in self._identity or ()]
        ca, certificate, key = pem or (None, None, None)
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        return grpc.aio.secure_channel(member.target, credentials, options=_OPTIONS)

    async def close(self) -> None:
        link, self._link = self._link, None
        if link:
            await self._retire(link)


def unavailable(refusals: Sequence[str]) -> Unavailable:
    """By what the members that were asked said."""
    return Unavailable(
        f"etcd does not answer ({'; '.join(refusals)})",
        "is it running and reachable, and are certificates valid? see: etcdctl endpoint health",
    )


def _parsed(member: str, identity: Identity | None) -> Member:
    if member.startswith("unix:"):
        return Member(member, secure=False)
    url = urlsplit(member if "://" in member else f"//{member}")
    try:
        host, port = url.hostname, url.port or _PORT
    except ValueError:
        host, port = None, _PORT
    if not host or url.scheme not in {"", "http", "https"} or url.path.strip("/"):
        raise Invalid(f"'{member}' is no member of etcd", "expected e.g. https://192.0.2.1:2379")
    host = f"[{host}]" if ":" in host else host
    secure = url.scheme == "https" or (not url.scheme and identity is not None)
    return Member(f"{host}:{port}", secure)
