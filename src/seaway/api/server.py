"""Serves the table of routes on the agent's unix socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from seaway.api import listener, peers
from seaway.api.handling import application
from seaway.api.routes import ROUTES, Caller, Doors, Route
from seaway.errors import Invalid

if TYPE_CHECKING:
    from pathlib import Path

_CLOSE_WAIT = 2.0  # seconds for requests under way when the agent stops
_LOCAL = Caller()


class Server:
    """The API on one socket, from `start` to `stop`."""

    def __init__(self, doors: Doors, path: Path) -> None:
        self._path = path
        self._readers = peers.readers()
        self._listener: listener.Listener | None = None
        app = application(doors, ROUTES, self._admit)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_WAIT)

    async def start(self) -> None:
        """Answer from now on; requests that came since the socket appeared wait until here."""
        await self._runner.setup()
        self._listener = listener.listen(self._path, self._readers)
        await web.SockSite(self._runner, self._listener.socket).start()

    async def stop(self) -> None:
        if self._listener:
            self._listener.forget()
        await self._runner.cleanup()

    def _admit(self, request: web.Request, route: Route | None) -> Caller:
        if request.transport is None:
            raise Invalid("the caller hung up before it was known who called")
        peer = peers.peer_of(request.transport.get_extra_info("socket"))
        if route and route.changes:
            peer.must_change()
        elif route and route.secret:
            peer.must_read_all()
        else:
            peer.must_read(self._readers)
        return _LOCAL
