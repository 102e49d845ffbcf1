"""Who connects and then says nothing, or not all, is cut off: at the agent, and at `routed`."""

from __future__ import annotations

import asyncio
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

HEAD = b"POST /v1/store?via=two HTTP/1.1\r\nHost: one\r\nContent-Length: 100\r\n\r\n"
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


def test_routed_ends_a_handshake_that_does_not_come(tmp_path):
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "host.pem").write_bytes(authority.host("a"))

    def nobody(*_given: object) -> Any:
        raise AssertionError("it was let in")

    async def whole() -> None:
        exchange: Any = None
        sessions = streams.Sessions("a", Credentials(Folder(tmp_path)), exchange, nobody)
        async with await sessions.listen("127.0.0.1", 0, handshake=0.2) as server:
            where = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*where)
            assert b"" == await heard(reader)
            writer.close()

    asyncio.run(whole())
