"""Whom to answer what: the names of the asker's networks at once, others' by who knows them.

Answers are kept as bytes, by the question as it came but for its id, for all askers of the same
networks. A change of names forgets all of them: who was answering meanwhile keeps his in what was
thrown away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import cycle
from typing import Final, NamedTuple

from seaway.dns import answers, wire
from seaway.dns.answers import Shuffled
from seaway.dns.lookup import Found, Missing, Names, find
from seaway.dns.wire import Malformed, Query
from seaway.model.naming import Asker

LONGEST_KEPT: Final = 512  # bytes of a question
_QUESTION, _ANSWER = 400, 60  # bytes that each takes besides its own

Kept = dict[bytes, Callable[[], bytes]]  # by all of a question but its id; gives the next one


@dataclass(frozen=True, slots=True)
class Foreign:
    """A question for others; `target`: of whom the name that was asked is an alias."""

    query: Query
    target: str = ""

    @property
    def labels(self) -> tuple[bytes, ...]:
        return wire.from_text(self.target) if self.target else self.query.labels


class Most(NamedTuple):
    """Bytes of answers that are kept: where there would be more, these begin anew. Who asks chooses
    how many there are, and names how large.
    """

    alike: int = 4 << 20  # for askers of the same networks
    all: int = 32 << 20


_USUAL: Final = Most()


@dataclass(eq=False, slots=True)
class _Answers:
    """For all askers of the same networks."""

    by_question: Kept = field(default_factory=dict)
    size: int = 0

    def clear(self) -> int:
        """How much that was."""
        self.by_question.clear()
        size, self.size = self.size, 0
        return size


@dataclass(eq=False, slots=True)
class _Memory:
    """What was found since names changed last. Answers are kept from any thread."""

    most: Most
    askers: dict[str, tuple[Asker, _Answers]] = field(default_factory=dict)
    answers: dict[Asker, _Answers] = field(default_factory=dict)
    known: dict[str, Kept] = field(default_factory=dict)
    size: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(
        self, answers: _Answers, question: bytes, made: Sequence[bytes]
    ) -> Callable[[], bytes]:
        """By which they are given in turn."""
        given = cycle(made).__next__
        size = _QUESTION + len(question) + sum(_ANSWER + len(one) for one in made)
        with self.lock:
            if answers.size + size > self.most.alike:
                self.size -= answers.clear()
            if self.size + size > self.most.all:
                self.size -= sum(one.clear() for one in self.answers.values())
            answers.by_question[question] = given
            answers.size += size
            self.size += size
        return given


class Resolver:
    def __init__(self, told: Names, shuffled: Shuffled, most: Most = _USUAL) -> None:
        self._told = told
        self._shuffled = shuffled
        self._memory = _Memory(most)
        self.known = self._memory.known  # answers, by the asker's address as sockets tell it

    def forget(self) -> None:
        """Names changed."""
        self._memory = _Memory(self._memory.most)
        self.known = self._memory.known

    def answer(self, data: bytes, address: str, most: int = 0) -> bytes | Foreign | None:
        """What a message from there is due. `most`: bytes, by TCP; by UDP the question tells.

        None: nothing at all.
        """
        if not wire.is_query(data):
            return None
        memory = self._memory  # before names are looked at
        try:
            query = wire.parse_query(data)
        except Malformed:
            return wire.refusal(data, wire.NOTIMP if wire.opcode(data) else wire.FORMERR)
        asker, kept = self._asker(address, memory)
        if rcode := _refused(query, asker):
            return wire.answer(query, rcode)
        assert asker
        found = self._find(query, asker)
        if found is None:
            return self._for_others(query)
        if isinstance(found, Found) and found.elsewhere and query.type in (wire.A, wire.AAAA):
            return self._alias(query, found, asker, most)
        keeps = not most and len(data) <= LONGEST_KEPT
        orders = answers.ORDERS if keeps else 1
        made = answers.build(query, found, most or query.limit, self._shuffled, orders)
        return data[:2] + (memory.keep(kept, data[2:], made)() if keeps else made[0])

    def _find(self, query: Query, asker: Asker) -> Found | Missing | None:
        return None if query.odd else find(query.name, asker, self._told)

    def _for_others(self, query: Query) -> bytes | Foreign:
        """Who wants no recursion has to ask others himself."""
        return Foreign(query) if query.flags & wire.RD else wire.answer(query, wire.REFUSED)

    def _alias(self, query: Query, found: Found, asker: Asker, most: int) -> bytes | Foreign:
        try:
            asked = wire.question(wire.from_text(found.elsewhere), query.type)
        except Malformed:
            return wire.answer(query, wire.SERVFAIL)
        target = find(found.elsewhere.lower(), asker, self._told)
        if target is None:
            return Foreign(query, found.elsewhere)
        addresses = target.addresses if isinstance(target, Found) else ()
        there = wire.parse_query(wire.HEADER.pack(0, query.flags, 1, 0, 0, 0) + asked)
        made = answers.build(there, Found(found.zone, addresses), wire.LONGEST, self._shuffled, 1)
        return answers.chained(query, found.elsewhere, bytes(2) + made[0], most or query.limit)

    def _asker(self, address: str, memory: _Memory) -> tuple[Asker | None, _Answers]:
        if known := memory.askers.get(address):
            return known
        holder = self._told.holder(str(ip_address(address.partition("%")[0])))
        if holder is None or holder.asker is None:
            return None, _Answers()
        asker = holder.asker
        with memory.lock:
            kept = memory.answers.setdefault(asker, _Answers())
        memory.askers[address] = asker, kept
        memory.known[address] = kept.by_question
        return asker, kept


def _refused(query: Query, asker: Asker | None) -> int:
    """With which code, if so."""
    if query.flags & wire.OPCODE:
        return wire.NOTIMP
    if query.edns and query.edns.version:
        return wire.BADVERS
    if query.type in (0, wire.OPT):
        return wire.FORMERR
    refused = query.kind != wire.IN or query.type in (wire.AXFR, wire.IXFR)
    return wire.REFUSED if refused or asker is None else 0
