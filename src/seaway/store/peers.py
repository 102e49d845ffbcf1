"""The store of a host that reaches it through the agents of others: those that hold it, or their
neighbours, and so on.

A request names the hosts that it came through, and what is told of changes those that it is known
from: so neither goes in a circle. Whoever passes a request on asks only where his own are answered
now; looking for another way is for each host to do for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol
from urllib.parse import urlencode

from seaway.errors import Conflict, Invalid, SeawayError, Unavailable
from seaway.model.store import Changes, Committed, Committing, Stored
from seaway.store.base import Changed, Commit, Item, Missed, Moment, Snapshot

# The hosts that the request came through which is answered now.
VIA: ContextVar[tuple[str, ...]] = ContextVar("VIA", default=())
CIRCLE = "the store is reached in a circle only"
WAIT = 8.0  # seconds that a question for changes waits for one
# Seconds until one that says nothing is given up; to read all records takes its time.
WITHIN = WAIT + 4.0


class Ask(Protocol):
    """Asks an agent at an address."""

    async def __call__(
        self, at: str, method: str, path: str, body: object = None, answers: Any = bytes
    ) -> Any: ...


class PeerStore:
    """`host` is this one; `through`: addresses of agents, the likeliest first. `within`: seconds
    that one has to commit, or to tell of changes.
    """

    def __init__(
        self, host: str, through: tuple[str, ...], ask: Ask, within: float = WITHIN
    ) -> None:
        self.chain: tuple[str, ...] = ()  # from which hosts is known what changes
        self._host = host
        self._through = list(through)
        self._ask = ask
        self._within = within

    def meet(self, through: Sequence[str]) -> None:
        """Ask at these from now on: first where it was answered before."""
        known = [at for at in self._through if at in through]
        self._through = list(dict.fromkeys((*known, *through)))

    async def load(self) -> Snapshot:
        stored = await self._call("GET", "/v1/store", None, Stored)
        items = {k: Item(i.value, i.revision) for k, i in stored.items.items()}
        return Snapshot(stored.revision, items, stored.mark)

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit:
        body = Committing(
            put={key: value for key, value in changes.items() if value is not None},
            delete=tuple(key for key, value in changes.items() if value is None),
            expect=dict(expect or {}),
        )
        try:
            done = await self._call("POST", "/v1/store", body, Committed)
        except Conflict as error:
            raise Changed(error.message, error.hint) from error
        return Commit(done.revision, dict(changes), done.mark)

    async def watch(self, since: Moment) -> AsyncGenerator[Commit, None]:
        """Each question is answered when something was changed, or after a while."""
        stands = False
        while True:
            query = {"since": str(since.revision), "mark": since.mark, "now": "" if stands else "1"}
            try:
                found = await self._call("GET", "/v1/store/changes", None, Changes, query)
            except Conflict as error:
                raise Missed(error.message, error.hint) from error
            self.chain = found.chain
            if not stands:
                yield Commit(since.revision, {}, since.mark)
                stands = True
            for change in found.changes:
                changes: dict[str, bytes | None] = {**change.put, **dict.fromkeys(change.delete)}
                since = Moment(change.revision, change.mark)
                yield Commit(change.revision, changes, change.mark)

    async def _call(
        self,
        method: str,
        path: str,
        body: object,
        answers: Any,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Of a commit that was sent and not answered nobody knows whether it was done: it is asked
        of nobody else, but the next one elsewhere first. What a neighbour fails in is no answer of
        the store's.
        """
        via = VIA.get()
        if self._host in via:
            raise Unavailable(CIRCLE, "see: seaway host ls")
        asked = {"via": ",".join((*via, self._host)), **(query or {})}
        unreached: list[str] = []
        for at in list(self._through[:1] if via else self._through):
            try:
                answer = await self._answer(at, method, f"{path}?{urlencode(asked)}", body, answers)
                self._check(answer)
            except asyncio.CancelledError:  # who asks waited long enough
                self._put_back(at)
                raise
            except SeawayError as error:
                if _decides(error, method):
                    raise
                self._put_back(at)
                unreached.append(error.message)
                if method == "POST":
                    break
            else:
                self._prefer(at)
                return answer
        self.chain = () if query else self.chain
        # each once: who passes it on names those that he asked, which may be ours, too
        told = "; ".join(dict.fromkeys("; ".join(unreached).split("; ")))
        raise Unavailable(told or "no host is known that passes the store on")

    async def _answer(self, at: str, method: str, path: str, body: object, answers: Any) -> Any:
        try:
            async with asyncio.timeout(None if answers is Stored else self._within):
                return await self._ask(at, method, path, body, answers)
        except TimeoutError as error:
            raise Unavailable(f"{at} does not answer", "see: seaway host ls") from error

    def _check(self, answer: object) -> None:
        if isinstance(answer, Changes) and self._host in answer.chain:
            raise Unavailable(CIRCLE, "see: seaway host ls")

    def _prefer(self, at: str) -> None:
        if at in self._through:  # still
            self._through.remove(at)
            self._through.insert(0, at)

    def _put_back(self, at: str) -> None:
        """Ask the others first from now on. Not for what is passed on: that may have failed because
        it goes in a circle, which says nothing of where this host itself is answered.
        """
        if at in self._through and not VIA.get():
            self._through.remove(at)
            self._through.append(at)

    async def close(self) -> None:
        """Nothing is kept open here."""


def _decides(error: SeawayError, method: str) -> bool:
    """Whether another host would say the same: what was changed meanwhile, or is no record."""
    return isinstance(error, Conflict) or (method == "POST" and type(error) is Invalid)
