"""From a table of routes to an application of aiohttp, and from every error to JSON.

Errors of `errors.py` and refusals of the kernel are answers; any other exception is a defect,
which aiohttp logs with its traceback and answers as 500 while the agent works on.
"""

from __future__ import annotations

import asyncio
import inspect
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web

from seaway.api.routes import Call, Caller, Doors, Route
from seaway.errors import Invalid, NotFound, SeawayError, SystemFailed
from seaway.model import codec
from seaway.model.wire import report_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Admit = Callable[[web.Request, Route | None], Caller]  # None: the description itself

_MOST_BYTES = 16 << 20  # of a body; the CNI front passes 4 MB, escaped
_MOST_OF_ANYONE = 64 << 10  # from who has shown no certificate
BODY_WITHIN = 10.0  # seconds
_WITHIN = web.AppKey("within", float)


def application(
    doors: Doors, routes: Iterable[Route], admit: Admit, body_within: float = BODY_WITHIN
) -> web.Application:
    """`admit` says who calls, and raises where he may not."""
    app = web.Application(middlewares=[_errors_as_json], client_max_size=_MOST_BYTES)
    app[_WITHIN] = body_within

    async def describe(request: web.Request) -> web.Response:  # noqa: RUF029, a handler's shape
        admit(request, None)
        return web.Response(body=openapi(), content_type="application/yaml")

    app.router.add_get("/v1/openapi.yaml", describe)
    for route in routes:
        app.router.add_route(route.method, route.path, _handler(doors, route, admit))
    return app


def _handler(doors: Doors, route: Route, admit: Admit) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        caller = admit(request, route)
        if route.changes and not route.early:
            doors.intents.ready()
        answer = route.act(doors, await _parse(request, route, caller))
        if inspect.isawaitable(answer):
            answer = await answer
        if route.answers is None:
            return web.Response(status=route.status)
        return _json(answer, route.status)

    return handle


def openapi() -> bytes:
    """The description of this API, as packaged."""
    return resources.files("seaway.api").joinpath("openapi.yaml").read_bytes()


async def _parse(request: web.Request, route: Route, caller: Caller) -> Call:
    unknown = set(request.query) - set(route.query)
    if unknown:
        expected = ", ".join(route.query) or "none"
        raise Invalid(f"unknown query parameter '{min(unknown)}'", f"expected: {expected}")
    if caller.stranger and request.body_exists:
        length = request.content_length
        if length is None or length > _MOST_OF_ANYONE:
            raise Invalid("that is too long", f"at most {_MOST_OF_ANYONE} bytes, told before")
    data = await _body(request)
    if route.takes is None:
        if data:
            raise Invalid(f"{route.method} {route.path} takes no body", "leave it out")
        return Call(request.match_info, request.query, caller=caller)
    body = codec.decode(data, route.takes)
    return Call(request.match_info, request.query, body, caller)


async def _body(request: web.Request) -> bytes:
    within = request.app[_WITHIN]
    try:
        async with asyncio.timeout(within):
            return await request.read()
    except TimeoutError:
        told = f"the body did not come within {within:g} s"
        raise Invalid(told, "send it at once") from None


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
