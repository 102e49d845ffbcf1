"""A host joins: its records are made here, on a control host, or asked for there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TypeVar

import structlog
from msgspec.structs import replace

from seaway import __version__
from seaway.cluster import joining
from seaway.desired.network.underlays import check_underlay
from seaway.errors import Forbidden, Unavailable
from seaway.intents.desk import Desk
from seaway.model.addresses import Address
from seaway.model.facts import Cluster, Host, Peer, Token
from seaway.model.membership import EtcdAccess, Ground, Joined, Joining, Signed, Signing
from seaway.records import as_host
from seaway.trust import tokens

T = TypeVar("T")
log = structlog.get_logger(__name__)
_TOKEN = "on a host of a cluster: seaway token create"


class JoiningIntents(Desk):
    def ground(self) -> Ground:
        """What anybody may know who has a token: nothing of it is secret."""
        if not self.trust.whole:
            raise Unavailable("this host has no cluster that another could join", _TOKEN)
        return Ground(
            authority=self.trust.authority_text(),
            clock=self.trust.clock(),
            version=__version__,
        )

    async def join(self, request: Joining, address: str) -> Joined:
        """A new host: its record, its certificate, and what it must know. `address`: whence it
        asks; empty: through another host, which has looked at that.
        """
        if address:
            self.trust.refusals.must_wait(address)
        try:
            if self.trust.signs:
                return await self._let_in(request)
            joined: Joined = await self._ask_control("POST", "/v1/join", request, Joined)
        except Forbidden as error:
            if address:
                self.trust.refusals.wrong_token(address)
            if self.trust.refusals.count("join token"):
                log.warning("refused", why=error.message, address=address)
            raise
        return replace(joined, through=self._own_places())

    async def _let_in(self, request: Joining) -> Joined:
        self._token(request)  # first: a stranger is told nothing else
        joining.check_form(request)
        joining.check_version(request.version, __version__, f"host '{self.host.name}'")
        joining.check_clock(request.clock, self.trust.clock(), f"host '{self.host.name}'")
        key = self._key_of(request.request)
        host = await self.decide(lambda: self._admit(request, key))
        await self.convergence.settle()
        cluster = self.facts.get(Cluster, "cluster")
        assert cluster is not None
        return Joined(
            cluster=cluster,
            host=host,
            certificate=self._signed(host, request.request),
            authority_key=self.trust.authority().key.decode() if host.control else "",
            etcd=self.etcd_access(),
            through=self._own_places(),
        )

    async def _admit(self, request: Joining, key: str) -> Host:
        """The new host's record, committed; or that of one which asks again."""
        token = self._token(request)
        cluster = self.facts.get(Cluster, "cluster")
        assert cluster is not None
        if known := joining.check_name(self.facts, request, key):
            return await self._reached_anew(known, cluster, request.underlay)
        tokens.check_uses(token)
        joining.check_foreign(self.facts, cluster, request.foreign)
        check_underlay(self.facts, cluster, request.name, request.underlay)
        host = joining.new_host(cluster, request, key, control=token.control)
        counted = replace(cluster, next_host=cluster.next_host + 1)
        await self.records.commit([host, counted, replace(token, used=token.used + 1)])
        log.info("a host joined", host=host.name, number=host.number, token=token.id)
        return host

    async def _reached_anew(
        self, known: Host, cluster: Cluster, underlay: tuple[Address, ...]
    ) -> Host:
        """One that asks again is reached where it says now: its address may be another one."""
        if known.underlay == underlay:
            return known
        check_underlay(self.facts, cluster, known.name, underlay)
        moved = replace(as_host(known), underlay=underlay)
        await self.records.commit([moved])
        log.info("a host is reached elsewhere", host=known.name, at=[*map(str, underlay)])
        return moved

    def _token(self, request: Joining) -> Token:
        record = self.facts.get(Token, request.token)
        return tokens.check(record, request.token, request.secret, self.trust.clock())

    def _key_of(self, request: str) -> str:
        from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

        return certificates.key_digest(certificates.key_of_request(request))

    def _signed(self, host: Host, request: str) -> str:
        from seaway.trust.certificates import Identity  # noqa: PLC0415, see trust/__init__.py

        addresses = (*host.underlay, *host.addresses)
        return self.trust.sign(request, Identity(self.member.cluster, host.name, addresses))

    def etcd_access(self) -> EtcdAccess:
        """How this host itself reaches it; empty: it does not, or there is none."""
        folder = self.trust.folder
        if not (self.member.etcd and folder.etcd_authority.exists()):
            return EtcdAccess(urls=self.member.etcd)
        return EtcdAccess(
            urls=self.member.etcd,
            authority=folder.etcd_authority.read_text(),
            identity=folder.etcd.read_text(),
        )

    async def ask_etcd_access(self) -> EtcdAccess:
        """The same, of a control host that has its records from there."""
        for host in self._control():
            with suppress(Unavailable):
                path = "/v1/etcd"
                access: EtcdAccess = await self.others.ask(host, "GET", path, None, EtcdAccess)
                if access.urls:
                    return access
        return EtcdAccess()

    def _own_places(self) -> tuple[str, ...]:
        """Where this host is asked, for who reaches the store through it."""
        return tuple(str(address) for address in self.here.underlay)

    async def certify(self, name: str, signing: Signing) -> Signed:
        """The next certificate of a host. Whoever asks: it is of use to who has its key alone."""
        host = joining.known_host(self.facts, name)
        if host is None or host.key != self._key_of(signing.request):
            raise Forbidden(
                f"that key is not that of a host '{name}' of this cluster", "seaway join TOKEN HOST"
            )
        if not self.trust.signs:
            path = f"/v1/hosts/{name}/certificate"
            return await self._ask_control("PUT", path, signing, Signed)
        return Signed(certificate=self._signed(host, signing.request))

    def host_of(self, shown: bytes) -> Host:
        """Whose certificate (DER) this is that our CA signed: of a host that is one now."""
        from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

        found = certificates.read(shown)
        host = joining.known_host(self.facts, found.host)
        if host is None or found.cluster != self.member.cluster:
            raise Forbidden(f"this cluster has no host '{found.host}'", "seaway join TOKEN HOST")
        if host.key != found.key:
            raise Forbidden(
                f"that key is not that of host '{found.host}'", "seaway join TOKEN HOST"
            )
        return host

    async def _ask_control(self, method: str, path: str, body: object, answers: type[T]) -> T:
        """A control host: the first that answers."""
        unreached: list[str] = []
        for host in self._control():
            try:
                answer: T = await self.others.ask(host, method, path, body, answers)
            except Unavailable as error:
                unreached.append(error.message)
            else:
                return answer
        told = "; ".join(unreached) or "none is known"
        hint = "see: seaway host ls; once one does, repeat what was asked"
        raise Unavailable(f"no control host answers host '{self.host.name}': {told}", hint)

    def _control(self) -> Iterable[Peer]:
        return (peer for peer in self.facts.all(Peer) if peer.control)
