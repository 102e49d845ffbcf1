"""A probe as bytes: the mirror of bpf/lib/probe.h, which says who does what with it."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

PORT: Final = 8481  # UDP, of both ends
MAGIC: Final = 0x53575931
QUESTION: Final = 1
ANSWER: Final = 2
HEADERS: Final = {4: 28, 6: 48}  # bytes before it, of IP by its version and of UDP
FORMAT: Final = struct.Struct("!IB3xIIQQ")


class Packet(NamedTuple):
    """One of either kind."""

    kind: int
    source: int  # number of the host that asks
    target: int  # and of the one that is asked
    number: int  # of their link
    stamp: int

    def encode(self, size: int = FORMAT.size) -> bytes:
        """With zeroes behind it up to this size."""
        return FORMAT.pack(MAGIC, *self).ljust(size, b"\0")


def decode(data: bytes) -> Packet | None:
    """None: it is no probe."""
    if len(data) < FORMAT.size:
        return None
    magic, *fields = FORMAT.unpack_from(data)
    return Packet(*fields) if magic == MAGIC else None
