"""The process that answers names: what one asker does leaves it, and others' answers, alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from ipaddress import ip_address
from pathlib import Path

import dnslib
import pytest
import structlog

from seaway.daemons import Daemon
from seaway.dns.daemon import CONNECTIONS, CONNECTIONS_OF_ONE, RESERVED, Places, serve
from seaway.dns.forwarding import SHARE, Forwarder
from seaway.dns.names_file import BUILD, HoldersTarget, NamesFile, NamesTarget
from seaway.dns.resolver import Foreign
from seaway.model.naming import Asker, Holder, Named

HERE = ip_address("127.83.53.1")  # of the loopback, where others of the machine hardly listen
ANNA = "127.83.53.2"
LATE = 10.0


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """With one name, by which anna is asked about."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind((str(HERE), 0))
        port = free.getsockname()[1]
    made = Places(tmp_path / "names.db", tmp_path / "pid", tmp_path / "resolv.conf", port)
    file = NamesFile(made.names)
    NamesTarget(file).put({("front", "anna"): Named(addresses=(ip_address("10.208.0.7"),))})
    asker = Asker(networks=("front",))
    holders = {f"127.83.53.{n}": Holder(asker=asker) for n in range(2, 60)}
    HoldersTarget(file).put(
        {HERE: Holder(asker=Asker(every=True, resolver=True))}
        | {ip_address(address): holder for address, holder in holders.items()}
    )
    yield made
    file.close()


def while_it_runs(places: Places, work: Callable[[], Awaitable[None]]) -> None:
    """Fails where the process would have ended."""

    async def whole() -> None:
        async with asyncio.timeout(6 * LATE):
            serving = asyncio.create_task(serve(places))
            asked = asyncio.ensure_future(work())
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            ended = serving.done()
            if not ended:
                os.kill(os.getpid(), signal.SIGTERM)
            await serving
            assert not ended, "the process would have ended"
            await asked

    asyncio.run(whole())


def question(name: str, number: int = 1) -> bytes:
    record = dnslib.DNSRecord.question(name)
    record.header.id = number
    return bytes(record.pack())


def code(answer: bytes) -> str:
    return str(dnslib.RCODE[dnslib.DNSRecord.parse(answer).header.rcode])


@contextmanager
def asker(places: Places) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((ANNA, 0))
        made.setblocking(False)
        made.connect((str(HERE), places.port))
        yield made


async def by_udp(places: Places, name: str, number: int = 1) -> str:
    """Asks until there is an answer."""
    loop = asyncio.get_running_loop()
    with asker(places) as sock:
        async with asyncio.timeout(LATE):
            while True:
                try:
                    await loop.sock_sendall(sock, question(name, number))
                    answer = await asyncio.wait_for(loop.sock_recv(sock, 4096), 0.2)
                except (OSError, TimeoutError):  # it does not listen yet
                    await asyncio.sleep(0)
                    continue
                assert number.to_bytes(2, "big") == answer[:2]
                return code(answer)


@asynccontextmanager
async def connection(
    places: Places,
    by: str = ANNA,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    made = await asyncio.open_connection(str(HERE), places.port, local_addr=(by, 0))
    try:
        yield made
    finally:
        made[1].close()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> str:
    """The answer's code; "" where there is none."""
    asked = question(name)
    try:
        writer.write(len(asked).to_bytes(2, "big") + asked)
        async with asyncio.timeout(LATE):
            size = int.from_bytes(await reader.readexactly(2), "big")
            return code(await reader.readexactly(size))
    except (ConnectionError, asyncio.IncompleteReadError):
        return ""


def test_a_question_that_fails_fails_alone(places):
    db = sqlite3.connect(places.names)
    db.execute("INSERT INTO names VALUES ('bad', 'front', 'no row of ours')")
    db.commit()
    db.close()

    async def work() -> None:
        assert "NOERROR" == await by_udp(places, "anna")
        for number in (7, 8, 9):
            assert "SERVFAIL" == await by_udp(places, "bad", number)
        async with connection(places) as streams:
            assert ["SERVFAIL", "NOERROR"] == [
                await exchange(*streams, name) for name in ("bad", "anna")
            ]
        assert "NOERROR" == await by_udp(places, "anna")

    with structlog.testing.capture_logs() as lines:
        while_it_runs(places, work)
    assert 1 == sum(line["event"] == "a question failed" for line in lines)


def test_a_question_for_others_that_fails_fails_alone(places, monkeypatch):
    tried = []

    async def fail(_forwarder: Forwarder, foreign: Foreign, _most: int) -> bytes:
        tried.append(foreign)
        await asyncio.sleep(0)
        raise ZeroDivisionError

    monkeypatch.setattr(Forwarder, "ask", fail)

    async def work() -> None:
        for number in range(SHARE + 1):
            assert "SERVFAIL" == await by_udp(places, "example.com", number)
        async with connection(places) as streams:
            assert "SERVFAIL" == await exchange(*streams, "example.com")
        assert "NOERROR" == await by_udp(places, "anna")

    with structlog.testing.capture_logs() as lines:
        while_it_runs(places, work)
    assert len(tried) >= SHARE + 2  # each gave back its share
    (line,) = (line for line in lines if line["event"] == "a question failed")
    assert line["question"] in question("example.com").hex()


def test_whoever_takes_connections_leaves_two_for_each(places):
    async def work() -> None:
        assert "NOERROR" == await by_udp(places, "anna")  # it listens
        async with AsyncExitStack() as opened:

            async def asks(by: str) -> str:
                return await exchange(
                    *await opened.enter_async_context(connection(places, by)), "anna"
                )

            sixteen = [f"127.83.53.{n}" for n in range(3, 3 + CONNECTIONS // CONNECTIONS_OF_ONE)]
            for by in sixteen:
                for _ in range(CONNECTIONS_OF_ONE):
                    assert "NOERROR" == await asks(by)
            assert not await asks(sixteen[0])
            assert [*["NOERROR"] * RESERVED, ""] == [await asks(ANNA) for _ in range(RESERVED + 1)]

    while_it_runs(places, work)


def test_it_tells_of_which_build_it_is(places):
    process = Daemon("dns", "none.service", places.pid, places.pid.with_name("log"))

    async def work() -> None:
        assert "NOERROR" == await by_udp(places, "anna")
        pid = process.running()
        assert pid is not None
        assert BUILD == process.build(pid)
        assert not process.build(pid + 1)

    while_it_runs(places, work)
