"""Serves the table of routes on the agent's unix socket, and turns every error into JSON.

Errors of `errors.py` and refusals of the kernel are answers; any other exception is a defect,
which aiohttp logs with its traceback and answers as 500 while the agent works on.
"""

from __future__ import annotations

import inspect
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web

from seaway.api import listener, peers
from seaway.api.routes import ROUTES, Call, Doors, Route
from seaway.errors import Invalid, NotFound, SeawayError, SystemFailed
from seaway.model import codec
from seaway.model.wire import report_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MOST_BYTES = 16 << 20  # of a body; the CNI front passes 4 MB, escaped
_CLOSE_WAIT = 2.0  # seconds for requests under way when the agent stops


class Server:
    """The API on one socket, from `start` to `stop`."""

    def __init__(self, doors: Doors, path: Path) -> None:
        self._doors = doors
        self._path = path
        self._readers = peers.readers()
        self._listener: listener.Listener | None = None
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=_CLOSE_WAIT)

    async def start(self) -> None:
        """Answer from now on; requests that came since the socket appeared wait until here."""
        await self._runner.setup()
        self._listener = listener.listen(self._path, self._readers)
        await web.SockSite(self._runner, self._listener.socket).start()

    async def stop(self) -> None:
        if self._listener:
            self._listener.forget()
        await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_errors_as_json], client_max_size=_MOST_BYTES)
        app.router.add_get("/v1/openapi.yaml", self._openapi)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._handler(route))
        return app

    def _handler(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            self._permit(request, route)
            if route.changes and not route.early:
                self._doors.intents.ready()
            answer = route.act(self._doors, await _parse(request, route))
            if inspect.isawaitable(answer):
                answer = await answer
            if route.answers is None:
                return web.Response(status=route.status)
            return _json(answer, route.status)

        return handle

    def _permit(self, request: web.Request, route: Route | None = None) -> None:
        if request.transport is None:
            raise Invalid("the caller hung up before it was known who called")
        peer = peers.peer_of(request.transport.get_extra_info("socket"))
        if route and route.changes:
            peer.must_change()
        elif route and route.secret:
            peer.must_read_all()
        else:
            peer.must_read(self._readers)

    async def _openapi(self, request: web.Request) -> web.Response:
        self._permit(request)
        return web.Response(body=openapi(), content_type="application/yaml")


def openapi() -> bytes:
    """The description of this API, as packaged."""
    return resources.files("seaway.api").joinpath("openapi.yaml").read_bytes()


async def _parse(request: web.Request, route: Route) -> Call:
    unknown = set(request.query) - set(route.query)
    if unknown:
        expected = ", ".join(route.query) or "none"
        raise Invalid(f"unknown query parameter '{min(unknown)}'", f"expected: {expected}")
    data = await request.read()
    if route.takes is None:
        if data:
            raise Invalid(f"{route.method} {route.path} takes no body", "leave it out")
        return Call(request.match_info, request.query)
    return Call(request.match_info, request.query, codec.decode(data, route.takes))


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except SeawayError as error:
        return _refusal(error)
    except OSError as error:
        return _refusal(SystemFailed(str(error), "see the agent's log, and: seaway doctor"))
    except web.HTTPException as error:
        return _refusal(_in_our_words(request, error))


def _in_our_words(request: web.Request, error: web.HTTPException) -> SeawayError:
    asked = f"{request.method} {request.path}"
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"there is no {request.path}", "see: GET /v1/openapi.yaml")
    if isinstance(error, web.HTTPMethodNotAllowed):
        return Invalid(f"{asked} is not offered", f"use {' or '.join(error.allowed_methods)}")
    return Invalid(f"{asked}: {error.reason}", f"at most {_MOST_BYTES} bytes are read")


def _refusal(error: SeawayError) -> web.Response:
    return _json(report_of(error), error.http_status)


def _json(value: Any, status: int) -> web.Response:
    return web.Response(body=codec.encode(value), status=status, content_type="application/json")
