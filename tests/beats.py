"""Beats from each of some network namespaces to each other one and back, from a single process.

Its first lines of standard input each name a namespace: NAME PATH IPV4 IPV6; an empty line ends
them. It says `ready`, and from then on sends from each to each, to those that come later by IPv4
and to the others by IPv6. For each line more it says one of JSON:

    silent  the pairs of which no beat came back lately
    end     what was sent and lost, by pair, without the last moments; and it ends
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple, TextIO

from seaway.bench.pulse import enter

PORT = 7001
EVERY = 0.04  # seconds
LATE = 2.0  # after which a beat is lost
LATELY = 1.0
BUFFER = 4 << 20  # bytes: what waits for us is not lost
FORCED = 33  # SO_RCVBUFFORCE
BEAT = struct.Struct("=HHId")


class Beat(NamedTuple):
    number: int
    sent: float


class Flow:
    def __init__(self, pair: tuple[str, str]) -> None:
        self.pair = pair
        self.sent = 0
        self.heard = 0.0  # when the last that came back was sent
        self.slowest = 0.0  # seconds
        self.losses: list[list[float]] = []  # first, last, how many
        self._waiting: deque[Beat] = deque()
        self._back: set[int] = set()
        self._lost = -1  # the last number

    def send(self, now: float) -> int:
        self._waiting.append(Beat(self.sent, now))
        self.sent += 1
        return self.sent - 1

    def hear(self, number: int, sent: float, now: float) -> None:
        if self._waiting and number >= self._waiting[0].number:
            self._back.add(number)
            self.heard = max(self.heard, sent)
            self.slowest = max(self.slowest, now - sent)

    def settle(self, now: float) -> None:
        """What was sent so long ago came back by now, or never does."""
        while self._waiting and now - self._waiting[0].sent > LATE:
            number, sent = self._waiting.popleft()
            if number in self._back:
                self._back.discard(number)
                continue
            if number == self._lost + 1 and self.losses:
                self.losses[-1][1:] = [sent, self.losses[-1][2] + 1]
            else:
                self.losses.append([sent, sent, 1])
            self._lost = number


class End:
    """Of one namespace: one socket of each family that sends, and one that answers."""

    def __init__(self, line: str) -> None:
        self.name, path, *self.addresses = line.split()
        enter(path)
        self.clients = [_socket(family) for family in (socket.AF_INET, socket.AF_INET6)]
        self.servers = [_socket(family) for family in (socket.AF_INET, socket.AF_INET6)]
        for server in self.servers:
            server.bind(("", PORT))


def _socket(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, FORCED, BUFFER)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setblocking(False)
    return made


class Heart:
    def __init__(self, ends: list[End]) -> None:
        self._ends = ends
        self._flows = {
            (a, b): Flow((one.name, other.name))
            for a, one in enumerate(ends)
            for b, other in enumerate(ends)
            if one is not other
        }
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._asked)
        for end in ends:
            for server in end.servers:
                self._selector.register(server, selectors.EVENT_READ, self._answer)
            for client in end.clients:
                self._selector.register(client, selectors.EVENT_READ, self._hear)

    def run(self) -> None:
        due = settled = time.monotonic()
        while True:
            ready = self._selector.select(max(0.0, due - time.monotonic()))
            for key, _ in ready:
                if not key.data(key.fileobj):
                    return
            now = time.monotonic()
            if not ready and now - settled > LATE / 4:  # all that came was read
                settled = now
                self._settle(now)
            if now >= due:
                self._beat()
                due = max(due + EVERY, now)

    def _settle(self, now: float) -> None:
        for flow in self._flows.values():
            flow.settle(now)

    def _beat(self) -> None:
        for (a, b), flow in self._flows.items():
            family, now = int(a > b), time.monotonic()
            data = BEAT.pack(a, b, flow.send(now), now)
            with suppress(OSError):  # no way leads there: it is lost like any other
                self._ends[a].clients[family].sendto(data, (self._ends[b].addresses[family], PORT))

    def _answer(self, server: socket.socket) -> bool:
        with suppress(OSError):
            while True:
                data, peer = server.recvfrom(64)
                with suppress(OSError):
                    server.sendto(data, peer)
        return True

    def _hear(self, client: socket.socket) -> bool:
        with suppress(OSError):
            while True:
                a, b, number, sent = BEAT.unpack(client.recv(64))
                self._flows[a, b].hear(number, sent, time.monotonic())
        return True

    def _asked(self, lines: TextIO) -> bool:
        line = lines.readline().strip()
        now = time.monotonic()
        if line == "silent":
            _say([f.pair for f in self._flows.values() if now - f.heard > LATELY])
            return True
        self._settle(now)
        _say([vars_of(flow) for flow in self._flows.values()])
        return False


def vars_of(flow: Flow) -> dict[str, object]:
    return {"pair": flow.pair, "sent": flow.sent, "slowest": flow.slowest, "losses": flow.losses}


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    found = [End(line) for line in iter(sys.stdin.readline, "\n")]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    Heart(found).run()
