"""Sets of ports, and how the kernel writes them: 53,8080,20000-20999."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Ports = frozenset[int]
Span = tuple[int, int]  # the first port and the last one


def spans(ports: Iterable[int]) -> Iterator[Span]:
    """Neighbours together, in order."""
    first = last = -1
    for port in sorted(set(ports)):
        if port != last + 1 or first < 0:
            if first >= 0:
                yield first, last
            first = port
        last = port
    if first >= 0:
        yield first, last


def written(ports: Iterable[int]) -> str:
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans(ports))


def parse_ports(text: str) -> Ports:
    """The inverse of `written`. ValueError: it is no list of ports."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)


def merged(now: Ports, wanted: Ports, unwanted: Ports) -> Ports:
    """The list with ours in it, and not those of ours that are to go; others' stay."""
    return (now - unwanted) | wanted
