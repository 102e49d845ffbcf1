"""The late links of a lab: frames taken from one port of the wire, given to another later.

`python -m seaway.lab.delay` runs in the wire's namespace and reads `HOST HOST MS LOSS` lines, one
for each late link. The bridge drops the same frames (`links.rules`). They go with the header that
says what is left to do to them (PACKET_VNET_HDR), so that large ones stay whole.
"""

from __future__ import annotations

import random
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

_ALL: Final = 0x0003  # ETH_P_ALL
_SOL_PACKET, _VNET_HDR = 263, 15
_HEADER: Final = 10  # bytes of struct virtio_net_hdr, before the frame
_LARGEST: Final = 1 << 17
_QUEUE: Final = 10_000  # frames that one direction holds; more are lost, as on a wire


class Way(NamedTuple):
    """One direction of a link."""

    seconds: float
    loss: float  # 0 to 1
    to: socket.socket
    frames: deque[tuple[float, bytes]]


class Port(NamedTuple):
    socket: socket.socket
    ways: dict[str, Way]  # by the port that it leads to


def main(lines: Iterable[str]) -> None:
    ports: dict[str, Port] = {}
    for line in lines:
        one, other, milliseconds, loss = line.split()
        for here, there in ((one, other), (other, one)):
            to = _port(ports, there).socket
            way = Way(float(milliseconds) / 1000, float(loss) / 100, to, deque(maxlen=_QUEUE))
            _port(ports, here).ways[there] = way
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _carry(ports)


def _port(ports: dict[str, Port], name: str) -> Port:
    if name not in ports:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        made.bind((name, _ALL))
        ports[name] = Port(made, {})
    return ports[name]


def _carry(ports: dict[str, Port]) -> None:
    """For ever. Everybody on the wire is told of every frame, and takes what is for him."""
    selector = selectors.DefaultSelector()
    for port in ports.values():
        selector.register(port.socket, selectors.EVENT_READ, port)
    ways = [way for port in ports.values() for way in port.ways.values()]
    while True:
        due = min((way.frames[0][0] for way in ways if way.frames), default=None)
        wait = None if due is None else max(0.0, due - time.monotonic())
        for key, _ in selector.select(wait):
            _take(key.data)
        now = time.monotonic()
        for way in ways:
            while way.frames and way.frames[0][0] <= now:
                _give(way)


def _take(port: Port) -> None:
    try:
        frame, where = port.socket.recvfrom(_LARGEST)
    except OSError:  # the port went down, which is told once: it may come up again
        return
    if where[2] == socket.PACKET_OUTGOING or len(frame) <= _HEADER:
        return
    now = time.monotonic()
    for way in port.ways.values():
        if random.random() >= way.loss:
            way.frames.append((now + way.seconds, frame))


def _give(way: Way) -> None:
    _, frame = way.frames.popleft()
    try:
        way.to.send(frame)
    except OSError:  # the port is down, or full: the frame is lost
        return


if __name__ == "__main__":
    main(sys.stdin)
