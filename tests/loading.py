"""A load that asks a service all the time, by several ways at once, and never asks anything twice;
and the backends of it. The standard library alone. Prints JSON, one value a line.

loading.py serve PORT NAME     answers by its name, after a moment's work
loading.py load WAY...         until its input ends; for each line of it who answered how often
                               since the last one, by way, and all that failed so far, and why

A way is HOW,ADDRESS,PORT: `fresh`, a connection for each request, or `kept`, one for some of them.
A name is looked up for each connection, and one of its addresses is asked.
"""

from __future__ import annotations

import asyncio
import errno
import json
import random
import socket
import sys
from collections import Counter, defaultdict
from contextlib import suppress

TIMEOUT = 20.0
WORK = 0.04  # seconds, at most: some requests are always on their way
KEPT = 80  # requests by one connection: one or two seconds long


def tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def serve(port: str, name: str) -> None:
    loop = asyncio.get_running_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(100):
                loop.call_later(random.uniform(0, WORK), writer.write, name.encode())
        writer.close()

    with socket.create_server(
        ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
    ) as taken:
        server = await asyncio.start_server(answer, sock=taken)
        tell("ready")
        await server.serve_forever()


class Load:
    def __init__(self) -> None:
        self.answers: dict[str, Counter[str]] = defaultdict(Counter)
        self.failures: dict[str, Counter[str]] = defaultdict(Counter)

    async def ask(self, way: str) -> None:
        how, address, port = way.split(",")
        while True:
            try:
                await self._connection(way, address, int(port), KEPT if how == "kept" else 1)
            except (OSError, EOFError) as error:
                self.failures[way][reason(error)] += 1

    async def _connection(self, way: str, address: str, port: int, times: int) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT):
            found = await loop.getaddrinfo(address, port, type=socket.SOCK_STREAM)
            reader, writer = await asyncio.open_connection(*random.choice(found)[4][:2])
        try:
            for _ in range(times):
                async with asyncio.timeout(TIMEOUT):
                    writer.write(b"q")
                    if not (answer := await reader.read(100)):
                        raise EOFError
                self.answers[way][answer.decode()] += 1
        finally:
            writer.close()


def reason(error: Exception) -> str:
    number = getattr(error, "errno", None) or 0
    return errno.errorcode.get(number) or str(error) or type(error).__name__


async def load(*ways: str) -> None:
    made, loop = Load(), asyncio.get_running_loop()
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    tasks = [asyncio.create_task(made.ask(way)) for way in ways]
    while await told.readline():
        tell([made.answers, made.failures])
        made.answers.clear()
        if ended := [task for task in tasks if task.done()]:
            ended[0].result()  # none does, but by an error of ours
    for task in tasks:
        task.cancel()


def main() -> None:
    case, *given = sys.argv[1:]
    asyncio.run({"serve": serve, "load": load}[case](*given))


if __name__ == "__main__":
    main()
