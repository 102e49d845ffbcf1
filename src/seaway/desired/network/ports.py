"""Ports of the host that lead to endpoints or services: nothing that leaves it may come from one.

An answer to a packet from such a port would be taken for a question to the endpoint
(docs/decisions/source-ports.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import Final

from msgspec.structs import replace

from seaway.facts import Derivation, Facts, Source, View
from seaway.model.facts import Before, Endpoint
from seaway.model.kernel import Reserved
from seaway.model.ports import Ports, Span, parse_ports, spans, written
from seaway.model.services import NodePort

PUBLISHING: Final = "publishing"  # the index of endpoints that publish something

_LEAST, _MOST = 1024, 65535
_LOW: Final = (600, 1023)  # for who sends from below 1024, as servers may ask for: the kernel's own
_BLOCK: Final = 1024  # ports
_GAPS: Final = 16
_NONE: Final = Ports()


def published(known: Facts | View) -> Ports:
    """By whatever address and protocol."""
    return own(known) | shared(known)


def own(known: Facts | View) -> Ports:
    """Those of endpoints: this host records their end."""
    endpoints = known.where(Endpoint, PUBLISHING, True)
    return frozenset(port.host_port for e in endpoints for port in e.ports)


def shared(known: Facts | View) -> Ports:
    """Those of services: any host may record their end, while this one is off."""
    return frozenset(port.port for port in known.all(NodePort))


def unnoted(known: Facts, before: Before | None) -> bool:
    """Whether the host is to note shared ones, before they are put into its list."""
    noted = parse_ports(before.left) | parse_ports(before.reserved) if before else _NONE
    return not shared(known) <= noted


def added(before: Before, taken: Ports) -> Ports:
    """What we alone may have put into the kernel's list of reserved ports, with these published."""
    return (taken | parse_ports(before.left)) - parse_ports(before.reserved)


def seen_reserved(known: Before, there: Ports, own_: Ports, shared_: Ports = _NONE) -> Before:
    """What is to be known of that list, as it is now: all that we did not add is others'. What is
    shared is noted as if it were left already.
    """
    ours = added(known, own_)
    others = there - ours
    left = (there & ours - own_) | (shared_ - others)
    return replace(known, reserved=written(others), left=written(left))


def left_ports(before: Before | None, ports: Iterable[int]) -> list[Before]:
    """What is to be recorded with the end of publications at these ports."""
    if before is None:
        return []
    left = parse_ports(before.left).union(ports)
    new = replace(before, left=written(left))
    return [] if new == before else [new]


def source_spans(taken: Collection[int]) -> tuple[Span, ...]:
    """From where containers may seem to speak to the world: no port of these is published.

    Whole blocks of ports in which none is, so that few publications change the answer; where
    each block has one, the longest spans between them. At most one span is below 1024.
    """
    blocks = {port // _BLOCK for port in taken}
    free = (b for b in range(_LEAST // _BLOCK, _MOST // _BLOCK + 1) if b not in blocks)
    whole = [(a * _BLOCK, b * _BLOCK + _BLOCK - 1) for a, b in spans(free)]
    high = whole or _longest((_LEAST, _MOST), taken, _GAPS)
    return (*_longest(_LOW, taken, 1), *high)


def _longest(within: Span, taken: Collection[int], most: int) -> list[Span]:
    gaps = sorted(_between(within, taken), key=lambda gap: gap[0] - gap[1])
    return sorted(gaps[:most])


def _between(within: Span, taken: Collection[int]) -> Iterator[Span]:
    first, last = within
    inside = sorted({port for port in taken if first <= port <= last})
    for one, other in pairwise((first - 1, *inside, last + 1)):
        if other - one > 1:
            yield one + 1, other - 1


def _reserved(_key: str, view: View) -> Reserved | None:
    wanted, unwanted = own(view), Ports()
    for before in view.all(Before):
        wanted |= shared(view) & parse_ports(before.left)
        unwanted |= added(before, wanted) - wanted
    if not wanted and not unwanted:
        return None
    return Reserved(written(wanted), written(unwanted))


RESERVED = Derivation(
    "reserved",
    (
        Source(Endpoint, lambda e: ["ports"] if e.ports else []),
        Source(NodePort, lambda _: ["ports"]),
        Source(Before, lambda _: ["ports"]),
    ),
    _reserved,
)
