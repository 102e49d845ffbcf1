"""`seaway dns`: what is wired to what. It needs no agent, only the file that was written.

A thread for each UDP socket waits in the kernel, answers what it can, and hands over the rest; all
else (TCP, others' servers, changes of the file) is the loop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from seaway.daemons import tell_build
from seaway.dns import sockets, wire
from seaway.dns.forwarding import Budget, Forwarder
from seaway.dns.names_file import BUILD, KnownNames
from seaway.dns.resolver import Foreign, Resolver
from seaway.dns.servers import Servers
from seaway.dns.ways import Network
from seaway.model.addresses import Address
from seaway.names import RESOLVER_PORT
from seaway.presence import alone

LOOK: Final = 0.025  # seconds between two looks whether names changed
AGAIN: Final = 2.0  # and between two tries to listen where somebody else does
IDLE: Final = 10.0  # seconds for which a TCP connection may say nothing
QUIET: Final = 10.0  # seconds between two lines of the log of questions that fail
CONNECTIONS: Final = 512  # by TCP of all askers, at a time
CONNECTIONS_OF_ONE: Final = 32
RESERVED: Final = 2  # of each, when all others are taken
_LARGEST = 4096  # bytes of a question
_SHOWN = 300  # of one in the log

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Files:
    """Files: what the agent told, whose process this is, and whom the host asks; and the port at
    which it is asked.
    """

    names: Path
    pid: Path
    servers: Path
    port: int = RESOLVER_PORT


async def serve(files: Files) -> None:
    """Run until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    with alone(files.pid, "resolver"), contextlib.closing(KnownNames(files.names)) as told:
        tell_build(files.pid, BUILD)
        async with asyncio.TaskGroup() as group:
            daemon = Daemon(files, told, group)
            watching = group.create_task(daemon.watch(), name="watch")
            await ended.wait()
            watching.cancel()
            daemon.close()
    log.info("ended")


