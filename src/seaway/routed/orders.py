"""What the agent tells, read when it is otherwise; and what follows from it."""

from __future__ import annotations

from pathlib import Path

from seaway.errors import Undecodable
from seaway.model import codec
from seaway.model.addresses import Address
from seaway.model.routing import Orders
from seaway.routed.neighbours import chosen


class OrdersFile:
    """The file that the agent replaces."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def read(self) -> Orders | None:
        """None: it is as it was, or not there yet. Raises `Undecodable`, once for each that is."""
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns)
            if seen == self._seen:
                return None
            self._seen = seen
            return codec.decode(self._path.read_bytes(), Orders)
        except FileNotFoundError:
            return None
        except Undecodable as error:
            raise Undecodable(f"{self._path}: {error.message}") from error


def addresses(orders: Orders) -> dict[str, Address]:
    """Where each member is probed and met: the first of its addresses of a family that we have."""
    families = {address.version for address in orders.underlay}
    return {
        member.name: found[0]
        for member in orders.members
        if (found := [a for a in member.underlay if a.version in families])
    }


def ring(orders: Orders) -> set[str]:
    """The members that this host probes of its own choice."""
    reached = addresses(orders)
    segments = {
        str(prefix): [orders.host, *(name for name, a in reached.items() if a in prefix)]
        for prefix in orders.segments
    }
    return chosen(orders.host, [orders.host, *reached], segments)
