"""Tells load balancers whether this host has backends of a service, at the port that it has for it.

A request gets what Kubernetes' proxy answers (pkg/proxy/healthcheck): 200 where at least one
backend is ready, else 503. To the reconciler it is a target: a port that is taken fails, and is
tried again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from seaway.kernel.listening import listener
from seaway.model.node_ports import HealthPort

_BACKLOG: Final = 64
_HEAD: Final = 8192  # bytes of a request
_END: Final = b"\r\n\r\n"


class HealthPorts:
    """A target (`seaway.reconcile`): listens from `put` on, and answers while `run` does. `most`
    connections at once, of all ports, each for so many seconds.
    """

    name = "health_ports"

    def __init__(self, most: int = 256, within: float = 5.0) -> None:
        self._most = most
        self._within = within
        self._held: dict[int, HealthPort] = {}
        self._sockets: dict[int, socket.socket] = {}  # also of those that are about to be closed
        self._servers: dict[int, asyncio.Server] = {}
        self._changed = asyncio.Event()
        self._open: dict[asyncio.WriteTransport, asyncio.TimerHandle] = {}

    def read(self) -> dict[int, HealthPort]:
        return dict(self._held)

    def put(self, objects: Mapping[int, HealthPort]) -> dict[int, OSError]:
        failed: dict[int, OSError] = {}
        for number, told in objects.items():
            try:
                if number not in self._sockets:
                    self._sockets[number] = listener("", number, _BACKLOG)
                self._held[number] = told
            except OSError as error:
                failed[number] = error
        self._changed.set()
        return failed

    def delete(self, keys: set[int]) -> dict[int, OSError]:
        for number in keys:
            self._held.pop(number, None)
        self._changed.set()
        return {}

    async def run(self, healthy: Callable[[], bool]) -> None:
        """For ever. `healthy`: whether connections are led as they should be."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                for number in self._sockets.keys() - self._held.keys():
                    self._close(number)
                for number in self._sockets.keys() - self._servers.keys():
                    make = partial(_Conversation, self, partial(self._answer, number, healthy))
                    sock = self._sockets[number]
                    self._servers[number] = await loop.create_server(make, sock=sock)
        finally:
            for number in list(self._sockets):
                self._close(number)

    def _close(self, number: int) -> None:
        if server := self._servers.pop(number, None):
            server.close()
        self._sockets.pop(number).close()

    def _answer(self, number: int, healthy: Callable[[], bool]) -> bytes:
        told = self._held.get(number)
        return b"" if told is None else response(told, healthy=healthy())

    def begin(self, transport: asyncio.WriteTransport) -> None:
        """Somebody asks; whoever dawdles, or comes with too many, is cut off."""
        if len(self._open) >= self._most:
            transport.abort()
            return
        timer = asyncio.get_running_loop().call_later(self._within, transport.abort)
        self._open[transport] = timer

    def end(self, transport: asyncio.WriteTransport) -> None:
        if timer := self._open.pop(transport, None):
            timer.cancel()


def response(told: HealthPort, *, healthy: bool) -> bytes:
    body = msgspec.json.encode(
        {
            "service": {"namespace": told.network, "name": told.service},
            "localEndpoints": told.backends,
            "serviceProxyHealthy": healthy,
        }
    )
    status = "200 OK" if told.backends and healthy else "503 Service Unavailable"
    lines = (
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        f"X-Load-Balancing-Endpoint-Weight: {told.backends}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + _END + body


class _Conversation(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, ports: HealthPorts, answer: Callable[[], bytes]) -> None:
        self._ports = ports
        self._answer = answer
        self._heard = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport), "it is a socket's"
        self._transport = transport
        self._ports.begin(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._heard += data
        if _END in self._heard:
            self._transport.write(_shown(self._answer(), self._heard))
            self._transport.close()
        elif len(self._heard) > _HEAD:
            self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._transport:
            self._ports.end(self._transport)


def _shown(told: bytes, request: bytes) -> bytes:
    """Who asks for the head alone gets no body."""
    head, end, _ = told.partition(_END)
    return head + end if request.startswith(b"HEAD ") else told
