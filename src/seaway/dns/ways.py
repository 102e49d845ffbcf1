"""How others are asked: each question by a socket, hence a port, of its own."""

from __future__ import annotations

import asyncio
from contextlib import closing

from seaway.dns.forwarding import Judge
from seaway.names import RESOLVER_PORT


class _Waiting(asyncio.DatagramProtocol):
    """For the first datagram that is the answer; others are as if they never came."""

    def __init__(self, judge: Judge) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._judge = judge

    def datagram_received(self, data: bytes, _: object) -> None:
        if not self.answer.done() and self._judge(data):
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Network:
    """See `forwarding.Ways`."""

    async def by_udp(self, server: str, message: bytes, judge: Judge) -> bytes:
        loop = asyncio.get_running_loop()
        transport, waiting = await loop.create_datagram_endpoint(
            lambda: _Waiting(judge), remote_addr=(server, RESOLVER_PORT)
        )
        with closing(transport):
            transport.sendto(message)
            return await waiting.answer

    async def by_tcp(self, server: str, message: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, RESOLVER_PORT)
        with closing(writer):
            writer.write(len(message).to_bytes(2, "big") + message)
            try:
                size = int.from_bytes(await reader.readexactly(2), "big")
                return await reader.readexactly(size)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError(f"{server} closed the connection") from error
