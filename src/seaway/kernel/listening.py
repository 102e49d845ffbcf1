"""A TCP port that is listened on, of whichever families the host has."""

from __future__ import annotations

import socket
from typing import Any


def listener(address: str, port: int, backlog: int) -> socket.socket:
    """Without an address on all, of both families where the host has both. `port` 0: any that is
    free. Raises `OSError`.
    """
    options: dict[str, Any] = {"backlog": backlog}
    if not address and socket.has_dualstack_ipv6():
        options |= {"family": socket.AF_INET6, "dualstack_ipv6": True}
    sock = socket.create_server((address, port), **options)
    sock.setblocking(False)
    return sock
