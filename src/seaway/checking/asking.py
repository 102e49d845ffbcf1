"""One check: a connection from the host to an endpoint, and by HTTP one question."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Final

from seaway.model.checks import Checked
from seaway.model.http_status import NoHttp, status_of
from seaway.model.services import Check

_PIECE: Final = 4096
_GOOD: Final = range(200, 400)
# What is wanting here, and says nothing of who was to be asked.
_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
)


async def ask(place: Checked, check: Check) -> str | None:
    """Why it fails; empty: it passes; None: nobody knows, as this host had not the means to ask."""
    try:
        async with asyncio.timeout(check.timeout):
            return await _ask(place, check)
    except TimeoutError:
        return f"no answer within {check.timeout} s"
    except NoHttp:
        return "its answer is no HTTP/1"
    except OSError as error:
        return None if error.errno in _OURS else _told(error)


async def _ask(place: Checked, check: Check) -> str:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET if place.address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as made:
        await loop.sock_connect(made, (str(place.address), place.port))
        if check.by == "tcp":
            return ""
        await loop.sock_sendall(made, request(place, check.path))
        received = b""
        while (status := status_of(received)) is None:
            more = await loop.sock_recv(made, _PIECE)
            if not more:
                return "it closed without an answer"
            received += more
        return "" if status in _GOOD else f"status {status}"


def request(place: Checked, path: str) -> bytes:
    host = str(place.address) if place.address.version == 4 else f"[{place.address}]"
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{place.port}",
        "User-Agent: seaway",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def _told(error: OSError) -> str:
    """In the system's words; asyncio puts its own around them."""
    return os.strerror(error.errno).lower() if error.errno else str(error)