class Daemon:
    def __init__(self, files: Files, told: KnownNames, group: asyncio.TaskGroup) -> None:
        self._told = told
        self._port = files.port
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(told, _shuffled)
        self._listeners: dict[Address, Listener] = {}
        self._refused: dict[Address, float] = {}  # where somebody else listens; until when we wait
        servers = Servers(files.servers, self._listeners.keys)
        self._forwarder = Forwarder(servers, Network(), time.monotonic, secrets.randbits)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = Budget(CONNECTIONS, CONNECTIONS_OF_ONE, RESERVED)
        self._quiet = 0.0  # until when no line tells of a question that fails

    def close(self) -> None:
        for address in list(self._listeners):
            self._leave(address)
        for task in list(self._tasks):
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def watch(self) -> None:
        """Once a name is gone it is not answered any more."""
        wanted: frozenset[Address] = frozenset()
        while True:
            if self._told.changed():
                self._resolver.forget()
                wanted = self._told.listens() or wanted
            for address in self._listeners.keys() - wanted:
                self._leave(address)
            for address in wanted - self._listeners.keys():
                await self._listen(address)
            await asyncio.sleep(LOOK)

    async def _listen(self, address: Address) -> None:
        if self._refused.get(address, 0.0) > self._loop.time():
            return
        try:
            self._listeners[address] = await self._opened(address)
        except OSError as error:
            if address not in self._refused:
                log.warning("cannot listen", address=str(address), error=str(error))
            self._refused[address] = self._loop.time() + AGAIN
            return
        self._refused.pop(address, None)
        log.info("listens", address=str(address))

    async def _opened(self, address: Address) -> Listener:
        with contextlib.ExitStack() as undo:
            datagrams = sockets.udp(address, self._port)
            for sock in datagrams:
                undo.callback(sockets.close, sock)
            server = await asyncio.start_server(
                self._converse, sock=sockets.tcp(address, self._port), limit=_LARGEST
            )
            undo.pop_all()
        for sock in datagrams:
            work = partial(self._answer, sock)
            threading.Thread(target=work, name=f"udp {address}", daemon=True).start()
        return Listener(datagrams, server)

    def _leave(self, address: Address) -> None:
        listener = self._listeners.pop(address)
        listener.server.close()
        for sock in listener.datagrams:
            sockets.close(sock)

    # ── from any thread ──

    def _known(self, data: bytes, address: str, most: int = 0) -> bytes | Foreign | None:
        """What a message from there is due; one for others has its share of the budget, which is to
        be given back. `most`: bytes, by TCP; by UDP the question tells.
        """
        with Alone(data, self._tells):
            due = self._resolver.answer(data, address, most)
            if not isinstance(due, Foreign):
                return due
            if (kept := self._forwarder.kept(due, most)) is not None:
                return kept
            if self._forwarder.budget.take(address):
                return due
            return wire.answer(due.query, wire.SERVFAIL)
        return wire.failure(data)

    def _tells(self) -> bool:
        """Whether one that fails is to be told in the log."""
        now = time.monotonic()
        if now < self._quiet:
            return False
        self._quiet = now + QUIET
        return True

    # ── by UDP: in a thread of each socket ──

    def _answer(self, sock: socket.socket) -> None:
        """Until it is closed. A failure of more than a question ends the process."""
        try:
            self._answer_all(sock)
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._start, _fail(error), "failed")
            raise

    def _answer_all(self, sock: socket.socket) -> None:
        receive, send, resolver = sock.recvfrom, sock.sendto, self._resolver
        while sock.fileno() >= 0:
            try:
                data, peer = receive(_LARGEST)
                kept = resolver.known.get(peer[0]) if peer else None
                given = kept.get(data[2:]) if kept else None
                if given:
                    send(data[:2] + given(), peer)
                elif peer:
                    self._answer_new(sock, data, peer)
            except OSError:  # an ICMP error of an earlier answer, a full buffer, or it was closed
                continue

    def _answer_new(self, sock: socket.socket, data: bytes, peer: tuple[Any, ...]) -> None:
        due = self._known(data, peer[0])
        if isinstance(due, Foreign):
            self._loop.call_soon_threadsafe(self._forward, due, sock, peer)
        elif due:
            sock.sendto(due, peer)

    def _forward(self, foreign: Foreign, sock: socket.socket, peer: tuple[Any, ...]) -> None:
        async def work() -> None:
            answer = await self._ask(foreign, peer[0])
            with contextlib.suppress(OSError):
                sock.sendto(answer, peer)

        self._start(work(), "forward")

    # ── by TCP ──

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question after another, until he goes or says nothing for a while."""
        address = writer.get_extra_info("peername", ("",))[0]
        with contextlib.closing(writer):
            if not self._connections.take(address):
                return
            try:
                while await self._exchange(reader, writer, address):
                    pass
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                self._connections.give_back(address)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> bool:
        async with asyncio.timeout(IDLE):
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > _LARGEST:
                return False
            data = await reader.readexactly(size)
        due = self._known(data, address, wire.LONGEST)
        if isinstance(due, Foreign):
            due = await self._ask(due, address, wire.LONGEST)
        if due is None:
            return False
        writer.write(len(due).to_bytes(2, "big") + due)
        async with asyncio.timeout(IDLE):
            await writer.drain()
        return True

    # ── in the loop ──

    async def _ask(self, foreign: Foreign, address: str, most: int = 0) -> bytes:
        """Others, and give its share back."""
        try:
            with Alone(foreign.query.question, self._tells):
                return await self._forwarder.ask(foreign, most)
            return wire.answer(foreign.query, wire.SERVFAIL)
        finally:
            self._forwarder.budget.give_back(address)


@dataclass(frozen=True, slots=True)
class Alone:
    """A question that fails in here fails alone: who asks it must not end what others are answered.

    `tells`: whether the log is told of it.
    """

    question: bytes
    tells: Callable[[], bool]

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception):
            return False
        if self.tells():
            shown = self.question[:_SHOWN].hex()
            log.error("a question failed", question=shown, exc_info=error)
        return True


@dataclass(frozen=True)
class Listener:
    """Of one address."""

    datagrams: list[socket.socket]
    server: asyncio.Server


def _shuffled(addresses: Sequence[Address]) -> list[Address]:
    return random.sample(addresses, len(addresses))


async def _fail(error: BaseException) -> None:  # noqa: RUF029, a task of the group
    raise error
