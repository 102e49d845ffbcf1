"""Open flows from random clients, each by one datagram: how many a second reach the server.

Datagrams, because nobody answers them: what is measured is the way in, and what it costs the host
on it to meet a flow for the first time. Frames are handed to the wire in batches, past the client's
own stack, and the server's socket counts what it has no room for: all but the first few. The flows
of the first three quarters fill the host's table; the last quarter is timed. In the end what the
kernel tracked is forgotten, since all hosts of a machine share one hash table.

    python -m seaway.bench.flood CLIENT_NETNS SERVER_NETNS HOST_NETNS ADDRESS FLOWS
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address

from seaway.bench.clients import BATCH, Clients
from seaway.bench.frames import End
from seaway.bench.ports import PULSE_PORT
from seaway.bench.pulse import enter, family
from seaway.errors import SystemFailed

PATIENCE = 5.0  # seconds for the server's MAC
PACKET, QDISC_BYPASS = 263, 20  # SOL_PACKET and an option of it
NETFILTER = 12  # NETLINK_NETFILTER
FORGET_ALL = struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 1 | 4, 1, 0, 0, 0, 0)  # CT_DELETE, with ACK
ERROR = struct.Struct("=16xi")  # struct nlmsgerr, behind its header


class _Piece(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.POINTER(_Piece)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


class Batch:
    """All frames of random clients, in one system call."""

    def __init__(self, sender: socket.socket, clients: Clients) -> None:
        self._sender = sender
        self._libc = ctypes.CDLL(None, use_errno=True)
        held = (ctypes.c_char * len(clients.frames)).from_buffer(clients.frames)
        first, size = ctypes.addressof(held), clients.size
        self._pieces = (_Piece * BATCH)(*(_Piece(first + n * size, size) for n in range(BATCH)))
        self._messages = (_Message * BATCH)()
        for message, piece in zip(self._messages, self._pieces, strict=True):
            message.header.pieces, message.header.count = ctypes.pointer(piece), 1

    def send(self) -> None:
        sent = self._libc.sendmmsg(self._sender.fileno(), self._messages, BATCH, 0)
        if sent < 0:
            raise OSError(ctypes.get_errno(), "sendmmsg")


class Server:
    """A socket that nobody reads, and what its network namespace counts."""

    def __init__(self, netns: str, address: str) -> None:
        enter(netns)
        self._six = ":" in address
        self._socket = socket.socket(family(address), socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._socket.bind(("", PULSE_PORT))
        table = "/proc/thread-self/net/snmp6" if self._six else "/proc/thread-self/net/snmp"
        self._table = os.open(table, os.O_RDONLY)  # stays this namespace's

    def arrived(self) -> int:
        """Datagrams for which there was no room."""
        lines = os.pread(self._table, 1 << 16, 0).decode().splitlines()
        if self._six:
            return int(next(li for li in lines if li.startswith("Udp6RcvbufErrors ")).split()[1])
        names, values = (line.split() for line in lines if line.startswith("Udp: "))
        return int(values[names.index("RcvbufErrors")])


def prepare(client: str, address: str) -> tuple[socket.socket, Clients]:
    """A socket on the client's wire, and frames to its neighbour of this address."""
    enter(client)
    device, mac = neighbour(address)
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.setsockopt(PACKET, QDISC_BYPASS, 1)
    sender.bind((device, 0))
    own: bytes = sender.getsockname()[4]
    return sender, Clients(own, End(mac, ip_address(address), PULSE_PORT))


def neighbour(address: str) -> tuple[str, bytes]:
    """The device to it and its MAC, once the kernel knows that."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as asking:
        asking.sendto(b"?", (address, PULSE_PORT))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        told = subprocess.check_output(["ip", "-json", "neigh", "show", "to", address])
        for entry in json.loads(told or "[]"):
            if "lladdr" in entry:
                return entry["dev"], bytes.fromhex(entry["lladdr"].replace(":", ""))
        time.sleep(0.01)
    raise SystemFailed(f"{address} is no neighbour")


def flood(batch: Batch, clients: Clients, arrived: Callable[[], int], flows: int) -> float:
    """How many a second reach the server at the median batch."""
    rates: list[float] = []
    for number in range(flows // BATCH):
        clients.draw()
        before, start = arrived(), time.perf_counter()
        batch.send()
        taken = time.perf_counter() - start
        if number * BATCH >= flows * 3 // 4:
            rates.append((arrived() - before) / taken)
    return statistics.median(rates)


def forget(host: str) -> None:
    """Every flow that this host's kernel tracked."""
    enter(host)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as netfilter:
        netfilter.send(FORGET_ALL)
        (failed,) = ERROR.unpack_from(netfilter.recv(4096))
    if failed:
        raise OSError(-failed, os.strerror(-failed))


def main() -> None:
    client, server, host, address, flows = sys.argv[1:]
    listening = Server(server, address)
    sender, clients = prepare(client, address)
    with sender:
        try:
            rate = flood(Batch(sender, clients), clients, listening.arrived, int(flows))
        finally:
            forget(host)
    if not rate:
        raise SystemFailed("no flow reached the server")
    print(rate)


if __name__ == "__main__":
    main()
