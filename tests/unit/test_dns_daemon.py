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
from seaway.dns.daemon import CONNECTIONS, CONNECTIONS_OF_ONE, RESERVED, Files, serve
from seaway.dns.names_file import BUILD, HoldersTarget, NamesFile, NamesTarget
from seaway.model.naming import Asker, Holder, Named

HERE = ip_address("127.83.53.1")  # of the loopback, where others of the machine hardly listen
ANNA = "127.83.53.2"
LATE = 10.0


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """With one name, by which anna is asked about."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind((str(HERE), 0))
        port = free.getsockname()[1]
    made = Files(tmp_path / "names.db", tmp_path / "pid", tmp_path / "resolv.conf", port)
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


def while_it_runs(files: Files, work: Callable[[], Awaitable[None]]) -> None:
    """Fails where the process would have ended."""

    async def whole() -> None:
        async with asyncio.timeout(6 * LATE):
            serving = asyncio.create_task(serve(files))
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
def asker(files: Files) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((ANNA, 0))
        made.setblocking(False)
        made.connect((str(HERE), files.port))
        yield made


async def by_udp(files: Files, name: str, number: int = 1) -> str:
    """Asks until there is an answer."""
    loop = asyncio.get_running_loop()
    with asker(files) as sock:
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
    files: Files,
    by: str = ANNA,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    made = await asyncio.open_connection(str(HERE), files.port, local_addr=(by, 0))
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


def test_a_question_that_fails_fails_alone(files):
    db = sqlite3.connect(files.names)
    db.execute("INSERT INTO names VALUES ('bad', 'front', 'no row of ours')")
    db.commit()
    db.close()

    async def work() -> None:
        assert "NOERROR" == await by_udp(files, "anna")
        for number in (7, 8, 9):
            assert "SERVFAIL" == await by_udp(files, "bad", number)
        async with connection(files) as streams:
            assert ["SERVFAIL", "NOERROR"] == [
                await exchange(*streams, name) for name in ("bad", "anna")
            ]
        assert "NOERROR" == await by_udp(files, "anna")

    with structlog.testing.capture_logs() as lines:
        while_it_runs(files, work)
    assert 1 == sum(line["event"] == "a question failed" for line in lines)


def test_a_question_for_others_that_fails_fails_alone(files):
    too_long = "a" * 64  # of a label: Python says ValueError, and looks it up nowhere
    files.servers.write_text(f"nameserver 127.0.0.1%{too_long}\n")

    async def work() -> None:
        for number in range(3):
            assert "SERVFAIL" == await by_udp(files, "example.com", number)
        async with connection(files) as streams:
            assert "SERVFAIL" == await exchange(*streams, "example.com")
        assert "NOERROR" == await by_udp(files, "anna")

    with structlog.testing.capture_logs() as lines:
        while_it_runs(files, work)
    (line,) = (line for line in lines if line["event"] == "a question failed")
    assert line["question"] in question("example.com").hex()


def test_whoever_takes_connections_leaves_two_for_each(files):
    async def work() -> None:
        assert "NOERROR" == await by_udp(files, "anna")  # it listens
        async with AsyncExitStack() as opened:

            async def asks(by: str) -> str:
                return await exchange(
                    *await opened.enter_async_context(connection(files, by)), "anna"
                )

            sixteen = [f"127.83.53.{n}" for n in range(3, 3 + CONNECTIONS // CONNECTIONS_OF_ONE)]
            for by in sixteen:
                for _ in range(CONNECTIONS_OF_ONE):
                    assert "NOERROR" == await asks(by)
            assert not await asks(sixteen[0])
            assert [*["NOERROR"] * RESERVED, ""] == [await asks(ANNA) for _ in range(RESERVED + 1)]

    while_it_runs(files, work)


def test_it_tells_of_which_build_it_is(files):
    process = Daemon("dns", "none.service", files.pid, files.pid.with_name("log"))

    async def work() -> None:
        assert "NOERROR" == await by_udp(files, "anna")
        pid = process.running()
        assert pid is not None
        assert BUILD == process.build(pid)
        assert not process.build(pid + 1)

    while_it_runs(files, work)
