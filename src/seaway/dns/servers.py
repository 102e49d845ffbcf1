"""Whom the host asks for names: the servers of its resolv.conf, read anew when that changes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from seaway.model.addresses import Address

_MOST: Final = 3  # as resolv.conf(5) has it


def parse(text: str) -> list[str]:
    """The addresses, in their order; IPv6 ones perhaps with a zone."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _address(words[1]):
            found.append(words[1])
    return list(dict.fromkeys(found))[:_MOST]


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


class Servers:
    """`own`: where we listen, and are not to ask ourselves."""

    def __init__(self, path: Path, own: Callable[[], Collection[Address]]) -> None:
        self._path = path
        self._own = own
        self._seen: tuple[int, int, int] | None = None
        self._found: list[str] = []

    def now(self) -> list[str]:
        """In their order. What cannot be read is as if it named nobody."""
        try:
            found = self._path.stat()
            seen = found.st_dev, found.st_ino, found.st_mtime_ns
            if seen != self._seen:
                self._found, self._seen = parse(self._path.read_text(errors="replace")), seen
        except OSError:
            self._found, self._seen = [], None
        own = self._own()
        return [server for server in self._found if _address(server) not in own]
