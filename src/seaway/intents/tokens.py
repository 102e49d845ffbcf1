"""Tokens by which hosts join. The first one makes the cluster's CA: until then a host is alone."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from seaway.cluster import joining
from seaway.errors import Invalid, NotFound
from seaway.intents.desk import Desk
from seaway.model.facts import Token
from seaway.model.reports import NewTokenReport, TokenReport
from seaway.model.requests import NewToken
from seaway.trust import tokens
from seaway.trust.tokens import JoinToken

_MOST_TTL = 366 * 86400.0  # seconds
_OPENS_WITHIN = 1.0  # seconds
_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)


class TokenIntents(Desk):
    def tokens(self) -> list[TokenReport]:
        return [self._token_report(token) for token in self.facts.all(Token)]

    def _token_report(self, token: Token) -> TokenReport:
        used_up = token.uses and token.used >= token.uses
        return TokenReport(
            id=token.id,
            created=token.created,
            expires=token.expires,
            uses=token.uses,
            used=token.used,
            control=token.control,
            holds=not used_up and self.trust.clock() < token.expires,
        )

    async def create_token(self, request: NewToken) -> NewTokenReport:
        """Those that have expired go at the same time."""
        if not 1 <= request.ttl <= _MOST_TTL:
            span = "short" if request.ttl < 1 else "long"
            told = f"a token cannot hold for so {span} a time"
            raise Invalid(told, "expected 1 second to 366 days")
        if request.uses < 0:
            raise Invalid("a token cannot be used less than never", "0: as often as one likes")
        alone = not self.trust.whole
        made = await self.decide(lambda: self._make(request))
        if alone:  # who is told of a token may use it at once
            with suppress(TimeoutError):
                await asyncio.wait_for(self.trust.open.wait(), _OPENS_WITHIN)
        addresses = self.here.underlay or self.surroundings.underlay()
        expires = self.trust.clock() + request.ttl
        return NewTokenReport(id=made.id, token=str(made), expires=expires, addresses=addresses)

    async def _make(self, request: NewToken) -> JoinToken:
        await self._begin_trust()
        made, now = tokens.make(self.trust.authority_digest()), self.trust.clock()
        record = Token(
            id=made.id,
            digest=tokens.digest(made.id, made.secret),
            created=now,
            expires=now + request.ttl,
            uses=request.uses,
            control=request.control,
        )
        old = [token for token in self.facts.all(Token) if token.expires <= now]
        await self.records.commit([record], old)
        return made

    async def _begin_trust(self) -> None:
        """A host that is alone becomes the first control host of its cluster."""
        if self.trust.whole:
            return
        underlay = self.surroundings.underlay()
        begun = joining.first_control_host(self.facts, self.here, self.trust, underlay)
        await self.records.commit([begun])

    async def revoke_token(self, token: str) -> None:
        """By its id. Nobody joins by it any more; who has joined stays."""
        await self.decide(lambda: self._revoke(token))

    async def _revoke(self, token: str) -> None:
        found = self.facts.get(Token, token) if _ID.fullmatch(token) else None
        if found is None:
            raise NotFound(f"there is no join token '{token[:40]}'", "see: seaway token ls")
        await self.records.commit((), [found])
