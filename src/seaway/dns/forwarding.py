"""Questions for others, put to the host's own servers: in their order, by what cannot be guessed.

Each try has a number, a port and a spelling of the name of its own (RFC 5452; the last is known as
0x20), and only what repeats all of them is an answer. Whoever asks the same meanwhile gets the same
answer, so that no number of questions makes a forged one likelier.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Final, Protocol

from seaway.dns import answers, wire
from seaway.dns.cache import Answered, Cache, Key, key_of
from seaway.dns.resolver import Foreign
from seaway.dns.servers import Servers
from seaway.dns.wire import Malformed, Message

PATIENCE: Final = 1.5  # seconds for one try
TRIES: Final = 3  # before a stub resolver asks again, after 5 seconds
AVOID: Final = 10.0  # seconds for which one that did not answer is the last to be asked
MOST: Final = 1024  # questions of all askers that wait for an answer
SHARE: Final = 64  # of one
RESERVED: Final = 4  # of each, when all others are taken


class Budget:
    """Who may have how many questions waiting, or connections. From any thread."""

    def __init__(self, most: int = MOST, share: int = SHARE, reserved: int = RESERVED) -> None:
        self._most, self._share, self._reserved = most, share, reserved
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._all = 0

    def take(self, address: str) -> bool:
        """One more, if it may be; then it is to be given back."""
        with self._lock:
            least = self._reserved if self._all >= self._most else self._share
            if self._waiting[address] >= least or self._all >= 2 * self._most:
                return False
            self._waiting[address] += 1
            self._all += 1
            return True

    def give_back(self, address: str) -> None:
        with self._lock:
            self._all -= 1
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]


Judge = Callable[[bytes], bool]  # whether this is the answer that is waited for


class Ways(Protocol):
    """How a server is asked. `OSError` (also `TimeoutError`): it does not answer."""

    async def by_udp(self, server: str, message: bytes, judge: Judge) -> bytes: ...

    async def by_tcp(self, server: str, message: bytes) -> bytes: ...


@dataclass(eq=False)
class Forwarder:
    """`draw`: so many random bits."""

    servers: Servers
    ways: Ways
    now: Callable[[], float]
    draw: Callable[[int], int]
    cache: Cache = field(default_factory=Cache)
    budget: Budget = field(default_factory=Budget)
    _under_way: dict[Key, asyncio.Future[Answered | None]] = field(default_factory=dict)
    _silent: dict[str, float] = field(default_factory=dict)  # until when each is avoided

    def kept(self, foreign: Foreign, most: int = 0) -> bytes | None:
        """An answer that is known. From any thread."""
        found = self.cache.get(key_of(foreign.query, foreign.labels), self.now())
        return found and _told(foreign, *found, most)

    async def ask(self, foreign: Foreign, most: int = 0) -> bytes:
        """The answer to be sent; SERVFAIL where nobody knows."""
        key = key_of(foreign.query, foreign.labels)
        if (found := self.kept(foreign, most)) is not None:
            return found
        answered = await self._once(key, lambda: self._try_all(foreign, key))
        if answered is None:
            return wire.answer(foreign.query, wire.SERVFAIL)
        return _told(foreign, answered, 0, most)

    async def _once(
        self, key: Key, work: Callable[[], Awaitable[Answered | None]]
    ) -> Answered | None:
        """Others that ask the same wait for the first."""
        waiting = self._under_way.get(key)
        if waiting is not None:
            return await asyncio.shield(waiting)
        self._under_way[key] = waiting = asyncio.get_running_loop().create_future()
        answered = None
        try:
            answered = await work()
        finally:
            del self._under_way[key]
            waiting.set_result(answered)
        return answered

    async def _try_all(self, foreign: Foreign, key: Key) -> Answered | None:
        """One that says that it cannot is believed if no other one can; what may have been lost is
        sent again.
        """
        last, spoken = None, set[str]()
        for server in islice(cycle(self._in_order()), TRIES):
            if server in spoken:
                continue
            try:
                answered = await asyncio.wait_for(self._try(server, foreign), PATIENCE)
            except (OSError, Malformed):
                self._silent[server] = self.now() + AVOID
                continue
            self._silent.pop(server, None)
            spoken.add(server)
            last = answered
            if answered.message.rcode in (wire.NOERROR, wire.NXDOMAIN):
                self.cache.put(key, answered, self.now())
                break
        return last

    def _in_order(self) -> list[str]:
        now = self.now()
        return sorted(self.servers.now(), key=lambda server: self._silent.get(server, 0) > now)

    async def _try(self, server: str, foreign: Foreign) -> Answered:
        """By TCP what does not fit, and where the spelling was changed on the way."""
        own = self._message(foreign)
        judged: list[Message] = []

        def judge(data: bytes) -> bool:
            message = _as_answer(data, own)
            judged[:] = [message] if message else []
            return bool(message)

        data = await self.ways.by_udp(server, own, judge)
        exact = bool(judged) and judged[0].question == own[12 : 12 + len(judged[0].question)]
        if not exact or judged[0].flags & wire.TC:
            data = await self.ways.by_tcp(server, own)
            if not judge(data):
                raise Malformed("another answer by TCP")
        bare = wire.bare(data, judged[0])
        return Answered(bare, wire.parse(bare))

    def _message(self, foreign: Foreign) -> bytes:
        query = foreign.query
        labels = [self._spelt(label) for label in foreign.labels]
        secure = bool(query.edns and query.edns.secure)
        head = wire.HEADER.pack(self.draw(16), wire.RD | query.flags & wire.CD, 1, 0, 0, 1)
        return head + wire.question(labels, query.type) + wire.opt(secure=secure)

    def _spelt(self, label: bytes) -> bytes:
        """Each letter large or small, by chance."""
        bits = self.draw(len(label))
        swapped = (
            octet ^ 0x20 if bits >> i & 1 and chr(octet).isalpha() and octet < 0x80 else octet
            for i, octet in enumerate(label)
        )
        return bytes(swapped)


def _as_answer(data: bytes, own: bytes) -> Message | None:
    """What has our number, and our question but for its spelling."""
    try:
        message = wire.parse(data)
    except Malformed:
        return None
    asked = own[12 : 12 + len(message.question)]
    same = message.id == int.from_bytes(own[:2], "big") and message.flags & wire.QR
    return message if same and message.question.lower() == asked.lower() else None


def _told(foreign: Foreign, answered: Answered, age: int, most: int) -> bytes:
    limit = most or foreign.query.limit
    if not foreign.target:
        return answered.later(foreign.query, age, limit)
    data = wire.with_ttls_less(answered.data, answered.message, age)
    try:
        return answers.chained(foreign.query, foreign.target, data, limit)
    except Malformed:
        return wire.answer(foreign.query, wire.SERVFAIL)
