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
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from seaway.errors import Undecodable
from seaway.model import codec
from seaway.model.facts import Value
from seaway.model.reports import BlackHole
from seaway.model.routing import Apart, Numbers, Orders, Question, RoutedReport, Routes, Told, Turn
from seaway.presence import alone
from seaway.routed import memory
from seaway.routed.core import Core
from seaway.routed.credentials import Credentials
from seaway.routed.desk import Desk
from seaway.routed.files import Files
from seaway.routed.orders_file import OrdersFile
from seaway.routed.outlets import Outlet, Outlets
from seaway.routed.probing import ProbeSocket, room
from seaway.routed.senses import Feeling, Senses
from seaway.routed.streams import Sessions
from seaway.trust.folder import Folder

SLOW: Final = 0.5  # seconds between two looks at files, members and sessions
KEEP: Final = 5.0  # and between two times that link state is written to its file
REST: Final = 5.0  # times as long as the last computation took, before the next: it is one burst
LONGEST: Final = 0.2  # seconds of that
HEARD: Final = 0.5  # seconds in which one that begins anew waits for what its neighbours know

log = structlog.get_logger(__name__)


async def serve(files: Files, outlets: Sequence[Outlet], senses: Senses) -> None:
    """Run until SIGTERM or SIGINT, or until orders are taken back."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    with alone(files.pid, "routed"):
        file = OrdersFile(files.orders)
        orders = await _first(file, ended)
        if orders:
            await _serve(files, file, Begun(orders, outlets, senses, ended))
    log.info("ended; the data plane goes on")


class Begun(NamedTuple):
    """What a daemon begins with."""

    orders: Orders
    outlets: Sequence[Outlet]
    senses: Senses
    ended: asyncio.Event


async def _serve(files: Files, file: OrdersFile, begun: Begun) -> None:
    async with asyncio.TaskGroup() as group:
        daemon = Daemon(files, begun, group)
        works = [group.create_task(work, name=name) for name, work in daemon.works(file)]
        await begun.ended.wait()
        for task in {*works, *daemon.tasks}:
            task.cancel()
    daemon.keep()


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


def stamp() -> int:
    """Of a probe."""
    return secrets.randbits(64)


class Daemon:
    """One host's, once it knows who it is."""

    def __init__(self, files: Files, begun: Begun, group: asyncio.TaskGroup) -> None:
        orders = begun.orders
        self.tasks: set[asyncio.Task[None]] = set()
        self._files = files
        self._group = group
        self._now = asyncio.get_running_loop().time
        self._credentials = Credentials(Folder(files.trust))
        self._ended = begun.ended
        began = time.time_ns() // 1_000_000
        self._core = Core(orders, self._credentials.keys, stamp, room, began)
        self._sessions = Sessions(orders.host, self._credentials, self, self.start)
        self._desk = Desk(files.socket, self, self.start)
        self._outlets = Outlets(begun.outlets)
        self._feeling = Feeling(begun.senses, self._core, self._now)
        self._dead: set[str] | None = None  # nothing was told yet
        self._holes: frozenset[BlackHole] = frozenset()
        self._seen: set[str] = set()  # whose links were up at the last look
        self._stirred = asyncio.Event()
        self._known = asyncio.Event()  # what was known before it began anew, or nobody tells
        self._born = self._now()
        self._told: Numbers | None = None
        self._written = -1  # computations, when what was told was written last
        self._computed = 0
        self._took = 0.0
        self._obey(orders)
        self._core.restore(memory.load(files.link_state, self._now(), time.time()))
        self._core.choose()

    def works(self, file: OrdersFile) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        return [
            ("listen", self._listen()),
            ("probe", self._probe()),
            ("compute", self._compute()),
            ("look", self._look(file)),
            ("feel", self._feeling.feel()),
        ]

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """One more task, of a session or of who asks."""
        task = self._group.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _listen(self) -> None:
        """Who asks is answered once there is something to tell: none of the paths of before is to
        be taken back because it is not known yet.
        """
        async with self._sessions.listen():
            await self._known.wait()
            async with await self._desk.listen():
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
                self._tell_dead()
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
            start, settled = self._now(), self._core.settled
            turns = self._core.compute()
            if settled and not self._known.is_set() and self._has_heard():
                self._known.set()
                self._write_told()  # first: an agent that hears of it may end, and the next reads
                turns = [self._core.router.whole(r) for r in self._core.router.routings]
            if turns:
                self._tell(turns)
                self._computed += 1
                self._took = self._now() - start
                await asyncio.sleep(min(REST * self._took, LONGEST))

    def _has_heard(self) -> bool:
        """All that those know whom it sees: what it remembers may be older, and paths by that would
        stand for the moment until they have told. Not for long: one may be dead.
        """
        seen = (host for host, link in self._core.prober.links.items() if link.up)
        return all(map(self._core.flood.heard, seen)) or self._now() - self._born >= HEARD

    def _tell(self, turns: Iterable[Turn]) -> None:
        """What was told before this process began holds until it knows what it knew before."""
        for turn in turns if self._known.is_set() else ():
            self._outlets.turn(turn)
            self._desk.turn(turn)

    def _tell_dead(self) -> None:
        """At once: packets need not wait for other paths."""
        dead = self._core.dead()
        if self._known.is_set() and dead != self._dead:
            self._bury(dead)

    def _bury(self, dead: set[str]) -> None:
        self._dead = dead
        self._outlets.dead(dead)

    async def _look(self, file: OrdersFile) -> None:
        """At what does not change often."""
        kept = self._now()
        while True:
            if orders := _read(file):
                self._obey(orders)
            elif file.taken_back:
                self._ended.set()
            if self._credentials.renew():
                log.info("another certificate")
            self._core.choose()
            if self._dead is not None:
                self._bury(self._dead)
            self._outlets.again(self._now(), self._core.router.whole)
            self._tell_numbers()
            self._log_holes()
            self._write_told()
            self._see()
            self._sessions.dial_missing(self._now())
            if self._now() - kept >= KEEP:
                kept = self._now()
                self.keep()
            await asyncio.sleep(SLOW)

    def _see(self) -> None:
        """A link that is up again is of no use before there is a session to tell of it."""
        seen = {host for host, link in self._core.prober.links.items() if link.up}
        for host in seen - self._seen:
            self._sessions.see(host)
        self._seen = seen

    def _obey(self, orders: Orders) -> None:
        core = self._core
        if (orders.host, orders.number) != (core.orders.host, core.orders.number):
            log.warning("orders for another host", host=orders.host, number=orders.number)
            self._ended.set()  # the next one is that host
            return
        self._outlets.know({member.name: member.number for member in orders.members})
        self._tell(core.obey(orders))
        reached = core.addresses
        self._sessions.want({h: str(reached[h]) for h in core.ring if h in reached})
        self._sessions.leave({member.name for member in orders.members})

    def _tell_numbers(self) -> None:
        numbers = self._core.numbers()
        if numbers != self._told:
            self._told = numbers
            self._written = -1
            self._desk.numbers(numbers)

    def _log_holes(self) -> None:
        holes = self._core.holes()
        for hole in holes - self._holes:
            log.warning("black hole", found=hole.told())
        for hole in self._holes - holes:
            log.info("no black hole any more", to=hole.target, size=hole.size)
        self._holes = holes

    def _write_told(self) -> None:
        """For an agent that begins anew while nobody answers: what it did before still holds."""
        if self._written == self._computed or not self._known.is_set():
            return
        router = self._core.router
        turns = tuple(router.whole(routing) for routing in router.routings)
        told = Told(turns=turns, numbers=self._told or self._core.numbers())
        with _told_if_it_fails(self._files.told):
            memory.replace(self._files.told, codec.encode(told))
            self._written = self._computed

    def keep(self) -> None:
        """What is known, for the next time."""
        self._write_told()
        entries = self._core.flood.entries.values()
        with _told_if_it_fails(self._files.link_state):
            memory.save(self._files.link_state, entries, self._now(), time.time())

    # ── what is said in sessions: see `streams.Exchange` ──

    def admits(self, peer: str, certificate: bytes) -> bool:
        keys = self._credentials.keys
        return self._core.flood.admits(peer, self._now()) and keys.learn(peer, certificate)

    def open(self, peer: str) -> None:
        self._core.flood.open(peer)

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
            case "apart":
                return [Apart(groups=core.router.apart(question.to))]
        return [self._report()]

    def _report(self) -> RoutedReport:
        core = self._core
        return RoutedReport(
            host=core.orders.host,
            links=core.links(self._sessions.streams),
            hosts=len(core.flood.entries),
            refused=core.wrong(),
            computed=self._computed,
            took=round(self._took * 1000, 3),
        )


@contextmanager
def _told_if_it_fails(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("not written", path=str(path), error=str(error))
