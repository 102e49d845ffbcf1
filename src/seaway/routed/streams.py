"""Sessions over TLS: who is dialled, who is let in, and messages on a stream.

Between two hosts there is one session. Both may dial; where both did, the one is kept that the host
dialled whose name comes first.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Set
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

import structlog

from seaway.kernel.listening import listener
from seaway.names import ROUTED_PORT
from seaway.routed.budget import Budget
from seaway.routed.credentials import Credentials
from seaway.routed.messages import LONGEST

HANDSHAKE: Final = 5.0  # seconds
SHAKING: Final = 128  # handshakes at once, of who dialled this host: nobody knows yet who that is
BACKLOG: Final = 512
TOLD: Final = (1, 1 / 60)  # times that it is said that there were more, and each second
SILENCE: Final = 3000  # milliseconds in which what was sent must be acknowledged
SEND: Final = 64  # messages at once
PAUSE: Final = 0.5  # seconds before a peer that was not there is dialled again, twice as long each
LONG: Final = 15.0  # time, up to this
SECOND: Final = 2.0  # seconds that the second of two by name waits to be dialled by the first
_HEAD: Final = 4  # bytes with the length of a message

Start = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]

log = structlog.get_logger(__name__)


class Exchange(Protocol):
    """What is said in a session: see `Flood`."""

    def admits(self, peer: str, certificate: bytes) -> bool:
        """Whether who has proven that name by that certificate is the host of that name."""

    def open(self, peer: str) -> None: ...

    def close(self, peer: str) -> None: ...

    def receive(self, peer: str, data: bytes) -> bool: ...

    def send(self, peer: str, most: int) -> list[bytes]: ...


class Stream:
    """One session."""

    def __init__(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bool
    ) -> None:
        self.peer = peer
        self.ours = ours  # this host dialled
        self.live = True
        self._reader = reader
        self._writer = writer
        self._stirred = asyncio.Event()
        self._stirred.set()

    def stir(self) -> None:
        """There may be something to send."""
        self._stirred.set()

    def end(self) -> None:
        self.live = False
        self._writer.transport.abort()

    async def read(self) -> bytes:
        """One message. Raises `EOFError` or `OSError` at the end."""
        length = int.from_bytes(await self._reader.readexactly(_HEAD))
        if length > LONGEST:
            raise EOFError(f"a message of {length} bytes")
        return await self._reader.readexactly(length)

    async def write_all(self, send: Callable[[int], list[bytes]]) -> None:
        """What there is to send, whenever there is, until the stream ends."""
        while self.live:
            await self._stirred.wait()
            self._stirred.clear()
            while self.live and (messages := send(SEND)):
                for data in messages:
                    self._writer.write(len(data).to_bytes(_HEAD) + data)
                await self._writer.drain()


def certificate_of(writer: asyncio.StreamWriter) -> tuple[str, bytes]:
    """The name that it proves, and itself (DER)."""
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    told: Mapping[str, Any] = tls.getpeercert() or {}
    names = [str(value) for kind, value in told.get("subjectAltName", ()) if kind == "DNS"]
    return (names[0] if len(names) == 1 else ""), tls.getpeercert(binary_form=True) or b""


def patient(writer: asyncio.StreamWriter) -> None:
    """Not for as long as TCP would be with one who is gone."""
    tcp: socket.socket = writer.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, 2),  # seconds
        (socket.TCP_KEEPINTVL, 1),
        (socket.TCP_USER_TIMEOUT, SILENCE),
    ):
        tcp.setsockopt(socket.IPPROTO_TCP, option, value)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def dial(
    peer: str, address: str, context: ssl.SSLContext, port: int = ROUTED_PORT
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises `OSError`, also if it is not that host."""
    async with asyncio.timeout(HANDSHAKE):
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=peer)


