"""Which ports of the host its own sockets have, and who is behind them. Only read.

The kernel lists the sockets of a namespace in text; of whom each is, only the descriptors of
all processes tell, so these are gone through only where a port that is asked for is taken.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from seaway.kernel import placeholders
from seaway.model.addresses import Address
from seaway.model.node_ports import HostPort
from seaway.model.publications import HeldPort

_PROC: Final = Path("/proc")
_RUN: Final = Path("/run")
_LISTS: Final = {"tcp": "tcp", "tcp6": "tcp", "udp": "udp", "udp6": "udp"}
_LISTENS: Final = "0A"  # TCP_LISTEN, of net/tcp_states.h
_WORD: Final = 8  # digits of 32 bits, which are in the order of the machine
_SOCKET: Final = re.compile(r"socket:\[([0-9]+)\]")
_SYS_PIDFD_GETFD: Final = 438  # on every machine
_libc = ctypes.CDLL(None, use_errno=True)
_NOBODY: Final = "a socket of this host that no process has"


@dataclass(frozen=True, slots=True)
class _Bound:
    protocol: str
    address: Address
    port: int
    inode: int  # 0: of what is left of a connection whose socket is closed


def held(
    ports: Collection[HostPort], container: str = "", proc: Path = _PROC, run: Path = _RUN
) -> list[HeldPort]:
    """Of these protocols and ports, the ones that sockets of this namespace have, but for those
    that only keep them for the container.

    A socket on `::` has the port of IPv4 too, unless it was told otherwise, which nobody else
    can see: it counts for both.
    """
    bound = list(_bound(ports, proc))
    if not bound:
        return []
    if container:
        kept = _kept(container, proc, run)
        bound = [found for found in bound if found.inode not in kept]
    holders = _holders({found.inode for found in bound}, proc)
    return [
        HeldPort(found.protocol, address, found.port, holders.get(found.inode, _NOBODY))
        for found in bound
        for address in _heard(found.address)
    ]


def _heard(address: Address) -> tuple[Address, ...]:
    return (address, IPv4Address(0)) if address == IPv6Address(0) else (address,)


def _bound(ports: Collection[HostPort], proc: Path) -> Iterator[_Bound]:
    wanted = {(protocol, f"{port:04X}") for protocol, port in ports}
    for name, protocol in _LISTS.items():
        path = proc / "self" / "net" / name
        if not path.exists():  # a kernel without IPv6
            continue
        for line in path.read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split(maxsplit=10)[:10]
            address, _, port = local.partition(":")
            if (protocol, port) in wanted:
                found = _Bound(protocol, _address(address), int(port, 16), int(inode))
                if protocol == "udp" or state == _LISTENS or _connects(found):
                    yield found


def _connects(found: _Bound) -> bool:
    """Whether its packets come by a wire, where the port would be taken for the published one."""
    return found.inode != 0 and not found.address.is_loopback


def _address(text: str) -> Address:
    words = (text[at : at + _WORD] for at in range(0, len(text), _WORD))
    octets = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    if len(octets) == 4:
        return IPv4Address(octets)
    address = IPv6Address(octets)
    return address.ipv4_mapped or address


def _kept(container: str, proc: Path, run: Path) -> set[int]:
    found: set[int] = set()
    for pid in placeholders.of_container(container, proc, run):
        found.update(_sockets(proc / str(pid)))
    return found


def _sockets(process: Path) -> Iterator[int]:
    """Their numbers."""
    return (inode for inode, _ in _descriptors(process))


def _descriptors(process: Path) -> Iterator[tuple[int, int]]:
    """Of its sockets, with their numbers first. Processes end, and sockets are closed, while they
    are looked at.
    """
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if number := _SOCKET.fullmatch(str(descriptor.readlink())):
                    yield int(number[1]), int(descriptor.name)


def borrowed(inodes: Collection[int], proc: Path = _PROC) -> Iterator[tuple[int, int]]:
    """Of each of these sockets that a process has, a descriptor of ours: until the next one."""
    wanted = set(inodes)
    for folder in proc.iterdir() if wanted else ():
        if not folder.name.isdecimal():
            continue
        for inode, number in _descriptors(folder):
            if inode not in wanted:
                continue
            with suppress(OSError), _borrowed(int(folder.name), number) as own:
                if os.fstat(own).st_ino == inode:  # else another one has its number by now
                    wanted.discard(inode)
                    yield inode, own


@contextmanager
def _borrowed(process: int, descriptor: int) -> Iterator[int]:
    pidfd = os.pidfd_open(process)
    try:
        own = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)
        if own < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(pidfd)
    try:
        yield own
    finally:
        os.close(own)


def _holders(inodes: set[int], proc: Path) -> dict[int, str]:
    """By socket, in words."""
    found: dict[int, str] = {}
    for folder in proc.iterdir():
        if not folder.name.isdecimal() or len(found) == len(inodes):
            continue
        for inode in inodes.intersection(_sockets(folder)):
            with suppress(OSError):
                name = (folder / "comm").read_text().strip()
                found.setdefault(inode, f"{name} (process {folder.name})")
    return found
