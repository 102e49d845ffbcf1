"""Frames of our making: a UDP datagram in the smallest frame of its family, with fitting sums."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import NamedTuple

from seaway.model.addresses import Address

PAYLOAD = bytes(18)  # the smallest Ethernet frame of IPv4
TTL = 255
UDP = 17


class End(NamedTuple):
    mac: bytes
    address: Address
    port: int


def frame(source: End, target: End, payload: bytes = PAYLOAD, number: int = 0) -> bytes:
    """`number`: that IPv4 knows the packet by."""
    ports = struct.pack("!HHH", source.port, target.port, 8 + len(payload))
    ends = source.address.packed + target.address.packed
    sum_ = checksum(ends + struct.pack("!HH", UDP, 8 + len(payload)) + ports + payload)
    datagram = ports + (sum_ or 0xFFFF).to_bytes(2) + payload
    macs = target.mac + source.mac
    if isinstance(source.address, IPv6Address):
        fixed = struct.pack("!IHBB", 6 << 28, len(datagram), UDP, TTL)
        return macs + b"\x86\xdd" + fixed + ends + datagram
    fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), number, 0, TTL, UDP, 0)
    header = fixed[:10] + checksum(fixed + ends).to_bytes(2) + ends
    return macs + b"\x08\x00" + header + datagram


def carried(source: End, target: End, inner: bytes, number: int) -> bytes:
    """A frame inside of another, as VXLAN of this identifier without a checksum of UDP."""
    head = struct.pack("!II", 8 << 24, number << 8)
    outer = bytearray(frame(source, target, head + inner))
    at = 14 + (40 if isinstance(source.address, IPv6Address) else 20) + 6
    outer[at : at + 2] = bytes(2)
    return bytes(outer)


def checksum(data: bytes) -> int:
    """Of the internet (RFC 1071); of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
