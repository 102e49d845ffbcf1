"""Tells load balancers whether this host has backends of a service, at the port that it has for that.

A request gets what Kubernetes' proxy answers (pkg/proxy/healthcheck): 200 where at least one backend
is ready, else 503. To the reconciler it is a target: a port that is taken fails, and is tried again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from seaway.kernel.listening import listener
from seaway.model.node_ports import HealthPort

_BACKLOG: Final = 64
_MOST: Final = 256  # connections at once, of all ports
_WITHIN: Final = 5.0  # seconds, of a whole connection
_HEAD: Final = 8192  # bytes of a request
_END: Final = b"\r\n\r\n"


class HealthPorts:
    """A target (`seaway.reconcile`): listens from `put` on, and answers while `run` does."""

    name = "health_ports"

    def __init__(self) -> None:
        self._held: dict[int, HealthPort] = {}
        self._sockets: dict[int, socket.socket] = {}  # also of those that are about to be closed
        self._servers: dict[int, asyncio.Server] = {}
        self._changed = asyncio.Event()
        self._open: set[_Conversation] = set()

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
                    make = self._maker(number, healthy)
                    sock = self._sockets[number]
                    self._servers[number] = await loop.create_server(make, sock=sock)
        finally:
            for number in list(self._sockets):
                self._close(number)

    def _close(self, number: int) -> None:
        if server := self._servers.pop(number, None):
            server.close()
        self._sockets.pop(number).close()

    def _maker(self, number: int, healthy: Callable[[], bool]) -> Callable[[], _Conversation]:
        def answer() -> bytes:
            told = self._held.get(number)
            return b"" if told is None else response(told, healthy=healthy())

        return lambda: _Conversation(answer, self._open)


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
    """One request and its answer; whoever dawdles is cut off."""

    def __init__(self, answer: Callable[[], bytes], others: set[_Conversation]) -> None:
        self._answer = answer
        self._others = others
        self._heard = b""
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport), "it is a socket's"
        self._transport = transport
        if len(self._others) >= _MOST:
            transport.abort()
            return
        self._others.add(self)
        self._timer = asyncio.get_running_loop().call_later(_WITHIN, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._heard += data
        if _END in self._heard:
            told = self._answer()
            head, _, body = told.partition(_END)
            asks_head = self._heard.startswith(b"HEAD ")
            self._transport.write(head + _END + (b"" if asks_head else body) if told else b"")
            self._transport.close()
        elif len(self._heard) > _HEAD:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._others.discard(self)
        if self._timer:
            self._timer.cancel()
