"""Containers that talk with each other: their sockets, and what the kernel tells them of errors."""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import threading
from contextlib import suppress

from dataplane import Container

PORT = 7000
AGAIN, TRIES = 2.0, 15  # seconds
IP_MTU_DISCOVER, IP_RECVERR, IPV6_MTU_DISCOVER, IPV6_RECVERR = 10, 11, 23, 25
DONT, DO, PROBE = 0, 2, 3


def listener(container: Container, family: int, kind: int) -> socket.socket:
    made = container.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((container.address(family), PORT))
    if kind == socket.SOCK_STREAM:
        made.listen(1)
    return made


def transfer(sender: Container, receiver: Container, family: int, megabytes: int = 8) -> bool:
    """Whether a stream arrives whole."""
    content = hashlib.shake_128(b"seaway").digest(1 << 20) * megabytes
    got = hashlib.sha256()
    with listener(receiver, family, socket.SOCK_STREAM) as server:

        def receive() -> None:
            taken, _ = server.accept()
            with taken:
                taken.settimeout(30)
                while piece := taken.recv(1 << 16):
                    got.update(piece)

        thread = threading.Thread(target=receive)
        thread.start()
        with sender.socket(family, socket.SOCK_STREAM) as client:
            client.connect((receiver.address(family), PORT))
            client.sendall(content)
        thread.join(60)
    return got.digest() == hashlib.sha256(content).digest()


def flush(container: Container) -> None:
    container.netns.run("ip route flush cache; ip -6 route flush cache")


def exchange(client: Container, server: Container, family: int) -> bool:
    """Whether a datagram and its answer arrive, with the addresses that they were sent from. It is
    sent again: the kernel has one table of neighbours for all namespaces of a machine, and forgets
    some whenever others fill it.
    """
    with (
        listener(server, family, socket.SOCK_DGRAM) as there,
        client.socket(family, socket.SOCK_DGRAM) as here,
    ):
        here.connect((server.address(family), PORT))
        for end in (here, there):
            end.settimeout(AGAIN)
        for _ in range(TRIES):
            with suppress(TimeoutError):
                here.send(b"question")
                question, sender = there.recvfrom(100)
                there.sendto(b"answer", sender)
                told = question, sender[0], here.recv(100)
                return told == (b"question", client.address(family), b"answer")
    return False


def hears_only(receiver: Container, friend: Container, stranger: Container, family: int) -> bool:
    """Whether the friend's datagram arrives first, though the stranger's was sent before it."""
    with (
        listener(receiver, family, socket.SOCK_DGRAM) as server,
        stranger.socket(family, socket.SOCK_DGRAM) as outside,
        friend.socket(family, socket.SOCK_DGRAM) as inside,
    ):
        outside.sendto(b"stranger", (receiver.address(family), PORT))
        inside.sendto(b"friend", (receiver.address(family), PORT))
        return server.recv(100) == b"friend"


def too_big(client: Container, server: Container, family: int, size: int) -> tuple[int, int]:
    """What a sender is told of a datagram that must not be cut: errno and MTU."""
    with client.socket(family, socket.SOCK_DGRAM) as here:
        level, discover, receive = levels(family)
        here.setsockopt(level, discover, PROBE)
        here.setsockopt(level, receive, 1)
        here.connect((server.address(family), PORT))
        here.send(b"x" * size)
        return error_in_queue(here)


def hop(client: Container, address: str, family: int, number: int) -> str:
    """Who says that a packet may go no further than so many hops."""
    with client.socket(family, socket.SOCK_DGRAM) as here:
        level, _, receive = levels(family)
        here.setsockopt(level, receive, 1)
        here.setsockopt(level, socket.IP_TTL if family == 4 else socket.IPV6_UNICAST_HOPS, number)
        here.sendto(b"where", (address, PORT))
        poll_for_error(here)
        _, ancillary, _, _ = here.recvmsg(200, 512, socket.MSG_ERRQUEUE)
        data, at = ancillary[0][2], 16 + (4 if family == 4 else 8)
        return socket.inet_ntop(here.family, data[at : at + (4 if family == 4 else 16)])


def arrives_in_fragments(client: Container, server: Container, family: int, size: int) -> bool:
    """Whether a datagram of that size is put together there."""
    with (
        listener(server, family, socket.SOCK_DGRAM) as there,
        client.socket(family, socket.SOCK_DGRAM) as here,
    ):
        here.setsockopt(*levels(family)[:2], DONT)
        here.sendto(b"x" * size, (server.address(family), PORT))
        return size == len(there.recv(1 << 16))


def levels(family: int) -> tuple[int, int, int]:
    if family == 4:
        return socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_RECVERR
    return socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_RECVERR


def error_in_queue(client: socket.socket) -> tuple[int, int]:
    """struct sock_extended_err: its errno and information. Waits for it."""
    poll_for_error(client)
    _, ancillary, _, _ = client.recvmsg(2000, 512, socket.MSG_ERRQUEUE)
    (_, _, data), *_ = ancillary
    number, _origin, _kind, _code, _pad, information, _ = struct.unpack_from("=IBBBBII", data)
    return number, information


def poll_for_error(client: socket.socket) -> None:
    poller = select.poll()
    poller.register(client, 0)
    assert poller.poll(30_000)
