"""Who was refused, and why: counted for `status`, told in the log, and slowed down.

A host that has joined is refused by who has not heard of it yet, and one that has left by who has:
that counts only if it lasts. Whoever shows five wrong tokens within a minute waits, and a right one
of his is not looked at meanwhile. Addresses of IPv6 count by their /64, of which one host may have
all.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from seaway.errors import Unavailable

WITHIN = 60.0  # seconds
MOST = 5  # wrong tokens within that
LASTING = 120.0  # seconds in which all have heard that a host joined, or left
_REMEMBERED = 1024  # addresses, or certificates
_QUIET = 10.0  # seconds between two lines of the log for one reason


@dataclass
class Refusals:
    clock: Callable[[], float]  # monotonic seconds
    counts: Counter[str] = field(default_factory=Counter)
    _told: dict[str, float] = field(default_factory=dict)
    _first: OrderedDict[tuple[str, str], float] = field(default_factory=OrderedDict)
    _wrong: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def count(self, reason: str) -> bool:
        """Whether it is to be told in the log, too."""
        self.counts[reason] += 1
        now = self.clock()
        if now - self._told.get(reason, now - _QUIET) < _QUIET:
            return False
        self._told[reason] = now
        return True

    def count_lasting(self, reason: str, whom: str) -> bool:
        """The same, of who is refused still, long after the first time. `whom`: his certificate's
        digest; of a host that joins anew it is another one.
        """
        first = self._first.setdefault((reason, whom), self.clock())
        while len(self._first) > _REMEMBERED:
            self._first.popitem(last=False)
        return self.clock() - first >= LASTING and self.count(reason)

    def wrong_token(self, address: str) -> None:
        """Somebody at this address showed one."""
        whom = _whom(address)
        times = self._wrong.setdefault(whom, deque(maxlen=MOST))
        times.append(self.clock())
        self._wrong.move_to_end(whom)
        while len(self._wrong) > _REMEMBERED:
            self._wrong.popitem(last=False)

    def must_wait(self, address: str) -> None:
        """Raise where somebody at this address has to."""
        times = self._wrong.get(_whom(address))
        if times and len(times) == MOST and (left := times[0] + WITHIN - self.clock()) > 0:
            raise Unavailable(
                "too many wrong join tokens came from this address", f"try again in {left:.0f} s"
            )


def _whom(address: str) -> str:
    found = ip_address(address.partition("%")[0])
    if found.version == 4 or found.ipv4_mapped:
        return address
    return str(ip_network((found, 64), strict=False))
