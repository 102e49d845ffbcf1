"""Answers of ours as bytes without their ids, one for each order of their records. No I/O.

Each record of a name is the first as often as the others, so that who takes the first one spreads
what he asks. They are small and short-lived; there is no library between them and the wire, as all
of them are made anew with each change (docs/decisions/dns.md).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from seaway.dns import wire
from seaway.dns.lookup import Found, Missing, Server
from seaway.dns.wire import AAAA, ANY, ASKED, CNAME, PTR, SOA, SRV, Malformed, Query
from seaway.model.addresses import Address
from seaway.names import DOMAIN

Sections = tuple[list[bytes], list[bytes], list[bytes]]  # answer, authority, additional
Shuffled = Callable[[Sequence[Address]], list[Address]]

TTL: Final = 5  # seconds: a name dies with what it stood for
NEGATIVE: Final = 1  # and one that is not there may come at any time
ORDERS: Final = 32  # at most
_SHORTEST: Final = 12  # bytes of a record
_SRV = struct.Struct("!HHH")  # priority, weight, port
_TIMERS = struct.pack("!IIIII", 1, 7200, 1800, 86400, NEGATIVE)  # of an SOA: serial, and so on
_MASTER: Final = wire.as_name(wire.from_text(f"dns.{DOMAIN}"))
_MAILBOX: Final = wire.as_name(wire.from_text(f"hostmaster.{DOMAIN}"))
_KIND: Final = {4: wire.A, 6: AAAA}


def build(
    query: Query, found: Found | Missing, limit: int, shuffled: Shuffled, most: int = ORDERS
) -> tuple[bytes, ...]:
    """Each whole message but for its id, cut to the limit; at `most` so many orders."""
    if isinstance(found, Missing):
        return (_negative(query, found.zone, wire.NXDOMAIN),)
    addresses = _addresses(query, found.addresses, shuffled)
    rest = [*_others(query, found)]
    if not addresses and not rest:
        return (_negative(query, found.zone, wire.NOERROR),)
    extra = _extra(found.servers) if query.type in (SRV, ANY) else []
    return tuple(
        wire.cut(_whole(query, (own, [], extra)), limit)[2:]
        for own in islice(_orders(addresses, rest, limit // _SHORTEST + 1), most)
    )


def _orders(addresses: list[bytes], rest: list[bytes], fit: int) -> Iterator[list[bytes]]:
    """Records turned, each to be the first in its turn. More than `fit` would be cut off anyway."""
    turned = addresses or rest
    for i in range(len(turned)):
        order = (turned[i : i + fit] + turned[:i])[:fit]
        yield [*order, *rest] if addresses else order


def _addresses(query: Query, addresses: tuple[Address, ...], shuffled: Shuffled) -> list[bytes]:
    wanted = [a for a in addresses if query.type in (_KIND[a.version], ANY)]
    return [wire.record(ASKED, _KIND[a.version], TTL, a.packed) for a in shuffled(wanted)]


def _others(query: Query, found: Found) -> Iterator[bytes]:
    if found.elsewhere:
        yield from alias(found.elsewhere)
    if query.type in (PTR, ANY):
        for name in found.pointers:
            yield from _named(PTR, name)
    if query.type in (SRV, ANY):
        for server in found.servers:
            yield from _named(SRV, server.target, _SRV.pack(0, 1, server.port))
    if query.type == SOA and query.name == found.zone:
        yield _authority(ASKED)


def alias(name: str) -> Iterator[bytes]:
    """The CNAME of who stands for somebody else."""
    return _named(CNAME, name)


def _named(kind: int, name: str, before: bytes = b"") -> Iterator[bytes]:
    """None of a name that cannot be one in DNS, such as a very long one of a container."""
    try:
        target = wire.as_name(wire.from_text(name))
    except Malformed:
        return
    yield wire.record(ASKED, kind, TTL, before + target)


def _extra(servers: tuple[Server, ...]) -> list[bytes]:
    """The addresses of those that SRV names."""
    found: dict[bytes, None] = {}
    for server in servers:
        try:
            name = wire.as_name(wire.from_text(server.target))
        except Malformed:
            continue
        for address in server.addresses:
            found[wire.record(name, _KIND[address.version], TTL, address.packed)] = None
    return list(found)


def _negative(query: Query, zone: str, rcode: int) -> bytes:
    """With the SOA that tells for how long (RFC 2308, 3)."""
    try:
        owner = ASKED if query.name == zone else wire.as_name(wire.from_text(zone))
    except Malformed:
        owner = ASKED
    return _whole(query, ([], [_authority(owner)], []), rcode)[2:]


def _authority(owner: bytes) -> bytes:
    return wire.record(owner, SOA, NEGATIVE, _MASTER + _MAILBOX + _TIMERS)


def _whole(query: Query, sections: Sections, rcode: int = 0) -> bytes:
    own, authorities, others = sections
    others = [*others, wire.opt(secure=query.edns.secure)] if query.edns else others
    flags = wire.QR | wire.AA | wire.RA | query.flags & (wire.RD | wire.CD) | rcode
    head = wire.HEADER.pack(0, flags, 1, len(own), len(authorities), len(others))
    return b"".join((head, query.question, *own, *authorities, *others))


def chained(query: Query, name: str, data: bytes, limit: int) -> bytes:
    """The answer of somebody else's name (`data`) behind the alias that leads to it: of him, what
    has addresses or leads on to them.
    """
    message = wire.parse(data)
    own = [*alias(name)]
    for record in message.answers:
        if record.type in (wire.A, AAAA):
            rest = data[record.data : record.end]
        elif record.type == CNAME:
            rest = wire.name_at(data, record.data)
        else:
            continue
        own.append(wire.record(wire.name_at(data, record.start), record.type, record.ttl, rest))
    whole = _whole(query, (own, [], []), message.rcode)
    return query.id.to_bytes(2, "big") + wire.cut(whole, limit)[2:]
