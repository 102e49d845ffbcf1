"""A client of published ports, as programs of the host are; the standard library alone.

asking.py CASE ADDRESS PORT

Prints what it saw as JSON: the answer, and whom it takes for the one who answered.
"""

from __future__ import annotations

import errno
import json
import socket
import struct
import sys

TIMEOUT = 20.0
IPV6_CHECKSUM = 7  # of linux/in6.h: where the kernel fills it in
NO_ANSWER = 3.0  # seconds, after which there is none from a kernel


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp(address: str, port: int) -> tuple[str, str]:
    with socket.create_connection((address, port), timeout=TIMEOUT) as client:
        client.sendall(b"q")
        return client.recv(100).decode(), client.getpeername()[0]


def udp(address: str, port: int) -> tuple[str, str]:
    """A socket that is not connected: it is told by each datagram who sent it."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        client.sendto(b"q", (address, port))
        answer, sender = client.recvfrom(100)
        return answer.decode(), sender[0]


def connected(address: str, port: int) -> tuple[str, str]:
    """The same, connected: it takes nothing from anybody else."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        client.connect((address, port))
        client.send(b"q")
        answer, sender = client.recvfrom(100)
        assert sender[0] == client.getpeername()[0]
        return answer.decode(), sender[0]


def again(address: str, port: int) -> tuple[str, str]:
    """A datagram socket that was connected there, and now elsewhere: here, to itself."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        client.connect((address, port))
        own = "::1" if ":" in address else "127.0.0.1"
        with socket.socket(_family(address), socket.SOCK_DGRAM) as other:
            other.bind((own, 0))
            client.connect(other.getsockname())
            client.send(b"q")
            return other.recv(100).decode(), client.getpeername()[0]


def bound(address: str, port: int) -> tuple[str, str]:
    """A socket that says by itself which address it has."""
    with socket.socket(_family(address), socket.SOCK_STREAM) as client:
        client.settimeout(NO_ANSWER)
        client.bind((address, 0))
        client.connect((address, port))
        client.settimeout(TIMEOUT)
        client.sendall(b"q")
        return client.recv(100).decode(), client.getpeername()[0]


def raw(address: str, port: int) -> tuple[str, str]:
    """A datagram that it writes itself: no hook of its socket sees to whom."""
    family, ipv6 = _family(address), ":" in address
    with (
        socket.socket(family, socket.SOCK_DGRAM) as owner,  # of the port: it hears the answer
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP) as client,
    ):
        owner.settimeout(TIMEOUT)
        owner.bind(("::" if ipv6 else "0.0.0.0", 0))
        if ipv6:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_CHECKSUM, 6)
        head = struct.pack("!4H", owner.getsockname()[1], port, 9, 0)
        client.sendto(head + b"q", (address, 0))
        answer, sender = owner.recvfrom(100)
        assert sender[1] == port
        return answer.decode(), sender[0]


CASES = {case.__name__: case for case in (tcp, udp, connected, again, bound, raw)}


def main() -> None:
    case, address, port = sys.argv[1:]
    try:
        told: object = CASES[case](address, int(port))
    except OSError as error:
        told = errno.errorcode.get(error.errno or 0, type(error).__name__)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
