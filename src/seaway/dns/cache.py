"""What others answered, for as long as they say so."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from seaway.dns import wire
from seaway.dns.wire import Message, Query

MOST: Final = 16 << 20  # bytes
_ENTRY, _RECORD = 1000, 250  # what one takes besides its data, and where each of its records is
_LARGEST: Final = 4096  # bytes of one: larger ones are asked for anew
_LONGEST, _LONGEST_NEGATIVE = 3600, 300  # seconds


class Key(NamedTuple):
    """What may be answered alike."""

    name: bytes  # in lower case, as bytes
    type: int
    secure: bool
    unchecked: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of others, without their OPT."""

    data: bytes
    message: Message

    def later(self, query: Query, seconds: int, limit: int) -> bytes:
        """To this question (of the same name), so many seconds later."""
        data = wire.with_ttls_less(self.data, self.message, seconds) if seconds else self.data
        flags = self.message.flags & ~(wire.AA | wire.AD) | wire.RA
        counts = [len(self.message.answers), len(self.message.authorities)]
        counts.append(len(self.message.others) + bool(query.edns))
        last = wire.opt(secure=query.edns.secure) if query.edns else b""
        head = wire.HEADER.pack(query.id, flags, 1, *counts)
        return wire.cut(head + query.question + data[12 + len(query.question) :] + last, limit)


def key_of(query: Query, labels: tuple[bytes, ...]) -> Key:
    secure = bool(query.edns and query.edns.secure)
    name = wire.as_name(labels).lower()
    return Key(name, query.type, secure, bool(query.flags & wire.CD))


def cost(key: Key, answered: Answered) -> int:
    """Bytes of memory, or a few more: others choose how large their answers are."""
    message = answered.message
    records = len(message.answers) + len(message.authorities) + len(message.others)
    octets = len(answered.data) + len(message.question) + len(key.name)
    return _ENTRY + octets + _RECORD * records


class Cache:
    """Of so many bytes at `most`: what was used least lately goes first. From any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[Key, tuple[Answered, float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, key: Key, answered: Answered, now: float) -> None:
        lives = lifetime(answered)
        if not lives or len(answered.data) > _LARGEST:
            return
        with self._lock:
            self._forget(key)
            self._kept[key] = answered, now, now + lives
            self._size += cost(key, answered)
            while self._size > self._most:
                self._forget(next(iter(self._kept)))

    def get(self, key: Key, now: float) -> tuple[Answered, int] | None:
        """With its age in seconds."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            answered, born, ends = found
            if now >= ends:
                self._forget(key)
                return None
            self._kept.move_to_end(key)
            return answered, int(now - born)

    def _forget(self, key: Key) -> None:
        if key in self._kept:
            answered, *_ = self._kept.pop(key)
            self._size -= cost(key, answered)


def lifetime(answered: Answered) -> int:
    """Seconds for which it holds; 0: it is not to be kept. RFC 2308, 5: an answer that there is
    nothing holds for the least of what its SOA says.
    """
    message, data = answered.message, answered.data
    if message.flags & wire.TC or message.rcode not in (wire.NOERROR, wire.NXDOMAIN):
        return 0
    positive = message.rcode == wire.NOERROR and message.answers
    ttls = [r.ttl for r in (*message.answers, *message.authorities, *message.others)]
    if positive:
        return min(*ttls, _LONGEST)
    for record in message.authorities:
        if record.type == wire.SOA and record.end - record.data >= 22:
            least = int.from_bytes(data[record.end - 4 : record.end], "big")
            return min(*ttls, least, _LONGEST_NEGATIVE)
    return 0
