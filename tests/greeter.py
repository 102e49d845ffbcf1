"""A backend that answers whatever it is asked with its name; the standard library alone.

greeter.py PORT NAME

By TCP as often as it is asked on one connection, and by UDP: who asks `later` has his answer when
somebody asks next.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: bytes) -> None:
        self._name = name
        self._waiting: list[Any] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, question: bytes, addr: Any) -> None:
        self._waiting.append(addr)
        if question == b"later":
            return
        for asker in self._waiting:
            self._transport.sendto(self._name, asker)
        self._waiting.clear()


async def main() -> None:
    port, name = int(sys.argv[1]), sys.argv[2].encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(100):
                writer.write(name)
        writer.close()

    loop = asyncio.get_running_loop()
    with (
        socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as streams,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("::", port))
        await loop.create_datagram_endpoint(lambda: Datagrams(name), sock=datagrams)
        server = await asyncio.start_server(answer, sock=streams)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
