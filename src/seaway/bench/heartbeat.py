"""A datagram every 10 ms from one network namespace to another and back, from a single process.

For each line on standard input it answers a number: to `mark` at once, and from then on it minds
the longest time in which none of what was sent came back; to `outage` that time (ms), once all
comes back again.

    python -m seaway.bench.heartbeat CLIENT_NETNS SERVER_NETNS ADDRESS
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Final

from seaway.bench.ports import PULSE_PORT
from seaway.bench.pulse import enter, family

INTERVAL: Final = 0.01  # seconds
STEADY: Final = 1.0  # in which all came back: the outage is over
PATIENCE: Final = 30.0  # after which it is told as what it is by then
LATE: Final = 0.2  # what has not come back by then is lost
_BEAT: Final = struct.Struct("=d")


class Pulse:
    """When was sent what came back last, and what is missing since."""

    def __init__(self, now: float) -> None:
        self.longest = 0.0
        self._last = self._broken = now

    def mark(self) -> None:
        self.longest = 0.0

    def beat(self, sent: float) -> None:
        """It came back."""
        gap = sent - self._last
        if gap > 1.5 * INTERVAL:
            self.longest = max(self.longest, gap - INTERVAL)
            self._broken = sent
        self._last = max(self._last, sent)

    def is_steady(self, now: float, since: float) -> bool:
        """Whether all comes back, and did for a while; nothing is missing at the end."""
        return now - self._last < LATE and now - max(self._broken, since) > STEADY


class Heart:
    """Both ends."""

    def __init__(self, client: str, server: str, address: str) -> None:
        enter(server)
        self._server = socket.socket(family(address), socket.SOCK_DGRAM)
        self._server.bind(("", PULSE_PORT))
        enter(client)
        self._client = socket.socket(family(address), socket.SOCK_DGRAM)
        self._client.connect((address, PULSE_PORT))
        self._selector = selectors.DefaultSelector()
        for one in (self._server, self._client):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._pulse = Pulse(time.monotonic())
        self._asked: float | None = None  # when somebody asked for the outage

    def run(self) -> None:
        due = time.monotonic()
        while True:
            ready = {key.fd for key, _ in self._selector.select(max(0.0, due - time.monotonic()))}
            if sys.stdin.fileno() in ready and not self._hear(sys.stdin.readline().strip()):
                return
            self._receive()
            now = time.monotonic()
            if now >= due:
                with suppress(OSError):  # no way leads there: it is lost like any other
                    self._client.send(_BEAT.pack(now))
                due = max(due + INTERVAL, now)
            self._answer(now)

    def _answer(self, now: float) -> None:
        """The outage, once it is over, or so long that it may never be."""
        if self._asked is None:
            return
        steady, waited = self._pulse.is_steady(now, self._asked), now - self._asked
        if steady or waited > PATIENCE:
            self._asked = None
            self._tell(1000 * (self._pulse.longest if steady else waited))

    def _receive(self) -> None:
        with suppress(OSError):
            data, peer = self._server.recvfrom(64)
            self._server.sendto(data, peer)
        with suppress(OSError):
            self._pulse.beat(_BEAT.unpack(self._client.recv(64))[0])

    def _hear(self, line: str) -> bool:
        if line == "mark":
            self._pulse.mark()
            self._tell(0.0)
        elif line == "outage":
            self._asked = time.monotonic()
        return bool(line)

    def _tell(self, number: float) -> None:
        print(number, flush=True)


if __name__ == "__main__":
    Heart(*sys.argv[1:]).run()
