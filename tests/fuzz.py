"""Damage done to frames, and what a program makes of them."""

from __future__ import annotations

import errno
import random

from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN
from scapy.packet import Packet

from seaway.bpf import trial

SHORTEST = 14 + 40


def hop() -> Packet:
    return IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])


def options() -> Packet:
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])


def spoil(draw: random.Random, frame: bytes, addresses: list[bytes]) -> bytes:
    """One kind of damage."""
    data = bytearray(frame)
    kind = draw.randrange(7)
    at = draw.randrange(min(len(data), 90))
    if kind == 0:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        data[at] = draw.choice((0, 1, 2, 44, 58, 60, 0x45, 0x60, 0x80, 255, draw.randrange(256)))
    elif kind == 2:
        del data[draw.randrange(15, len(data)) :]
    elif kind == 3:
        data += draw.randbytes(draw.randrange(1, 60))
    elif kind == 4:
        place = draw.choice((26, 30, 22, 38, 28, 62))
        address = draw.choice(addresses)
        data[place : place + len(address)] = address
    elif kind == 5:
        del data[at : at + draw.randrange(1, 9)]
    else:
        data[at:at] = draw.randbytes(draw.randrange(1, 9))
    return bytes(data)


def outcome(program: int, frame: bytes, context: trial.Context) -> trial.Outcome | None:
    """None: the kernel refuses so short a frame before any program sees it."""
    try:
        return trial.run(program, frame, context)
    except OSError as error:
        if error.errno == errno.EINVAL and len(frame) < SHORTEST:
            return None
        raise


def unchanged(given: bytes, taken: bytes) -> bool:
    """But for MACs, and the TTL with its checksum."""
    ttl, checksum = (22, (24, 25)) if given[12:14] == b"\x08\x00" else (21, ())
    kept = [i for i in range(12, len(given)) if i != ttl and i not in checksum]
    return len(given) == len(taken) and all(given[i] == taken[i] for i in kept)