class Sessions:
    """Those of one host. Tasks are made by who owns them."""

    def __init__(
        self, host: str, credentials: Credentials, exchange: Exchange, start: Start
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self._host = host
        self._credentials = credentials
        self._exchange = exchange
        self._start = start
        self._wanted: Mapping[str, str] = {}
        self._next: dict[str, float] = {}  # when a peer is dialled again
        self._pause: dict[str, float] = {}
        self._shaking = 0
        self._turned_away = Budget(*TOLD)

    def want(self, addresses: Mapping[str, str]) -> None:
        """With these peers, at these addresses; sessions with others are let in all the same."""
        self._wanted = dict(addresses)

    def leave(self, members: Set[str]) -> None:
        """Who is none of these is met no more."""
        for peer in self.streams.keys() - members:
            self.streams[peer].end()

    def see(self, peer: str) -> None:
        """It answers probes again: whom it was in vain to dial for a while is dialled at once."""
        if peer not in self.streams and self._pause.get(peer, 0.0) > PAUSE:
            self._hurry(peer)

    def _hurry(self, peer: str) -> None:
        self._pause.pop(peer, None)
        self._next.pop(peer, None)

    def stir(self, peers: Iterable[str]) -> None:
        for peer in peers:
            self.streams[peer].stir()

    @asynccontextmanager
    async def listen(
        self, address: str = "", port: int = ROUTED_PORT, handshake: float = HANDSHAKE
    ) -> AsyncIterator[int]:
        """At the port that is told. `address`: only on this one. Who has not shaken hands in time
        is cut off, and who comes while many others do is turned away.
        """
        sock = listener(address, port, BACKLOG)
        accepting = self._start(self._accept(sock, handshake), "accept")
        accepting.add_done_callback(lambda _: sock.close())
        try:
            yield sock.getsockname()[1]
        finally:
            accepting.cancel()

    async def _accept(self, sock: socket.socket, handshake: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(sock)
            except OSError as error:  # no descriptor is left, or who called hung up
                log.warning("cannot accept", error=str(error))
                await asyncio.sleep(PAUSE)
                continue
            if self._shaking < SHAKING:
                self._shaking += 1
                self._start(self._shake_hands(connection, handshake), "handshake")
                continue
            connection.close()
            if self._turned_away.take(loop.time()):
                log.warning("too many handshakes at once")

    async def _shake_hands(self, connection: socket.socket, handshake: float) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._let_in),
                connection,
                ssl=self._credentials.serving,
                ssl_handshake_timeout=handshake,
            )
        except OSError as error:
            log.debug("no handshake", error=str(error))
        finally:
            self._shaking -= 1

    def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._start(self._meet(reader, writer, ours=False), "let in")

    def dial_missing(self, now: float) -> None:
        """Those with whom there is no session: first by the one whose name comes first."""
        for peer, address in self._wanted.items():
            if peer in self.streams:
                continue
            late = 0.0 if self._host < peer else SECOND
            if now >= self._next.setdefault(peer, now + late):
                pause = self._pause[peer] = min(2 * self._pause.get(peer, PAUSE / 2), LONG)
                self._next[peer] = now + pause + HANDSHAKE
                self._start(self._dial(peer, address), f"dial {peer}")

    async def _dial(self, peer: str, address: str) -> None:
        try:
            reader, writer = await dial(peer, address, self._credentials.asking)
        except OSError as error:
            log.debug("no session", peer=peer, address=address, error=str(error))
            self._next[peer] = asyncio.get_running_loop().time() + self._pause.get(peer, PAUSE)
            return
        await self._meet(reader, writer, ours=True)

    async def _meet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bool
    ) -> None:
        peer, certificate = certificate_of(writer)
        stream = Stream(peer, reader, writer, ours=ours)
        # first whether it is let in: who is not ends nobody's session
        if not self._exchange.admits(peer, certificate) or not self._takes(stream):
            stream.end()
            return
        self._exchange.open(peer)
        patient(writer)
        self.streams[peer] = stream
        log.info("session", peer=peer, ours=ours)
        writing = self._start(self._write(stream), f"write {peer}")
        try:
            await self._read(stream)
        except (EOFError, OSError) as error:
            log.info("session ended", peer=peer, error=str(error))
        finally:
            writing.cancel()
            stream.end()
            if self.streams.get(peer) is stream:
                self._drop(peer)

    async def _read(self, stream: Stream) -> None:
        while True:
            data = await stream.read()
            if not (stream.live and self._exchange.receive(stream.peer, data)):
                break

    def _takes(self, stream: Stream) -> bool:
        """Of two with one peer the one that is dialled by the first of both by name; of two that
        the same dialled the later: he does not have the other any more.
        """
        peer = stream.peer
        if not peer or peer == self._host:
            return False
        other = self.streams.get(peer)
        if other is None:
            return True
        if stream.ours not in {other.ours, self._host < peer}:
            return False
        other.end()
        self._drop(peer)
        return True

    def _drop(self, peer: str) -> None:
        del self.streams[peer]
        self._exchange.close(peer)
        self._hurry(peer)

    async def _write(self, stream: Stream) -> None:
        with suppress(OSError):
            await stream.write_all(lambda most: self._exchange.send(stream.peer, most))
        stream.end()
