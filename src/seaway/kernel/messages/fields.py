"""The small parts that several kinds of rtnetlink messages share."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from seaway.kernel.rtnl import attribute
from seaway.model.addresses import Address, Interface, Prefix

_U32 = struct.Struct("=I")


def unpack(layout: struct.Struct, body: bytes) -> tuple[Any, ...]:
    """The fixed head of a message."""
    if len(body) < layout.size:
        raise ValueError(f"netlink message of {len(body)} bytes, expected at least {layout.size}")
    return layout.unpack_from(body)


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def number(payload: bytes | None) -> int:
    """0 if there is none."""
    if payload is None:
        return 0
    if len(payload) != _U32.size:
        raise ValueError(f"netlink number of {len(payload)} bytes, expected 4")
    return int(_U32.unpack(payload)[0])


def text(payload: bytes) -> str:
    return payload.split(b"\0", 1)[0].decode(errors="replace")


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(octets: bytes) -> str:
    return octets.hex(":")


def family(address: Address | Interface | Prefix) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def ip(af: int, octets: bytes | None) -> Address | None:
    """None if there is none, or of a family that is neither IPv4 nor IPv6."""
    if octets is None or af not in (socket.AF_INET, socket.AF_INET6):
        return None
    if len(octets) != (4 if af == socket.AF_INET else 16):
        raise ValueError(f"address of {len(octets)} bytes in family {af}")
    return IPv4Address(octets) if af == socket.AF_INET else IPv6Address(octets)
