"""How link state gets to all hosts: what is new is passed on to all other sessions. No I/O.

An announcement is signed by its host, so it does not matter by whom it came. Of two of one host
the one with the higher sequence number holds. A host that began anew hears its own earlier
announcements from others, and goes on above their number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from operator import itemgetter
from typing import Final, Protocol

from msgspec.structs import replace

from seaway.errors import Undecodable
from seaway.model.links import LinkState
from seaway.routed.budget import Budget
from seaway.routed.database import REFRESH, Database, Entry
from seaway.routed.messages import (
    LAST,
    Announcement,
    Ask,
    Message,
    Signed,
    Summary,
    decode,
    decode_signed,
    encode,
)
from seaway.routed.session import Early, Session

OURS: Final = (8, 2)  # announcements of our own, at once and more each second
THEIRS: Final = (16, 4)  # and those of another host that are verified, and passed on
PENALTY: Final = 30.0  # seconds before a session with who was cut off is opened again
AGEING: Final = 60.0  # seconds between two looks at what is too old
SHARE: Final = 0.1  # of what a useless message costs: a host that is asked for
# Faults of a message. Those that nobody who means well makes:
WRONG: Final = frozenset({"malformed", "forged", "repeated"})
# and those that happen, but not all the time: "known", "old", "stranger", "unsigned", "asked",
# "early"


class Keys(Protocol):
    """Who signs for whom."""

    @property
    def credential(self) -> bytes:
        """Of this host, for others to check what it signs."""

    def sign(self, body: bytes) -> bytes: ...

    def holds(self, host: str, credential: bytes, body: bytes, signature: bytes) -> bool:
        """Whether that is a credential of this host, and the signature by who has its key."""


class Flood:
    """Of one host. `now` is in seconds, and never goes back."""

    def __init__(self, host: str, keys: Keys, sequence: int = 0) -> None:
        self.counts: Counter[str] = Counter()  # of messages, by fault
        self.earlier: LinkState | None = None  # what this host announced before it began anew
        self._host = host
        self._keys = keys
        self._sequence = sequence
        self._state: LinkState | None = None
        self._overdue = False
        self._pace = Budget(*OURS)
        self._paces: dict[str, Budget] = defaultdict(lambda: Budget(*THEIRS))
        self._members: Set[str] = frozenset({host})
        self._credentials: dict[str, bytes] = {}
        self._database = Database()
        self._sessions: dict[str, Session] = {}
        self._refused: dict[str, float] = {}
        self._aged: float | None = None

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self._database.entries

    def changes(self) -> dict[str, LinkState | None]:
        """See `Database.changes`. What this host itself announces is among them."""
        return self._database.changes()

    def admit(self, hosts: Set[str]) -> None:
        """These are the cluster, and this host: others are not listened to."""
        before, self._members = (
            self._members,
            hosts if self._host in hosts else hosts | {self._host},
        )
        for host in before - self._members:
            self._database.drop(host)
            self._credentials.pop(host, None)
            self._paces.pop(host, None)
            for session in self._sessions.values():
                session.early.pop(host, None)
        for session in self._sessions.values():
            for host in self._members - before:
                session.ask(host)  # what came of it so far was not listened to

    def announce(self, state: LinkState, now: float) -> None:
        """Tell all hosts, at once if that was not often lately."""
        if self._state != state:
            self._state = state
            self._overdue = True
        self._issue(now)

    def _issue(self, now: float) -> None:
        if not (self._overdue and self._state and self._pace.take(now)):
            return
        self._overdue = False
        self._sequence = min(self._sequence + 1, LAST)
        body = encode(Signed(self._sequence, self._state))
        signature, credential = self._keys.sign(body), self._keys.credential
        self._hold(Entry(self._sequence, body, signature, credential, self._state, now))

    def _hold(self, entry: Entry, source: str = "") -> None:
        """It is new: keep it, and pass it on to all but whom it came from; also to its host, which
        may have begun anew since.
        """
        self._database.put(entry)
        for peer, session in self._sessions.items():
            (session.has if peer == source else session.want)(entry.state.host)

    def restore(self, entries: Iterable[Entry]) -> None:
        """What this host knew before it began anew, of members: its own word among it."""
        for entry in entries:
            if entry.state.host == self._host:
                self._sequence = max(self._sequence, entry.sequence)
                self.earlier = entry.state
            elif entry.state.host in self._members:
                self._credentials[entry.state.host] = entry.credential
                self._hold(entry)

    def admits(self, peer: str, now: float) -> bool:
        """Whether there may be a session: with a member that was not cut off lately."""
        return peer in self._members and now >= self._refused.get(peer, now)

    def open(self, peer: str) -> None:
        """A session with this host, which has proven who it is."""
        self._refused.pop(peer, None)
        self._sessions[peer] = Session(peer, self.entries)

    def close(self, peer: str) -> None:
        self._sessions.pop(peer, None)

    def heard(self, peer: str) -> bool:
        """Whether it has told which announcements it has, and sent those that are newer there."""
        session = self._sessions.get(peer)
        return session is not None and session.heard(self.entries)

    def waits(self, peer: str) -> bool:
        """Whether there is something to send."""
        return self._sessions[peer].waits

    def send(self, peer: str, now: float, most: int) -> list[bytes]:
        """As many messages as that, or what there is."""
        return [encode(m) for m in self._sessions[peer].send(self.entries, now, most)]

    def receive(self, peer: str, data: bytes, now: float) -> bool:
        """False: the session is to be closed, the other end goes on and on."""
        session = self._sessions[peer]
        if session.over:
            return False
        try:
            fault, cost = self._read(session, decode(data), now)
        except Undecodable:
            fault, cost = "malformed", 1.0
        if not fault:
            return True
        return self._puts_up(session, fault, cost, now)

    def _puts_up(self, session: Session, fault: str, cost: float, now: float) -> bool:
        """With that fault, too."""
        self.counts[fault] += 1
        if (session.wrong if fault in WRONG else session.useless).take(now, cost):
            return True
        session.over = True
        self.counts["cut off"] += 1
        self._refused[session.peer] = now + PENALTY
        return False

    def _read(self, session: Session, message: Message, now: float) -> tuple[str, float]:
        """What is wrong with it, and what that costs."""
        match message:
            case Announcement():
                return self._hear(session, message, now), 1.0
            case Summary():
                fits = session.compare(message, self.entries, self._members)
                return "" if fits else "repeated", 1.0
            case Ask(hosts=hosts):
                session.asked(hosts, self.entries)
                return "asked", SHARE * len(hosts)

    def _hear(self, session: Session, message: Announcement, now: float) -> str:
        """What is wrong with it; empty: it was new."""
        signed = decode_signed(message.body)
        host = signed.state.host
        if host not in self._members:
            return "stranger"
        held = self.entries.get(host)
        if held and (signed.sequence, message.body) <= held.order:
            return self._hear_again(session, message, held, now)
        if not self._paces[host].has(now):
            session.put_off(host, Early(signed.sequence, message, now - message.age))
            return "early"
        return self._verify(session, message, signed, now)

    def _verify(self, session: Session, message: Announcement, signed: Signed, now: float) -> str:
        """What is wrong with it; what is not of its host costs that one nothing."""
        host = signed.state.host
        credential = message.credential or self._credentials.get(host, b"")
        if not credential:
            session.ask(host)
            return "unsigned"
        if not self._keys.holds(host, credential, message.body, message.signature):
            return "forged"
        self._paces[host].take(now)
        self._credentials[host] = credential
        if host == self._host:
            self._go_on_above(signed.sequence, signed.state, now)
        else:
            whole = message.body, message.signature, credential, signed.state
            self._hold(Entry(signed.sequence, *whole, now - message.age), session.peer)
        return ""

    def _hear_again(self, session: Session, message: Announcement, held: Entry, now: float) -> str:
        """Something is known as new as that, or newer."""
        host = held.state.host
        if message.body != held.body:
            session.want(host)
            return "old"
        session.has(host)
        if now - message.age > held.born:
            self._database.put(held._replace(born=now - message.age))
        return "known"

    def _go_on_above(self, sequence: int, state: LinkState, now: float) -> None:
        """It is by this host itself, from before it began anew."""
        self.earlier = state
        self._sequence = max(self._sequence, sequence)
        self._overdue = True
        self._issue(now)

    def _catch_up(self, now: float) -> None:
        """What came too early, the newest first: as soon as its host may be heard again."""
        sessions = self._sessions.values()
        early = [(e.order, s, host) for s in sessions for host, e in s.early.items()]
        for _, session, host in sorted(early, key=itemgetter(0), reverse=True):
            if self._paces[host].has(now):
                message, born = session.early.pop(host)[1:]
                fault = self._hear(session, replace(message, age=int(now - born)), now)
                if fault in WRONG:
                    self._puts_up(session, fault, 1.0, now)

    def tick(self, now: float) -> None:
        """What comes with time: to be called several times a second."""
        self._catch_up(now)
        own = self.entries.get(self._host)
        if own and now - own.born >= REFRESH:
            self._overdue = True
        self._issue(now)
        if self._aged is None or now - self._aged >= AGEING:
            self._aged = now
            self.counts["aged out"] += self._database.age(now)
