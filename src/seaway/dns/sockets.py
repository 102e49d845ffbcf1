"""Where the resolver listens. Its addresses may come and go: it is bound to them all the same.

By UDP an address has several sockets, and by the asker's address the kernel chooses among them, so
that a flood fills the buffer of one: askers of the others are answered, by threads of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from typing import Final

from seaway.model.addresses import Address

SHARES: Final = 16  # UDP sockets of one address
_BUFFER: Final = 1 << 20  # bytes; SO_RCVBUFFORCE goes beyond rmem_max
_BACKLOG: Final = 128
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # linux/in.h, linux/in6.h
_RCVBUFFORCE, _ATTACH_REUSEPORT_CBPF = 33, 51  # asm-generic/socket.h
# Classic BPF: load the last word of the source address, divide, give what is left.
_LOAD, _MODULO, _RETURN = 0x20, 0x94, 0x16
_HEADER = 0xFFF00000  # SKF_NET_OFF: from here on, offsets are those of the IP header
_SOURCE: Final = {4: 12, 6: 20}


def udp(address: Address, port: int) -> list[socket.socket]:
    """`OSError`: somebody else has the port."""
    with contextlib.ExitStack() as undo:
        made = [undo.enter_context(_bound(address, port, socket.SOCK_DGRAM)) for _ in range(SHARES)]
        _share(made[0], address.version)
        undo.pop_all()
    return made


def tcp(address: Address, port: int) -> socket.socket:
    sock = _bound(address, port, socket.SOCK_STREAM)
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock


def _bound(address: Address, port: int, kind: socket.SocketKind) -> socket.socket:
    ipv6 = address.version == 6
    sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        sock.bind((str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def _share(sock: socket.socket, version: int) -> None:
    """For the whole group of those that are bound alike."""
    steps = ((_LOAD, _HEADER + _SOURCE[version]), (_MODULO, SHARES), (_RETURN, 0))
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("=HBBI", step, 0, 0, value) for step, value in steps)
    )
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, program)


def close(sock: socket.socket) -> None:
    """Also where a thread waits for it: it is told."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
