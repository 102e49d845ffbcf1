"""Random clients: a batch of frames, each the first datagram of a flow of its own.

Python is far too slow to write a million frames one after the other. So what is random stands in
the same place of every frame, and is written as columns; wherever a random word changes a checksum,
its complement stands elsewhere under the same sum, which stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import ip_network

from seaway.bench.frames import End, frame

NETWORKS = {4: ip_network("198.19.0.0/16"), 6: ip_network("fd53:5759:0:1::/64")}
BATCH = 1000
ETHERNET, NUMBER = 14, 18  # where the headers begin, and the packet's number in IPv4's
SOURCE_END = {4: ETHERNET + 16, 6: ETHERNET + 24}  # behind the source's address
TRANSPORT = {4: ETHERNET + 20, 6: ETHERNET + 40}
COMPLEMENT = bytes(255 - value for value in range(256))
UPPER = bytes(64 + value * 3 // 4 for value in range(256))  # a port's first byte: 16384 and more


class Clients:
    """`frames` holds the batch, all of one size."""

    def __init__(self, own: bytes, server: End) -> None:
        family = server.address.version
        first = End(own, NETWORKS[family][0], 0)
        # both words are 0: under the sums of addresses and ports their complements are ones
        template = frame(first, server, b"\xff" * 4 + bytes(14), number=0xFFFF)
        self.size = len(template)
        self.frames = bytearray(template * BATCH)
        self._address = SOURCE_END[family] - 2
        self._port = TRANSPORT[family]
        self._payload = TRANSPORT[family] + 8
        self._numbers = (NUMBER,) if family == 4 else ()

    def draw(self) -> None:
        """Other clients, and other ports of theirs."""
        for byte in (0, 1):
            copies = (self._payload, *self._numbers)
            self._write(os.urandom(BATCH), self._address + byte, (at + byte for at in copies))
        first = os.urandom(BATCH).translate(UPPER)
        for byte, drawn in enumerate((first, os.urandom(BATCH))):
            self._write(drawn, self._port + byte, (self._payload + 2 + byte,))

    def _write(self, drawn: bytes, at: int, complements: Iterable[int]) -> None:
        self.frames[at :: self.size] = drawn
        for place in complements:
            self.frames[place :: self.size] = drawn.translate(COMPLEMENT)
