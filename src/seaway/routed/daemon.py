"""`routed`: what is wired to what. All tasks of the process live in its one task group.

It needs no agent: it goes on with the orders that it read last, and with the link state that it
knew before it began anew. What ends it leaves the data plane as it is.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from seaway import names
from seaway.errors import Undecodable
from seaway.model.facts import Value
from seaway.model.routing import Numbers, Orders, Question, RoutedReport, Routes, Turn
from seaway.routed import memory
from seaway.routed.core import Core
from seaway.routed.credentials import Credentials
from seaway.routed.desk import Desk
from seaway.routed.orders import OrdersFile
from seaway.routed.probing import ProbeSocket
from seaway.routed.streams import Sessions

SLOW: Final = 0.5  # seconds between two looks at files, members and sessions
KEEP: Final = 5.0  # and between two times that link state is written to its file
REST: Final = 5.0  # times as long as the last computation took, before the next: it is one burst
LONGEST: Final = 0.2  # seconds of that

log = structlog.get_logger(__name__)


class Outlet(Protocol):
    """Where paths go."""

    def turn(self, turn: Turn) -> None: ...

    def numbers(self, numbers: Numbers) -> None: ...


@dataclass(frozen=True)
class Places:
    """Files and sockets of the process."""

    orders: Path = names.ROUTED_FILE
    socket: Path = names.ROUTED_SOCKET
    trust: Path = names.TRUST_FOLDER
    link_state: Path = names.LINK_STATE_FILE


async def serve(places: Places, outlets: Sequence[Outlet] = ()) -> None:
    """Run until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    file = OrdersFile(places.orders)
    orders = await _first(file, ended)
    if orders is None:
        return
    async with asyncio.TaskGroup() as group:
        daemon = Daemon(places, orders, outlets, group)
        works = [group.create_task(work, name=name) for name, work in daemon.works(file)]
        await ended.wait()
        for task in {*works, *daemon.tasks}:
            task.cancel()
    daemon.keep()
    log.info("ended; the data plane goes on")


async def _first(file: OrdersFile, ended: asyncio.Event) -> Orders | None:
    """The first orders that can be read; None: it was told to end before."""
    while not ended.is_set():
        orders = _read(file)
        if orders:
            return orders
        await asyncio.sleep(SLOW)
    return None


def _read(file: OrdersFile) -> Orders | None:
    try:
        return file.read()
    except Undecodable as error:
        log.warning("orders that cannot be read", error=str(error))
        return None


class Daemon:
    """One host's, once it knows who it is."""

    def __init__(
        self, places: Places, orders: Orders, outlets: Sequence[Outlet], group: asyncio.TaskGroup
    ) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._places = places
        self._group = group
        self._now = asyncio.get_running_loop().time
        self._credentials = Credentials(places.trust)
        began = time.time_ns() // 1_000_000
        self._core = Core(orders, self._credentials.keys, lambda: secrets.randbits(64), began)
        self._sessions = Sessions(orders.host, self._credentials, self, self.start)
        self._desk = Desk(places.socket, self, self.start)
        self._outlets: tuple[Outlet, ...] = (*outlets, self._desk)
        self._stirred = asyncio.Event()
        self._told: Numbers | None = None
        self._computed = 0
        self._took = 0.0
        self._obey(orders)
        self._core.restore(memory.load(places.link_state, self._now(), time.time()))
        self._core.choose()

    def works(self, file: OrdersFile) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        return [
            ("listen", self._listen()),
            ("probe", self._probe()),
            ("compute", self._compute()),
            ("look", self._look(file)),
        ]

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """One more task, of a session or of who asks."""
        task = self._group.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _listen(self) -> None:
        async with await self._sessions.listen(), await self._desk.listen():
            await asyncio.Event().wait()

    async def _probe(self) -> None:
        """On time, if the machine lets it; what is late is not made up for."""
        probes, due = ProbeSocket(), self._now()
        try:
            while True:
                for datagram in probes.read():
                    self._core.hear(*datagram)
                for address, data in self._core.tick(self._now()):
                    probes.send(address, data)
                self._stir()
                due = max(due + self._core.prober.timing.interval, self._now())
                await asyncio.sleep(due - self._now())
        finally:
            probes.close()

    def _stir(self) -> None:
        """Something may be new."""
        self._stirred.set()
        flood = self._core.flood
        self._sessions.stir(peer for peer in self._sessions.streams if flood.waits(peer))

    async def _compute(self) -> None:
        """At once; then as seldom as what it takes asks for."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            start = self._now()
            turns = self._core.compute()
            if turns:
                self._tell(turns)
                self._computed += 1
                self._took = self._now() - start
                await asyncio.sleep(min(REST * self._took, LONGEST))

    def _tell(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            for outlet in self._outlets:
                outlet.turn(turn)

    async def _look(self, file: OrdersFile) -> None:
        """At what does not change often."""
        kept = self._now()
        while True:
            if orders := _read(file):
                self._obey(orders)
            if self._credentials.renew():
                log.info("another certificate")
            self._core.choose()
            self._tell_numbers()
            self._sessions.dial_missing(self._now())
            if self._now() - kept >= KEEP:
                kept = self._now()
                self.keep()
            await asyncio.sleep(SLOW)

    def _obey(self, orders: Orders) -> None:
        core = self._core
        if (orders.host, orders.number) != (core.orders.host, core.orders.number):
            log.warning("orders for another host", host=orders.host, number=orders.number)
            return
        self._tell(core.obey(orders))
        reached = core.addresses
        self._sessions.want({h: str(reached[h]) for h in core.ring if h in reached})
        self._sessions.leave({member.name for member in orders.members})

    def _tell_numbers(self) -> None:
        numbers = self._core.numbers()
        if numbers != self._told:
            self._told = numbers
            for outlet in self._outlets:
                outlet.numbers(numbers)

    def keep(self) -> None:
        """Link state, for the next time."""
        entries = self._core.flood.entries.values()
        with _told_if_it_fails(self._places.link_state):
            memory.save(self._places.link_state, entries, self._now(), time.time())

    # ── what is said in sessions: see `streams.Exchange` ──

    def open(self, peer: str, certificate: bytes) -> bool:
        if not self._core.flood.open(peer, self._now()):
            return False
        self._credentials.keys.learn(peer, certificate)
        return True

    def close(self, peer: str) -> None:
        self._core.flood.close(peer)

    def receive(self, peer: str, data: bytes) -> bool:
        heard = self._core.flood.receive(peer, data, self._now())
        self._stir()
        return heard

    def send(self, peer: str, most: int) -> list[bytes]:
        return self._core.flood.send(peer, self._now(), most)

    # ── what is asked at the desk ──

    def answer(self, question: Question) -> list[Value]:
        core = self._core
        match question.ask:
            case "paths":
                return [core.router.whole(routing) for routing in core.router.routings]
            case "numbers":
                return [core.numbers()]
            case "routes":
                return [Routes(routes=core.router.explain(question.routing, question.to))]
            case "traffic":
                core.talk = question.talk
                core.load(question.load)
                core.choose()
        return [self._report()]

    def _report(self) -> RoutedReport:
        core = self._core
        return RoutedReport(
            host=core.orders.host,
            links=core.links(self._sessions.streams),
            hosts=len(core.flood.entries),
            refused=dict(core.flood.counts + core.refused),
            computed=self._computed,
            took=round(self._took * 1000, 3),
        )


@contextmanager
def _told_if_it_fails(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("not written", path=str(path), error=str(error))
