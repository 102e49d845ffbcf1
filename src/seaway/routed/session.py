"""What one other host is still to be told. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Set
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from seaway.routed.budget import Budget
from seaway.routed.database import Entry
from seaway.routed.messages import CHUNK, Announcement, Ask, Known, Message, Summary

USELESS = (10_000, 200)  # messages that say nothing new, at once and more each second
WRONG = (20, 1)  # messages that nobody who means well would send
MORE = 2  # parts of a summary than all members need: they may know of more


class Early(NamedTuple):
    """What came before it was its host's turn. Nobody has looked yet whose signature that is."""

    sequence: int
    message: Announcement
    born: float

    @property
    def order(self) -> tuple[int, bytes]:
        """As that of an `Entry`."""
        return self.sequence, self.message.body


class Session:
    """With a neighbour. What is due is a set of hosts: of each its last announcement is sent."""

    def __init__(self, peer: str, entries: Mapping[str, Entry]) -> None:
        self.peer = peer
        self.over = False  # it is to be closed
        self.useless = Budget(*USELESS)
        self.wrong = Budget(*WRONG)
        self._summary = _in_chunks([entry.known() for entry in entries.values()])
        self._due: dict[str, None] = {}
        self._asked: dict[str, None] = {}
        self._credentials: dict[str, bytes] = {}  # that the other end was sent
        self._theirs: dict[str, Known] | None = {}  # none: all of their summary is here
        self._awaited: dict[str, int] = {}  # what is newer there by that: sequence numbers
        self._parts = 0  # of it
        self.early: dict[str, Early] = {}  # of hosts that announce too often: the newest from here

    def want(self, host: str) -> None:
        """What this host announced last is new there."""
        self._due[host] = None

    def has(self, host: str) -> None:
        self._due.pop(host, None)

    def ask(self, host: str) -> None:
        """For what this host announced last."""
        self._asked[host] = None

    def put_off(self, host: str, early: Early) -> None:
        """Keep the newest, and the credential that came with an earlier one."""
        before = self.early.get(host)
        if before is None or before.order < early.order:
            credential = early.message.credential or (before.message.credential if before else b"")
            message = replace(early.message, credential=credential)
            self.early[host] = early._replace(message=message)

    def asked(self, hosts: Iterable[str], entries: Mapping[str, Entry]) -> None:
        for host in hosts:
            if host in entries:
                self._credentials.pop(host, None)
                self.want(host)

    def compare(self, summary: Summary, entries: Mapping[str, Entry], members: Set[str]) -> bool:
        """Their summary, a part at a time: what is newer here is due. Of who is no member nothing
        is kept. False: they sent it twice, or there is no end of it.
        """
        if self._theirs is None:
            return False
        self._parts += 1
        self._theirs |= {known.host: known for known in summary.known if known.host in members}
        if summary.last:
            theirs, self._theirs = self._theirs, None
            self._awaited = {host: known.sequence for host, known in theirs.items()}
            for host, entry in entries.items():
                (self.want if _lacks(theirs.get(host), entry) else self.has)(host)
        return self._parts <= len(members) // CHUNK + MORE

    def heard(self, entries: Mapping[str, Entry]) -> bool:
        """Whether all of their summary is here, and by now all that was newer there."""
        self._awaited = {
            host: sequence
            for host, sequence in self._awaited.items()
            if host not in entries or entries[host].sequence < sequence
        }
        return self._theirs is None and not self._awaited

    @property
    def waits(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._summary or self._asked or self._due)

    def send(self, entries: Mapping[str, Entry], now: float, most: int) -> list[Message]:
        """As many messages as that, or what there is."""
        messages: list[Message] = []
        while self._summary and len(messages) < most:
            messages.append(self._summary.popleft())
        if self._asked and len(messages) < most:
            messages.append(Ask(tuple(islice(self._asked, CHUNK))))
            self._asked = dict.fromkeys(islice(self._asked, CHUNK, None))
        while self._due and len(messages) < most:
            host = next(iter(self._due))
            del self._due[host]
            if entry := entries.get(host):
                messages.append(self._announcement(entry, now))
        return messages

    def _announcement(self, entry: Entry, now: float) -> Announcement:
        """With the credential, unless the other end was sent that before."""
        host, credential = entry.state.host, entry.credential
        if self._credentials.get(host) == credential:
            credential = b""
        else:
            self._credentials[host] = credential
        return Announcement(entry.body, entry.signature, int(now - entry.born), credential)


def _in_chunks(known: list[Known]) -> deque[Message]:
    """At least one, so that the other end knows that it was all."""
    starts = range(0, max(1, len(known)), CHUNK)
    return deque(Summary(tuple(known[s : s + CHUNK]), last=s == starts[-1]) for s in starts)


def _lacks(known: Known | None, entry: Entry) -> bool:
    """Whether one who knows that has to be sent this. Where both have the same number, which of
    the two holds is found by who sees both.
    """
    if known is None or known.sequence < entry.sequence:
        return True
    return known.sequence == entry.sequence and known != entry.known()
