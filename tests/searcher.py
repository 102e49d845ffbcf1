"""How long until an address answers from everywhere: `searcher.py NETNS...`, an address each line.

From each network namespace it is pinged every two milliseconds, until that was answered. Says the
milliseconds from when it was told of the address to the last of the first answers.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from contextlib import suppress

from seaway.bench.pulse import enter

EVERY = 0.002  # seconds
PATIENCE = 10.0
ECHO, ANSWER = 8, 0
HEAD = struct.Struct("!BBHHH")  # type, code, checksum, who asks, number


def _socket(netns: str) -> socket.socket:
    enter(netns)
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    made.setblocking(False)
    return made


def _asking(number: int) -> bytes:
    """Its checksum is that of five words."""
    words = (ECHO << 8) + 0x5359 + number
    checksum = 0xFFFF - (words & 0xFFFF) - (words >> 16)
    return HEAD.pack(ECHO, 0, checksum & 0xFFFF, 0x5359, number)


def _is_answer(packet: bytes, number: int) -> bool:
    """Behind an IPv4 header without options."""
    if len(packet) < 20 + HEAD.size:
        return False
    kind, _, _, who, what = HEAD.unpack_from(packet, 20)
    return (kind, who, what) == (ANSWER, 0x5359, number)


def search(address: str, number: int, sockets: list[socket.socket]) -> float:
    """Milliseconds; `number`: of this search, so that answers to others are not taken for its."""
    begun = due = time.monotonic()
    silent = set(sockets)
    while silent and time.monotonic() - begun < PATIENCE:
        now = time.monotonic()
        if now >= due:
            due = now + EVERY
            for one in silent:
                with suppress(OSError):  # no way leads there yet
                    one.sendto(_asking(number), (address, 0))
        readable, _, _ = select.select(silent, [], [], max(0.0, due - time.monotonic()))
        for one in readable:
            if _is_answer(one.recv(2048), number):
                silent.discard(one)
    return 1000 * (time.monotonic() - begun)


if __name__ == "__main__":
    found = [_socket(netns) for netns in sys.argv[1:]]
    for count, line in enumerate(sys.stdin, 1):
        sys.stdout.write(f"{search(line.strip(), count, found)}\n")
        sys.stdout.flush()
