"""A store as a host has it that reaches it through another one, without the way between the two."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

from seaway.cluster.passing import Passing
from seaway.store.base import Moment, Store
from seaway.store.peers import PeerStore


class PassedOn(PeerStore):
    """Closing it ends the other host, too."""

    def __init__(self, store: Store, by: str, host: str) -> None:
        super().__init__(host, (by,), self._answer)
        self._store = store
        self._passing = Passing(by, store, lambda _key, _value: None)
        self._run: asyncio.Task[None] | None = None

    async def _answer(
        self,
        at: str,  # noqa: ARG002, there is one
        method: str,
        path: str,
        body: Any = None,
        answers: Any = bytes,  # noqa: ARG002, the very value
    ) -> Any:
        """As the routes of `api/routes.py` do."""
        if self._run is None:
            self._run = asyncio.ensure_future(self._passing.run())
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if method == "POST":
            return await self._passing.commit(body, query["via"])
        if not parts.path.endswith("/changes"):
            return await self._passing.load(query["via"])
        since = Moment(int(query["since"]), query.get("mark", ""))
        return await self._passing.changes(since, now="now" in query)

    async def close(self) -> None:
        self._passing.close()
        if self._run:
            self._run.cancel()
            await asyncio.wait([self._run])
        await self._store.close()


def passed_on(store: Store, by: str = "one", host: str = "two") -> PassedOn:
    return PassedOn(store, by, host)
