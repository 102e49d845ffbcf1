"""Who connects and then says nothing, or not all, is cut off: at the agent, and at `routed`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from authority import Authority
from clusters import loopback, run
from seaway.api.hosts import Patience
from seaway.model import codec
from seaway.model.wire import ErrorReport
from seaway.routed import streams
from seaway.routed.credentials import Credentials
from seaway.trust import contexts
from seaway.trust.folder import Folder
from waiting import until

HEAD = b"POST /v1/store?via=two HTTP/1.1\r\nHost: one\r\nContent-Length: 100\r\n\r\n"
HERE = "127.0.0.1"
WITHIN = 5.0  # seconds, where it is cut off after much less


async def heard(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(WITHIN):
        return await reader.read()


def test_a_member_that_asks_nothing_or_not_all_is_cut_off(tmp_path):
    async def scenario(cluster: Any) -> None:
        cluster.patience = Patience(idle=0.2, body=0.2)
        one = await cluster.first()
        two = await cluster.join("two")
        context = contexts.asking(two.keeper.folder, any_host=True)
        where = loopback(one.address), cluster.port
        silent, _ = await asyncio.open_connection(*where, ssl=context)
        slow, writer = await asyncio.open_connection(*where, ssl=context)
        writer.write(HEAD + b"{")
        head, _, body = (await heard(slow)).partition(b"\r\n\r\n")
        assert b" 400 " in head.splitlines()[0]
        told = codec.decode(body, ErrorReport).error
        assert ("Invalid", "the body did not come within 0.2 s") == (told.kind, told.message)
        assert b"" == await heard(silent)

    run(tmp_path, scenario)


def sessions_of(path: Path, works: set[asyncio.Task[None]]) -> streams.Sessions:
    """Of a host `a` that lets nobody in."""
    authority = Authority()
    (path / "ca.pem").write_bytes(authority.pem)
    (path / "host.pem").write_bytes(authority.host("a"))

    def start(work: Any, name: str) -> asyncio.Task[None]:
        assert "let in" != name
        task = asyncio.create_task(work, name=name)
        works.add(task)
        return task

    exchange: Any = None
    return streams.Sessions("a", Credentials(Folder(path)), exchange, start)


def test_routed_ends_a_handshake_that_does_not_come(tmp_path):
    async def whole() -> None:
        async with sessions_of(tmp_path, set()).listen(HERE, 0, handshake=0.2) as port:
            reader, writer = await asyncio.open_connection(HERE, port)
            assert b"" == await heard(reader)
            writer.close()

    asyncio.run(whole())


def test_routed_turns_away_who_comes_while_many_shake_hands_and_nobody_later(tmp_path):
    works: set[asyncio.Task[None]] = set()

    async def whole() -> None:
        async with sessions_of(tmp_path, works).listen(HERE, 0, handshake=60.0) as port:
            silent = [await asyncio.open_connection(HERE, port) for _ in range(streams.SHAKING)]
            reader, writer = await asyncio.open_connection(HERE, port)
            assert b"" == await heard(reader)
            assert streams.SHAKING + 1 == len(works)  # and the one that accepts
            for _, other in silent:
                other.close()
            await until(lambda: 1 == sum(not work.done() for work in works))
            writer.close()
            _, writer = await asyncio.open_connection(HERE, port)
            await until(lambda: 2 == sum(not work.done() for work in works))
            writer.close()

    asyncio.run(whole())
