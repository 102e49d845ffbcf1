"""A place for programs: a thread in network and mount namespaces of its own, with a bpffs.

Whatever runs there sees no interface but its own loopback, and pins nothing on the machine.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import Any, TypeVar

from seaway.bpf import abi
from seaway.model.addresses import Address, mapped
from seaway.names import (
    GATEWAY4,
    GATEWAY6,
    GATEWAY_MAC,
    OVERLAY_ID,
    OVERLAY_MAC,
    OVERLAY_PORT,
    RESOLVER4,
)

T = TypeVar("T")
RESOLVER6 = IPv6Address("fd00:5ea::ff53")
_NEWNS, _NEWNET = 0x00020000, 0x40000000
_PRIVATE = 1 << 18 | 1 << 14  # MS_PRIVATE, MS_REC
_libc = ctypes.CDLL(None, use_errno=True)


class Stage:
    """Runs work there, one piece at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stage")

    def run(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return self._thread.submit(work, *arguments, **named).result(timeout=300)

    def shell(self, command: str) -> str:
        """Several commands are parted by ';'."""

        def call() -> str:
            done = [
                subprocess.run(c.split(), check=True, capture_output=True, text=True, timeout=60)
                for c in command.split("; ")
            ]
            return done[-1].stdout

        return self.run(call)

    @property
    def process(self) -> int:
        """By which ip(8) knows its network namespace."""
        return self.run(threading.get_native_id)

    def close(self) -> None:
        """With the thread its namespaces end."""
        self._thread.shutdown()


def carries(wire: Stage, port: str) -> bool:
    """Whether a port of this bridge passes frames on. The kernel puts it to work when it comes to
    it (linkwatch); until then what a host sends goes nowhere, and nobody asks for a MAC for long.
    """
    return "state forwarding" in wire.shell(f"bridge link show dev {port}")


@contextmanager
def stage() -> Iterator[Stage]:
    place = Stage()
    try:
        place.run(_move)
        place.shell("ip link set lo up")
        yield place
    finally:
        place.close()


def _move() -> None:
    _check(_libc.unshare(_NEWNS | _NEWNET))
    _check(_libc.mount(None, b"/", None, _PRIVATE, None))
    _check(_libc.mount(b"bpf", b"/sys/fs/bpf", b"bpf", 0, None))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mac_octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def settings(
    host4: Address | None = None,
    host6: Address | None = None,
    netns_cookie: int = 0,
) -> abi.Settings:
    return abi.Settings(
        host_v4=mapped(host4) if host4 else bytes(16),
        host_v6=mapped(host6) if host6 else bytes(16),
        gateway_v4=mapped(GATEWAY4),
        gateway_v6=mapped(GATEWAY6),
        netns_cookie=netns_cookie,
        gateway_mac=mac_octets(GATEWAY_MAC),
        overlay_mac=mac_octets(OVERLAY_MAC),
        resolver_v4=mapped(RESOLVER4),
        resolver_v6=mapped(RESOLVER6),
    )


def underlay(reached: Iterable[Address], number: int = 1) -> abi.Underlay:
    """Of the host with this number, which others reach by these addresses."""
    own = {address.version: mapped(address) for address in reached}
    return abi.Underlay(
        v4=own.get(4, bytes(16)),
        v6=own.get(6, bytes(16)),
        id=OVERLAY_ID,
        port=OVERLAY_PORT.to_bytes(2),
        host=number,
    )
