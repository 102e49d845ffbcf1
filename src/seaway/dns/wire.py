"""What stands in DNS messages, as bytes: what was asked, and where in an answer things are.

RFC 1035, 4.1; RFC 6891 (EDNS); RFC 2308 (negative answers). No I/O. Whatever is not well formed
raises `Malformed`, and nothing else is raised.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("!HHHHHH")  # id, flags, and how many of each section
_QUESTION: Final = struct.Struct("!HH")  # type, class
_RECORD: Final = struct.Struct("!HHIH")  # type, class, TTL, length of what follows
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
A, NS, CNAME, SOA, PTR, MX, AAAA, SRV, OPT, IXFR, AXFR, ANY = (
    *(1, 2, 5, 6, 12, 15, 28, 33, 41, 251, 252),
    255,
)
IN: Final = 1
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
OPCODE: Final = 0x7800
DO: Final = 0x8000  # of an OPT's flags
LEAST, MOST = 512, 1232  # bytes of an answer by UDP: what all take, and what passes everywhere
LONGEST: Final = 0xFFFF  # of a message
_LONGEST_NAME, _LONGEST_LABEL = 255, 63
ASKED: Final = b"\xc0\x0c"  # a pointer to the name of the question
_POINTER = 0xC0


class Malformed(Exception):
    """No DNS message."""


class Edns(NamedTuple):
    size: int  # that the sender takes by UDP
    version: int
    secure: bool  # DO: it wants signatures too


@dataclass(frozen=True, slots=True)
class Query:
    """A question of somebody. `labels` as they were sent; `end`: where the question ends."""

    id: int
    flags: int
    labels: tuple[bytes, ...]
    type: int
    kind: int  # the class
    question: bytes  # as it stands in the message
    edns: Edns | None

    @property
    def name(self) -> str:
        """In lower case, without the last dot."""
        return b".".join(self.labels).decode("latin-1").lower()

    @property
    def odd(self) -> bool:
        """Whether a label holds what a name as text cannot tell."""
        return any(b"." in label for label in self.labels)

    @property
    def limit(self) -> int:
        """Of an answer by UDP."""
        return LEAST if self.edns is None else max(LEAST, min(self.edns.size, MOST))


class Record(NamedTuple):
    """Where a resource record is in its message."""

    start: int
    type: int
    at: int  # of its fixed part: type, class, TTL, length
    ttl: int
    end: int

    @property
    def data(self) -> int:
        return self.at + _RECORD.size


class Message(NamedTuple):
    """Where things are in a message."""

    id: int
    flags: int
    question: bytes
    answers: tuple[Record, ...]
    authorities: tuple[Record, ...]
    others: tuple[Record, ...]
    end: int

    @property
    def rcode(self) -> int:
        return self.flags & 0xF


def is_query(data: bytes) -> bool:
    """Whether an answer is due at all, be it that something is wrong: never to an answer."""
    return len(data) >= HEADER.size and not data[2] & 0x80


def opcode(data: bytes) -> int:
    return int.from_bytes(data[2:4], "big") & OPCODE


def parse_query(data: bytes) -> Query:
    """A well-formed message with one question. Its opcode, class and so on are anything."""
    message = parse(data)
    labels, at = _labels(data, HEADER.size)
    kind, of = _QUESTION.unpack_from(data, at)
    return Query(
        id=message.id,
        flags=message.flags,
        labels=labels,
        type=kind,
        kind=of,
        question=message.question,
        edns=_edns(data, message),
    )


def parse(data: bytes) -> Message:
    """With exactly one question."""
    if len(data) < HEADER.size:
        raise Malformed("too short for a header")
    number, flags, questions, *counts = HEADER.unpack_from(data)
    if questions != 1:
        raise Malformed(f"{questions} questions")
    _, at = _labels(data, HEADER.size)
    at += _QUESTION.size
    if at > len(data):
        raise Malformed("too short for its question")
    question = data[HEADER.size : at]
    sections: list[tuple[Record, ...]] = []
    for count in counts:
        found = []
        for _ in range(count):
            record = _record(data, at)
            found.append(record)
            at = record.end
        sections.append(tuple(found))
    answers, authorities, others = sections
    return Message(number, flags, question, answers, authorities, others, at)


def _labels(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """A name without pointers, and where it ends: the first of a message can point to nothing."""
    labels: list[bytes] = []
    length = 1
    while True:
        size = _octet(data, at)
        at += 1
        if not size:
            return tuple(labels), at
        length += size + 1
        if size & _POINTER or at + size > len(data) or length > _LONGEST_NAME:
            raise Malformed("no name")
        labels.append(data[at : at + size])
        at += size


def _skip_name(data: bytes, at: int) -> int:
    """Where a name ends; where it points to is not looked at."""
    first = at
    while True:
        size = _octet(data, at)
        if size & _POINTER == _POINTER:
            return at + 2
        if size & _POINTER or at - first > _LONGEST_NAME:
            raise Malformed("no name")
        at += 1 + size
        if not size:
            return at


def name_at(data: bytes, at: int) -> bytes:
    """A name without pointers, as bytes; each points further back than the one before."""
    name, bound = bytearray(), at
    while True:
        size = _octet(data, at)
        if size & _POINTER == _POINTER:
            at = (size & ~_POINTER) << 8 | _octet(data, at + 1)
            if at >= bound:
                raise Malformed("a pointer that does not lead back")
            bound = at
            continue
        if size & _POINTER or at + 1 + size > len(data) or len(name) + size >= _LONGEST_NAME:
            raise Malformed("no name")
        name += data[at : at + 1 + size]
        if not size:
            return bytes(name)
        at += 1 + size


def _octet(data: bytes, at: int) -> int:
    if at >= len(data):
        raise Malformed("too short")
    return data[at]


def _record(data: bytes, start: int) -> Record:
    at = _skip_name(data, start)
    if at + _RECORD.size > len(data):
        raise Malformed("too short for a record")
    kind, _, ttl, length = _RECORD.unpack_from(data, at)
    end = at + _RECORD.size + length
    if end > len(data):
        raise Malformed("too short for a record's data")
    return Record(start, kind, at, ttl, end)


def _edns(data: bytes, message: Message) -> Edns | None:
    found = [record for record in message.others if record.type == OPT]
    if not found:
        return None
    record = found[0]
    if len(found) > 1 or record.at - record.start != 1 or data[record.start]:
        raise Malformed("more than one OPT, or one that has a name")
    _, size, ttl, _ = _RECORD.unpack_from(data, record.at)
    return Edns(size, ttl >> 16 & 0xFF, bool(ttl & DO))


def opt(rcode: int = 0, *, secure: bool = False) -> bytes:
    """Ours. Options of others are none of ours, and not answered (RFC 6891, 6.1.2)."""
    flags = DO if secure else 0
    return b"\0" + _RECORD.pack(OPT, MOST, (rcode >> 4) << 24 | flags, 0)


def answer(query: Query, rcode: int, *, flags: int = 0) -> bytes:
    """One without any record but the OPT that a question with one is due."""
    own = QR | RA | flags | query.flags & (OPCODE | RD | CD) | rcode & 0xF
    last = opt(rcode, secure=query.edns.secure) if query.edns else b""
    return HEADER.pack(query.id, own, 1, 0, 0, bool(last)) + query.question + last


def refusal(data: bytes, rcode: int) -> bytes:
    """Of what cannot be read further than its header."""
    number, flags, *_ = HEADER.unpack_from(data)
    return HEADER.pack(number, QR | RA | flags & (OPCODE | RD) | rcode, 0, 0, 0, 0)


def failure(data: bytes) -> bytes | None:
    """For a question that could not be answered, whatever it is; None: it is no question."""
    try:
        return answer(parse_query(data), SERVFAIL) if is_query(data) else None
    except Malformed:
        return refusal(data, SERVFAIL)


def cut(data: bytes, limit: int) -> bytes:
    """As much of an answer as fits, its last records left out and the TC bit set; an OPT stays."""
    if len(data) <= limit:
        return data
    message = parse(data)
    last = [r for r in message.others if r.type == OPT]
    tail = data[last[0].start : last[0].end] if last else b""
    end, kept = HEADER.size + len(message.question), 0
    for record in message.answers:
        if record.end + len(tail) > limit:
            break
        end, kept = record.end, kept + 1
    head = HEADER.pack(message.id, message.flags | TC, 1, kept, 0, bool(tail))
    return head + data[HEADER.size : end] + tail


def with_ttls_less(data: bytes, message: Message, seconds: int) -> bytes:
    """The same answer so much later."""
    later = bytearray(data)
    for record in (*message.answers, *message.authorities, *message.others):
        if record.type != OPT:
            struct.pack_into("!I", later, record.at + 4, max(0, record.ttl - seconds))
    return bytes(later)


def bare(data: bytes, message: Message) -> bytes:
    """Without an OPT, and what may come after one; pointers lead back only."""
    first = next((i for i, r in enumerate(message.others) if r.type == OPT), None)
    if first is None:
        return data[: message.end]
    counts = (1, len(message.answers), len(message.authorities), first)
    return (
        HEADER.pack(message.id, message.flags, *counts)
        + data[HEADER.size : message.others[first].start]
    )


def as_name(labels: Sequence[bytes]) -> bytes:
    """As bytes; `Malformed` where it can be no name."""
    if not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
        raise Malformed("no name")
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(name) > _LONGEST_NAME:
        raise Malformed("no name")
    return name


def from_text(name: str) -> tuple[bytes, ...]:
    """The labels of a name as text, which may end with a dot."""
    try:
        return tuple(name.rstrip(".").encode("ascii").split(b"."))
    except UnicodeEncodeError:
        raise Malformed(f"{name!r} is no name") from None


def question(labels: Sequence[bytes], kind: int) -> bytes:
    """Of class IN."""
    return as_name(labels) + _QUESTION.pack(kind, IN)


def record(name: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    """Of class IN. `name` as bytes, perhaps a pointer."""
    return name + _RECORD.pack(kind, IN, ttl, len(data)) + data
