"""All that `routed` is but for sockets, files and tasks: what comes in, and what is to go out.

Probes tell about links, links are announced, announcements are passed on, and paths are computed
from them. Time is told by who calls, in seconds that never go back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from msgspec.structs import replace

from seaway.model.addresses import Address
from seaway.model.links import LinkState
from seaway.model.reports import BlackHole
from seaway.model.routing import LinkReport, Numbers, Orders, Turn
from seaway.routed import orders as ordered
from seaway.routed.database import Entry
from seaway.routed.flood import WRONG, Flood, Keys
from seaway.routed.neighbours import with_others
from seaway.routed.packet import ANSWER, HEADERS, QUESTION, Packet, decode
from seaway.routed.probes import DEFAULT, FAST, Prober, Timing
from seaway.routed.router import Router
from seaway.routed.talk import QUIET, Talk

HELD = 64  # hosts whose link failed that are probed for that
SETTLING = 2.0  # seconds after its start in which a host announces nothing unless it knows better
YOUNG = 10.0  # and in which it takes up links as they were before
LATELY = 120.0  # seconds in which answers of a host that left may still come
# Faults of probes that nobody who means well makes; "replayed" may be late, "unanswered question"
# come before the program that answers, "of who left" and "of no key yet" as hosts leave and join:
FORGED: Final = frozenset({"no probe", "of others", "forged"})
Room = Callable[[Address], int]  # bytes of the largest packet that is sent there; 0: not known
TIMINGS: Mapping[str, Timing] = {"default": DEFAULT, "fast": FAST}


class LinkKeys(Keys, Protocol):
    """Keys, and what only the two ends of a link know."""

    def know(self, digests: Mapping[str, str]) -> None: ...

    def learn(self, host: str, credential: bytes) -> bool: ...

    def number(self, host: str) -> int | None: ...


class Core:
    """Of one host, whose name and number stay the same."""

    def __init__(
        self, orders: Orders, keys: LinkKeys, stamp: Callable[[], int], room: Room, sequence: int
    ) -> None:
        self.orders = orders
        self.refused: Counter[str] = Counter()  # probes, by what was wrong with them
        self.flood = Flood(orders.host, keys, sequence)
        self.prober = Prober(TIMINGS[orders.probes], stamp, self._room_to)
        self.router = Router(orders.host)
        self.talk = Talk()
        self.devices: dict[str, int] = {}  # by which answers of a host came last
        self.addresses: dict[str, Address] = {}
        self.ring: set[str] = set()
        self.held: dict[str, float] = {}  # of ours, when its link was seen to have failed last
        self._keys = keys
        self._room = room
        self._hosts: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._left: dict[int, float] = {}  # numbers of hosts that did, and when that was heard
        self._now = 0.0
        self._began: float | None = None
        self.settled = False  # it announced, so its neighbours know it as it is
        self._ordered = True  # or chosen anew, since it announced last

    def obey(self, orders: Orders) -> list[Turn]:
        """These are the orders now: paths that are there, or not, because of them alone."""
        self.orders = orders
        self._ordered = True
        self.addresses = ordered.addresses(orders)
        self.ring = ordered.ring(orders)
        self._numbers = {member.name: member.number for member in orders.members}
        self._left = {n: left for n, left in self._left.items() if self._now - left < LATELY}
        self._left |= dict.fromkeys(self._hosts.keys() - {*self._numbers.values()}, self._now)
        self._hosts = {number: name for name, number in self._numbers.items()}
        self.prober.timing = TIMINGS[orders.probes]
        self._keys.know({member.name: member.key for member in orders.members})
        self.flood.admit(frozenset(self._numbers))
        self.router.place(ordered.underlays(orders))
        return self.router.use(orders.routings)

    def restore(self, entries: Iterable[Entry]) -> None:
        """What it knew before it began anew."""
        known = list(entries)
        self.flood.restore(known)
        for entry in known:
            host = entry.state.host
            if host in self._numbers:
                self._keys.holds(host, entry.credential, entry.body, entry.signature)

    def choose(self) -> None:
        """Whom to probe now: of those whose address and key are known."""
        probed_by = self.router.telling_of_us()
        first = (self.ring | self.held.keys()) & self.addresses.keys()
        wanted = with_others(first, self.talk.hosts, probed_by, self.addresses)
        self.prober.choose({host for host in wanted if self._keys.number(host) is not None})

    def numbers(self) -> Numbers:
        """For who answers probes."""
        found = {number: self._keys.number(host) for host, number in self._numbers.items()}
        return Numbers(numbers={host: n for host, n in found.items() if n is not None})

    def busy(self, loads: Mapping[int, float]) -> None:
        """Devices are, by so many per cent; of others it is not known."""
        for host in self.prober.links:
            self.prober.load(host, loads.get(self.devices.get(host, 0), 0.0))

    def unprobed(self) -> set[int]:
        """The numbers of those that this host does not probe of its own choice, though it could."""
        return {self._numbers[host] for host in self.addresses.keys() - self.ring}

    def count(self, sent: Mapping[int, int], now: float) -> None:
        """So many bytes went to each of those so far."""
        before = self.talk.hosts
        self.talk.look({self._hosts[n]: size for n, size in sent.items() if n in self._hosts}, now)
        self._ordered = self._ordered or before != self.talk.hosts

    def tick(self, now: float) -> Iterator[tuple[Address, bytes]]:
        """Once an interval of the prober, after all datagrams: what is to be sent."""
        self._now = now
        if self._began is None:
            self._began = now
        probes = self.prober.tick(now)
        self._hold(now)
        if now - self._began < YOUNG and self.flood.earlier:
            self._take_up(self.flood.earlier, now)
        if self._has_settled(now - self._began) and (self.prober.changed or self._ordered):
            self.announce(now)
        self.flood.tick(now)
        for host, stamp, size in probes:
            number = self._keys.number(host)
            if number is not None and host in self.addresses:
                address = self.addresses[host]
                data = self._packet(host, number, stamp)
                yield address, data.encode(size - HEADERS[address.version])

    @property
    def _ours(self) -> set[str]:
        """Whom it probes not only because they probe it."""
        return {*self.ring, *self.talk.hosts, *self.held}

    def _hold(self, now: float) -> None:
        """Go on to probe those of ours whose link failed, though nothing is sent there any more: if
        nobody told of it their segment would take it for granted, and packets went into it again.
        """
        for host in self.prober.failed() & self._ours:
            if host in self.held or len(self.held) < HELD:
                self.held[host] = now
        for host, failed in list(self.held.items()):
            if now - failed >= QUIET:
                del self.held[host]
                self._ordered = True

    def _room_to(self, host: str) -> int:
        return self._room(self.addresses[host]) if host in self.addresses else 0

    def _take_up(self, earlier: LinkState, now: float) -> None:
        """Links that were up before this process began are taken to be, until it is found out."""
        if not self.settled:
            ours = [n for n in earlier.neighbours if not n.returned and n.host not in self.ring]
            self.talk.resume([n.host for n in ours if n.sound], now)
            self.held = dict.fromkeys([n.host for n in ours if not n.sound][:HELD], now)
            self.choose()
        self.prober.resume(earlier.neighbours)

    def _has_settled(self, age: float) -> bool:
        """Others know what it announced before it began anew: nothing of that is taken back while
        it does not know better.
        """
        earlier = self.flood.earlier
        known = earlier and {n.host for n in earlier.neighbours if n.up} <= self.prober.links.keys()
        self.settled = self.settled or bool(known) or age >= SETTLING
        return self.settled

    def _packet(self, host: str, number: int, stamp: int) -> Packet:
        return Packet(QUESTION, self.orders.number, self._numbers[host], number, stamp)

    def announce(self, now: float) -> None:
        """What this host says of itself."""
        self.prober.changed = self._ordered = False
        ours = self._ours
        neighbours = tuple(
            n if n.host in ours else replace(n, returned=True)
            for n in self.prober.neighbours(self.prober.links)
        )
        segments = tuple(sorted(str(prefix) for prefix in self.orders.segments))
        state = LinkState(self.orders.host, neighbours, segments, self.orders.relay)
        self.flood.announce(state, now)

    def hear(self, data: bytes, address: str, at: float, device: int = 0) -> None:
        """A datagram that came to the port of probes, by this device."""
        packet = decode(data)
        fault = self._judge(packet, address, at) if packet else "no probe"
        if fault:
            self.refused[fault] += 1
        elif packet:
            self.devices[self._hosts[packet.target]] = device

    def _judge(self, packet: Packet, address: str, at: float) -> str:
        """What is wrong with it."""
        if packet.kind != ANSWER:
            return "unanswered question"  # the program that answers is not there
        host = self._hosts.get(packet.target, "")
        if not host and at - self._left.get(packet.target, -LATELY) < LATELY:
            return "of who left"
        if packet.source != self.orders.number or str(self.addresses.get(host)) != address:
            return "of others"
        number = self._keys.number(host)
        if packet.number != number:
            return "of no key yet" if number is None else "forged"
        return "" if self.prober.answer(packet.stamp, host, at) else "replayed"

    def wrong(self) -> dict[str, int]:
        """Messages and probes of who does not mean well, by what was wrong with them; and how often
        somebody was cut off.
        """
        counts, told = self.flood.counts + self.refused, WRONG | FORGED | {"cut off"}
        return {fault: counts[fault] for fault in sorted(told) if fault in counts}

    def compute(self) -> list[Turn]:
        """Paths that are otherwise because of what was heard since."""
        self.router.learn(self.flood.changes())
        return self.router.compute()

    def dead(self) -> set[str]:
        """Hosts that are probed and do not answer."""
        return self.prober.dead()

    def holes(self) -> frozenset[BlackHole]:
        """That this host found."""
        return frozenset(
            BlackHole(source=self.orders.host, target=host, size=link.passage.hole)
            for host, link in self.prober.links.items()
            if link.passage.hole
        )

    def links(self, sessions: Iterable[str]) -> tuple[LinkReport, ...]:
        """For a person, with the peers of those sessions."""
        met = {*sessions}
        return tuple(
            LinkReport(
                host=host,
                up=link.up,
                rtt=round(link.quality.rtt / 1000, 3),
                loss=round(link.quality.loss, 1),
                cost=link.neighbour().cost if link.up else 0,
                session=host in met,
                holes=self.router.holes(host),
            )
            for host, link in sorted(self.prober.links.items())
        )
