"""When a link is up, and when it is down: what is sent, what came back, and what that means.

All links are looked at together, once an interval. A probe that has no answer by the next look is
lost, unless the link is known to take longer. So many lost in a row: the link is down.

A prober that slept for longer than it meant to judges nothing when it wakes up, and its clock
stood still: on a machine that is busy an answer may be as late as the prober itself. One that is
late each time judges every other time.

Now and then a probe of full size goes along: see `holes`. Whether the link is up it does not say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from seaway.model.links import Neighbour
from seaway.routed.holes import Passage
from seaway.routed.quality import Figures, Quality

LATE: Final = 2.0  # seconds in which an answer that is counted as lost may still come
OVERSLEPT: Final = 1.25  # intervals: who slept for longer was late
DUE: Final = 0.75  # of an interval: by then an answer has to be there
FIRST_HITS: Final = 2  # answers in a row by which a link is up that never was down
HITS: Final = 5  # and one that was; twice as many each time that it was down again lately
DOUBLED: Final = 4  # times at most
CALM: Final = 60.0  # seconds of being up by which one time is forgotten
TIRED: Final = 30.0  # seconds of being down after which it is probed
SELDOM: Final = 10  # times more seldom
NEW: Final = 10.0  # seconds until a link that never was up is dead
FRESH: Final = 2.0  # seconds until anything is said of a link that never was up
LOOK: Final = 1.0  # seconds between two looks at quality
FULL: Final = 10  # small probes to each that has a twin of full size


class Timing(NamedTuple):
    """How fast a dead link is noticed: after `lost` + 1 intervals, at most."""

    interval: float  # seconds
    lost: int


DEFAULT: Final = Timing(0.1, 5)
FAST: Final = Timing(0.035, 5)


class Probe(NamedTuple):
    """To be sent."""

    host: str
    stamp: int  # comes back with the answer; nobody can guess it
    size: int = 0  # bytes, with all headers from IP on; 0: as small as it is


@dataclass
class Sent:
    host: str
    at: float  # by the machine's clock
    clock: float  # by the prober's


@dataclass
class Link:
    """To one host, as seen from here."""

    host: str
    turn: int = 0  # the round, of so many, in which a probe of full size goes along
    up: bool = False
    fresh: bool = True  # nothing was said of it yet
    misses: int = 0  # in a row
    hits: int = 0
    falls: int = 0  # times that it was down lately
    since: float = 0.0  # that it is up or down, by the prober's clock
    quality: Quality = field(default_factory=Quality)
    passage: Passage = field(default_factory=Passage)

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return bool(self.hits or self.misses or self.falls)

    @property
    def needed(self) -> int:
        return HITS << min(self.falls - 1, DOUBLED) if self.falls else FIRST_HITS

    def neighbour(self) -> Neighbour:
        if not self.up:
            return Neighbour(self.host, up=False)
        figures = self.quality.announced()
        return Neighbour(self.host, True, *figures, hole=self.passage.hole)


class Pair(NamedTuple):
    """A large probe and its twin."""

    link: Link
    twin: int  # its stamp
    size: int
    clock: float  # as of `Sent`


class Prober:
    """Of one host. `now` is in seconds, and never goes back; `room` tells the largest packet that
    is sent to a host, in bytes, and 0 where that is not known.
    """

    def __init__(
        self, timing: Timing, stamp: Callable[[], int], room: Callable[[str], int]
    ) -> None:
        self.timing = timing
        self.links: dict[str, Link] = {}
        self.changed = False  # what is announced; reset by who announces it
        self._stamp = stamp
        self._room = room
        self._pairs: dict[int, Pair] = {}  # by the stamp of the large one
        self._sent: dict[int, Sent] = {}
        self._overdue: dict[int, Sent] = {}  # counted as lost, perhaps only late
        self._clock = 0.0
        self._last: float | None = None
        self._spared = False
        self._looked = 0.0
        self._round = 0

    def choose(self, hosts: Set[str]) -> None:
        """From now on probe these, and no others."""
        for host in self.links.keys() - hosts:
            del self.links[host]
            self.changed = True
        for host in hosts - self.links.keys():
            self.links[host] = Link(host, len(self.links) % FULL, since=self._clock)

    def resume(self, neighbours: Iterable[Neighbour]) -> None:
        """Links were like that before this prober began: those of which it knows nothing are."""
        for neighbour in neighbours:
            link = self.links.get(neighbour.host)
            if link is None or link.up or link.known:
                continue
            link.fresh = False
            if neighbour.up:
                link.quality.resume(Figures(*neighbour.figures))
                link.passage.resume(neighbour.hole)
                self._turn(link, up=True)

    def load(self, host: str, percent: float) -> None:
        """How much of what the link can carry it does."""
        if host in self.links:
            self.links[host].quality.load = percent

    def tick(self, now: float) -> list[Probe]:
        """Once an interval, after all answers that are there were told: what is to be sent now."""
        if not self._spares(now):
            self._judge()
        if self._clock - self._looked >= LOOK:
            self._looked = self._clock
            self._look()
        self._round += 1
        return [probe for link in self.links.values() for probe in self._probes(link, now)]

    def _spares(self, now: float) -> bool:
        """Whether it is late, and was not the last time; the clock goes on if not."""
        passed = now - self._last if self._last is not None else 0.0
        self._last = now
        self._spared = passed > OVERSLEPT * self.timing.interval and not self._spared
        if not self._spared:
            self._clock += passed
        return self._spared

    def _wants(self, link: Link) -> bool:
        tired = not link.up and not link.hits and self._clock - link.since >= TIRED
        return not tired or self._round % SELDOM == 0

    def _probes(self, link: Link, now: float) -> Iterator[Probe]:
        if not self._wants(link):
            return
        stamp = self._stamp()
        self._sent[stamp] = Sent(link.host, now, self._clock)
        yield Probe(link.host, stamp)
        if link.up and self._round % FULL == link.turn and (room := self._room(link.host)):
            size, large = link.passage.tries(room), self._stamp()
            self._pairs[large] = Pair(link, stamp, size, self._clock)
            yield Probe(link.host, large, size)

    def answer(self, stamp: int, host: str, at: float) -> bool:
        """An answer that came at this time. False: nobody asked, or it was answered already."""
        pair = self._pairs.get(stamp)
        if pair and pair.link.host == host:
            self._learn(self._pairs.pop(stamp), large=True)
            return True
        late = stamp in self._overdue
        sent = (self._overdue if late else self._sent).get(stamp)
        if sent is None or sent.host != host:
            return False
        del (self._overdue if late else self._sent)[stamp]
        link = self.links.get(host)
        if link is None:
            return True
        link.quality.measured(max(0.0, at - sent.at) * 1_000_000)
        if late:
            link.quality.corrected()
        else:
            link.quality.counted(lost=False)
        link.misses = 0
        link.hits += 1
        if not link.up and link.hits >= link.needed:
            link.quality.begin()
            self._turn(link, up=True)
        return True

    def _judge(self) -> None:
        """What has no answer by now is lost."""
        for stamp, sent in list(self._sent.items()):
            link = self.links.get(sent.host)
            if link is None:
                del self._sent[stamp]
            elif self._clock - sent.clock >= self._patience(link):
                self._overdue[stamp] = self._sent.pop(stamp)
                self._miss(link)
        for stamp, pair in list(self._pairs.items()):
            if self._clock - pair.clock < LATE:
                break
            self._learn(self._pairs.pop(stamp), large=False)
        for stamp, sent in list(self._overdue.items()):
            if self._clock - sent.clock < LATE:
                break  # the others are younger
            del self._overdue[stamp]

    def _learn(self, pair: Pair, *, large: bool) -> None:
        """Of one that was answered, or can be no more. Its twin is known for as long."""
        link = pair.link
        if not link.up or self.links.get(link.host) is not link:
            return
        small = pair.twin not in self._sent and pair.twin not in self._overdue
        chance = link.quality.chance
        if link.passage.learn(pair.size, large=large, small=small, loss=chance):
            self.changed = True

    def _patience(self, link: Link) -> float:
        return max(DUE * self.timing.interval, min(link.quality.patience, LATE))

    def _miss(self, link: Link) -> None:
        link.quality.counted(lost=True)
        link.misses += 1
        link.hits = 0
        if link.up and link.misses >= self.timing.lost:
            link.falls += 1
            link.quality.fall()
            self._turn(link, up=False)

    def _turn(self, link: Link, *, up: bool) -> None:
        link.up = up
        link.fresh = False
        link.since = self._clock
        self.changed = True

    def _look(self) -> None:
        for link in self.links.values():
            if link.up and link.quality.look():
                self.changed = True
            if link.fresh and self._clock - link.since >= FRESH:
                link.fresh = False
                self.changed = True
            if link.up and link.falls and self._clock - link.since >= CALM:
                link.falls -= 1
                link.since = self._clock

    def dead(self) -> set[str]:
        """Who does not answer. Whom nobody has heard yet may: packets go there meanwhile, as a host
        that is new answers no probe before its agent knows the number of the link.
        """
        links = (link for link in self.links.values() if not link.up)
        return {link.host for link in links if link.falls or self._clock - link.since >= NEW}

    def failed(self) -> set[str]:
        """Of whose link something is announced, and nothing good: it is down, or a black hole."""
        links = (link for link in self.links.values() if not link.fresh)
        return {link.host for link in links if not link.up or link.passage.hole}

    def neighbours(self, hosts: Iterable[str]) -> tuple[Neighbour, ...]:
        """What is to be announced of the links to these, as far as they are probed. One that is new
        is up first, or was silent for a while: its failure would be news to all.
        """
        links = (self.links[host] for host in sorted(hosts) if host in self.links)
        return tuple(link.neighbour() for link in links if not link.fresh)
