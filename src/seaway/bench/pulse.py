"""Push packets or connections from one network namespace to another, from a single process.

Both sockets belong to this process, each to its own namespace, so one CPU does the sending, the
path between and the receiving in turn: no scheduler, no loss, little noise. The server listens on
every address that it has: a client may ask it by another one. Prints how many a second go through.
Started anew for each round:

    python -m seaway.bench.pulse udp|tcp CLIENT_NETNS SERVER_NETNS ADDRESS SECONDS
"""

from __future__ import annotations

import ctypes
import pathlib
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable

from seaway.bench.ports import PULSE_PORT

CLONE_NEWNET = 0x40000000
BURST = 64  # datagrams that wait in the receiver's buffer at most
PAYLOAD = b"s" * 64
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by a reset, so that no port has to wait


def enter(netns: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with pathlib.Path(netns).open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {netns}")


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def datagrams(client: str, server: str, address: str) -> Callable[[], int]:
    """A burst of datagrams, all received: how many."""
    enter(server)
    receiver = socket.socket(family(address), socket.SOCK_DGRAM)
    receiver.bind(("", PULSE_PORT))
    receiver.settimeout(1.0)
    enter(client)
    sender = socket.socket(family(address), socket.SOCK_DGRAM)
    sender.connect((address, PULSE_PORT))

    def burst() -> int:
        for _ in range(BURST):
            sender.send(PAYLOAD)
        for _ in range(BURST):
            receiver.recv(128)
        return BURST

    return burst


def connections(client: str, server: str, address: str) -> Callable[[], int]:
    """One connection with a request and its answer."""
    enter(server)
    listener = socket.create_server(("", PULSE_PORT), family=family(address), backlog=16)
    enter(client)

    def connect() -> int:
        with socket.socket(family(address), socket.SOCK_STREAM) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            asking.connect((address, PULSE_PORT))
            with listener.accept()[0] as answering:
                asking.send(b"?")
                answering.recv(1)
                answering.send(b"!")
                asking.recv(1)
        return 1

    return connect


KINDS = {"udp": datagrams, "tcp": connections}


def rate(step: Callable[[], int], seconds: float) -> float:
    """How many a second at the median step, after a tenth of the time to warm up.

    There is one at least: on a busy machine the first may take longer than all of the time.
    """
    count, times = 1, list[float]()
    start = time.perf_counter()
    warm, end = start + seconds / 10, start + seconds
    while (now := time.perf_counter()) < end or not times:
        count = step()
        if now >= warm:
            times.append(time.perf_counter() - now)
    return count / statistics.median(times)


def main() -> None:
    kind, client, server, address, seconds = sys.argv[1:]
    step = KINDS[kind](client, server, address)
    print(rate(step, float(seconds)))


if __name__ == "__main__":
    main()
