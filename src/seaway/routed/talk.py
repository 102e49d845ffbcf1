"""To whom most is sent now: these are probed besides, so that a link which nobody else looks at is
known to fail. No I/O.

Each change of them is announced to all hosts, and has the other end probe too. So who is new has to
be sent a good deal more than who is there, and who is there stays for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from seaway.routed.neighbours import TALK

LEAST: Final = 1_000.0  # bytes a second that are worth probes
MORE: Final = 2.0  # times as much takes another's place,
SWAP: Final = 60.0  # seconds after the last one that did
QUIET: Final = 300.0  # seconds of less than the least, until a place is free
SMOOTH: Final = 1 / 2  # of what is new, each time


class Talk:
    """Of one host. `now` is in seconds, and never goes back."""

    def __init__(self) -> None:
        self.hosts: tuple[str, ...] = ()
        self._counts: Mapping[str, int] = {}
        self._rates: dict[str, float] = {}  # bytes a second, smoothed
        self._busy: dict[str, float] = {}  # when it was sent the least, or more, for the last time
        self._looked: float | None = None
        self._swapped = -SWAP

    def resume(self, hosts: Sequence[str], now: float) -> None:
        """These were chosen before this host began anew."""
        self.hosts = tuple(hosts[:TALK])
        self._busy = dict.fromkeys(self.hosts, now)

    def look(self, sent: Mapping[str, int], now: float) -> None:
        """Bytes to each host that is not probed anyhow. Less than the last time: from nothing."""
        if self._looked is not None and now > self._looked:
            self._rates = dict(self._weighed(sent, now - self._looked))
            self._choose(now)
        self._looked, self._counts = now, sent

    def _weighed(self, sent: Mapping[str, int], seconds: float) -> list[tuple[str, float]]:
        found = []
        for host in {**sent, **self._rates}:
            count, before = sent.get(host, 0), self._counts.get(host, 0)
            fresh = (count - before if count >= before else count) / seconds
            held = self._rates.get(host, 0.0)
            found.append((host, held + SMOOTH * (fresh - held)))
        return [(host, rate) for host, rate in found if rate >= 1]

    def _choose(self, now: float) -> None:
        rates = self._rates
        busy = sorted((h for h in rates if rates[h] >= LEAST), key=lambda h: (-rates[h], h))
        self._busy = {h: self._busy[h] for h in self.hosts} | dict.fromkeys(busy, now)
        kept = [host for host in self.hosts if now - self._busy[host] < QUIET]
        new = [host for host in busy if host not in kept]
        free = TALK - len(kept)
        if not free and new and now - self._swapped >= SWAP:
            least = min(kept, key=lambda host: (rates.get(host, 0.0), host))
            if rates[new[0]] >= MORE * rates.get(least, 0.0):
                kept.remove(least)
                free, self._swapped = 1, now
        self.hosts = (*kept, *new[:free])
