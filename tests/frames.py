"""Frames as bytes, and what all their checksums say: each is computed from nothing.

A residue is what is left of a checksum and all that it stands for (RFC 1071): zero where it is
right. A translation that is right leaves every residue as it was, also one of a damaged frame.
"""

from __future__ import annotations

from ipaddress import ip_address

from oracle import Packet, is_error, read
from oracle_published import Key, Said, quoted
from seaway.model.addresses import Address

CHECKS = {6: 16, 17: 6}  # where in a transport header
Places = dict[str, tuple[int, int | None]]  # where a checksum stands, and its residue


def residue(*parts: bytes) -> int:
    """Of words of 16 bits, in the arithmetic of ones' complement."""
    return sum(int.from_bytes(p + bytes(len(p) % 2)) for p in parts) % 0xFFFF


def pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    return src + dst + length.to_bytes(4) + protocol.to_bytes(4)


def sums(frame: bytes, gso: int = 0) -> Places:
    """Every checksum that a translation has to do with."""
    packet = read(frame, gso)
    data, found = frame[14 : 14 + packet.length], _header("outer", frame, 14)
    if packet.later:
        return found
    at = 14 + packet.length - len(packet.body)
    head = pseudo(packet.src.packed, packet.dst.packed, packet.protocol, len(packet.body))
    if packet.protocol in CHECKS:
        found |= _transport("transport", packet.body, at, head, packet.protocol)
    elif packet.kind:
        found["icmp"] = at + 2, residue(packet.body, head if packet.version == 6 else b"")
        if is_error(packet) and quoted(packet):
            found |= _quoted(packet, data, at - 14 + 8)
    return found


def _header(name: str, frame: bytes, at: int) -> Places:
    if frame[at] >> 4 != 4:
        return {}
    size = (frame[at] & 15) * 4
    return {f"{name} header": (at + 10, residue(frame[at : at + size]))}


def _transport(name: str, body: bytes, at: int, head: bytes, protocol: int) -> Places:
    place = CHECKS[protocol]
    if len(body) < place + 2:
        return {}
    none = protocol == 17 and body[place : place + 2] == b"\0\0"
    return {name: (at + place, None if none else residue(body, head))}


def _quoted(packet: Packet, data: bytes, at: int) -> Places:
    old = packet.version == 4
    size = (data[at] & 15) * 4 if old else 40
    places, protocol = slice(at + 12, at + 20) if old else slice(at + 8, at + 40), data[at + 9]
    protocol = protocol if old else data[at + 6]
    head, body = data[places] + bytes((0, protocol)), data[at + size :]
    found = _header("quoted", bytes(14) + data, at + 14) if old else {}
    return found | _transport("quoted transport", body, 14 + at + size, head, protocol)


def translated(frame: bytes, packet: Packet, said: Said) -> bytes:
    """As it should go on, but for checksums."""
    to, data, old = said.to, bytearray(frame), packet.version == 4
    assert to is not None
    data[:12] = said.macs or data[:12]
    data[22 if old else 21] -= 1
    _address(data, 14, to.src, to.dst)
    at = 14 + packet.length - len(packet.body)
    if said.about:
        inner = at + 8
        size = (data[inner] & 15) * 4 if old else 40
        back = said.about.back()
        _address(data, inner, back.src, back.dst)
        _ports(data, inner + size, back.sport, back.dport)
    elif not packet.later:
        _ports(data, at, to.sport, to.dport)
    return bytes(data)


def _address(data: bytearray, at: int, src: Address, dst: Address) -> None:
    first = at + (12 if src.version == 4 else 8)
    size = len(src.packed)
    data[first : first + 2 * size] = src.packed + dst.packed


def _ports(data: bytearray, at: int, sport: int, dport: int) -> None:
    data[at : at + 4] = sport.to_bytes(2) + dport.to_bytes(2)


def blank(frame: bytes, places: Places) -> bytes:
    """Without its checksums."""
    data = bytearray(frame)
    for place, _ in places.values():
        data[place : place + 2] = bytes(2)
    return bytes(data)


def told(frame: bytes, packet: Packet, tells: tuple[int, int, int], source: str) -> bytes:
    """The ICMP error about a frame, but for its MACs."""
    kind, code, mtu = tells
    about = frame[14:][: min(packet.length, 128)]
    src, dst = ip_address(source).packed, packet.src.packed
    if packet.version == 6:
        head = bytes((0x60, 0, 0, 0)) + (8 + len(about)).to_bytes(2) + bytes((58, 64)) + src + dst
        body = _error(kind, code, mtu, about, pseudo(src, dst, 58, 8 + len(about)))
        return frame[12:14] + head + body
    head = bytes((0x45, 0xC0)) + (28 + len(about)).to_bytes(2) + bytes((0, 0, 0x40, 0, 64, 1, 0, 0))
    return frame[12:14] + checked(head + src + dst, 10) + _error(kind, code, mtu, about, b"")


def _error(kind: int, code: int, mtu: int, about: bytes, head: bytes) -> bytes:
    return checked(bytes((kind, code, 0, 0)) + mtu.to_bytes(4) + about, 2, head)


def checked(data: bytes, place: int, head: bytes = b"") -> bytes:
    """With its checksum."""
    check = (0xFFFF - residue(data, head)) % 0xFFFF
    return data[:place] + check.to_bytes(2) + data[place + 2 :]


def spoken(key: Key, payload: bytes, flags: int = 0x10, ttl: int = 64) -> bytes:
    """A packet of a flow, from layer 3 on."""
    ports = key.sport.to_bytes(2) + key.dport.to_bytes(2)
    if key.protocol == 6:
        body = ports + bytes(8) + bytes((0x50, flags, 1, 0, 0, 0, 0, 0)) + payload
    elif key.protocol == 17:
        body = ports + (8 + len(payload)).to_bytes(2) + bytes(2) + payload
    else:
        body = payload
    if key.protocol in CHECKS:
        head = pseudo(key.src.packed, key.dst.packed, key.protocol, len(body))
        body = checked(body, CHECKS[key.protocol], head)
    return carried(key.src, key.dst, key.protocol, body, ttl)


def carried(src: Address, dst: Address, protocol: int, body: bytes, ttl: int = 64) -> bytes:
    if src.version == 6:
        head = bytes((0x60, 0, 0, 0)) + len(body).to_bytes(2) + bytes((protocol, ttl))
        return head + src.packed + dst.packed + body
    head = (
        bytes((0x45, 0)) + (20 + len(body)).to_bytes(2) + bytes((0, 0, 0, 0, ttl, protocol, 0, 0))
    )
    return checked(head + src.packed + dst.packed, 10) + body


def complains(src: Address, dst: Address, kind: tuple[int, int], about: bytes) -> bytes:
    """An ICMP error, from layer 3 on."""
    size = 8 + len(about)
    head = pseudo(src.packed, dst.packed, 58, size) if src.version == 6 else b""
    protocol = 58 if src.version == 6 else 1
    return carried(src, dst, protocol, _error(*kind, 0, about, head))
