"""How often nftables was changed, as the kernel counts it: nobody lists rules that stand still."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

from seaway.kernel import netns
from seaway.kernel.rtnl import Rtnl, attributes

_NETLINK_NETFILTER = 12
_GET_GENERATION, _GENERATION_ID = 10 << 8 | 16, 1


class Generation:
    """A number for each state of all nftables rules of a network namespace; for any thread."""

    def __init__(self, netns_path: Path | None = None) -> None:
        self._socket = netns.visit_path(netns_path, lambda: Rtnl(protocol=_NETLINK_NETFILTER))
        self._lock = threading.Lock()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> int:
        question = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
        with self._lock:
            body = self._socket.get(_GET_GENERATION, question)
        return int(struct.unpack(">I", attributes(body, 4)[_GENERATION_ID])[0])
