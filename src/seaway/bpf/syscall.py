"""bpf(2), as far as the distribution's libbpf does not reach or would cost more than it gives.

Numbers are those of linux/bpf.h. Every call raises OSError as the kernel says.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280}[os.uname().machine]

_MAP_LOOKUP, _OBJ_PIN, _OBJ_GET = 1, 6, 7
_PROG_TEST_RUN, _PROG_GET_NEXT_ID, _PROG_GET_FD_BY_ID, _MAP_GET_FD_BY_ID, _OBJ_GET_INFO = (
    10,
    11,
    13,
    14,
    15,
)
_PROG_QUERY, MAP_LOOKUP_BATCH, MAP_UPDATE_BATCH, MAP_DELETE_BATCH = 16, 24, 26, 27
_LINK_CREATE, _LINK_UPDATE, _LINK_DETACH = 28, 29, 34

_TCX_HOOKS: Final = {"ingress": 46, "egress": 47}  # BPF_TCX_INGRESS, BPF_TCX_EGRESS
_SOCKET_HOOKS: Final = {  # BPF_CGROUP_INET4_CONNECT and the like
    "connect4": 10,
    "connect6": 11,
    "sendmsg4": 14,
    "sendmsg6": 15,
    "recvmsg4": 19,
    "recvmsg6": 20,
    "getpeername4": 29,
    "getpeername6": 30,
    "sock_release": 34,
}
_BEFORE: Final = 1 << 3  # BPF_F_BEFORE; before what, is not said: before all

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_libc.syscall.restype = ctypes.c_long


def bpf(command: int, attr: bytes) -> int:
    """The kernel writes into `attr` where it answers there: then it must be our own buffer."""
    result: int = _libc.syscall(_SYS_BPF, command, attr, len(attr))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Buffer:
    """Memory that the kernel reads or fills."""

    __slots__ = ("_memory", "address", "size")

    def __init__(self, content: bytes | int) -> None:
        self._memory = (
            ctypes.create_string_buffer(content, len(content))
            if isinstance(content, bytes)
            else ctypes.create_string_buffer(content)
        )
        self.size = len(self._memory)
        self.address = ctypes.addressof(self._memory)

    def content(self, start: int = 0, end: int | None = None) -> bytes:
        return memoryview(self._memory)[start:end].tobytes()

    def write(self, content: bytes) -> None:
        ctypes.memmove(self.address, content, len(content))


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def call(command: int, layout: struct.Struct, *fields: int) -> tuple[int, ...]:
    """For commands that answer inside their attributes."""
    attr = ctypes.create_string_buffer(layout.pack(*fields), layout.size)
    result: int = _libc.syscall(_SYS_BPF, command, attr, layout.size)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return layout.unpack(attr.raw)


def batch(
    command: int, descriptor: int, tokens: tuple[int, int], items: tuple[int, int], count: int
) -> tuple[int, int]:
    """Of a map's elements at once; how many were done, and the error number that ended it.

    `tokens`: where a read begins, and where it goes on, are kept; `items`: keys and values.
    """
    fields = (*tokens, *items, count, descriptor, 0, 0)
    attr = ctypes.create_string_buffer(_BATCH.pack(*fields), _BATCH.size)
    failed = _libc.syscall(_SYS_BPF, command, attr, _BATCH.size) < 0
    done: int = _BATCH.unpack(attr.raw)[4]
    return done, ctypes.get_errno() if failed else 0


_BATCH = struct.Struct("=QQQQIIQQ")
_ELEMENT = struct.Struct("=IxxxxQQQ")
_PIN = struct.Struct("=QII")
_INFO = struct.Struct("=IIQ")
_PROGRAM_MAPS = struct.Struct("=52xIQ")  # struct bpf_prog_info, to the ids of its maps
_MAP_NAME = struct.Struct("=24x16s")  # struct bpf_map_info, to its name
_MAPS: Final = 64  # of one program, at most
_ID = struct.Struct("=III")
_LINK = struct.Struct("=IIIIIIQ")
_UPDATE = struct.Struct("=IIII")
_RUN = struct.Struct("=I68x")
_QUERY = struct.Struct("=IIIIQIIQQQQ")
_QUERIED_ATTR = ctypes.c_char * _QUERY.size
_QUERIED: Final = 16  # programs on one hook, at most


def lookup(descriptor: int, key: bytes, size: int) -> bytes | None:
    """The value, of that size, of one element of a map; None: there is none."""
    name, value = Buffer(key), Buffer(size)
    try:
        bpf(_MAP_LOOKUP, _ELEMENT.pack(descriptor, name.address, value.address, 0))
    except FileNotFoundError:
        return None
    return value.content()


def probe() -> None:
    """Raise what keeps us from using bpf(2) at all. Makes nothing."""
    with contextlib.suppress(FileNotFoundError):  # there is no program yet
        call(_PROG_GET_NEXT_ID, _ID, 0, 0, 0)


def pin(fd: int, path: Path) -> None:
    name = Buffer(os.fsencode(path) + b"\0")
    bpf(_OBJ_PIN, _PIN.pack(name.address, fd, 0))


def pinned(path: Path) -> int:
    """A descriptor of the object that is pinned there."""
    name = Buffer(os.fsencode(path) + b"\0")
    return bpf(_OBJ_GET, _PIN.pack(name.address, 0, 0))


def info(fd: int, size: int) -> bytes:
    """struct bpf_prog_info, bpf_map_info or bpf_link_info, by the kind of the descriptor."""
    answer = Buffer(size)
    call(_OBJ_GET_INFO, _INFO, fd, size, answer.address)
    return answer.content()


def maps_of(program: int) -> tuple[int, ...]:
    """The ids of the maps that a program uses."""
    ids = Buffer(4 * _MAPS)
    answer = Buffer(_PROGRAM_MAPS.pack(_MAPS, ids.address))
    call(_OBJ_GET_INFO, _INFO, program, answer.size, answer.address)
    count = _PROGRAM_MAPS.unpack(answer.content())[0]
    return struct.unpack(f"={count}I", ids.content(0, 4 * count))


def map_name(fd: int) -> str:
    """As the kernel keeps it: its first 15 characters."""
    name: bytes = _MAP_NAME.unpack(info(fd, _MAP_NAME.size))[0]
    return name.split(b"\0")[0].decode()


def program_by_id(number: int) -> int:
    return bpf(_PROG_GET_FD_BY_ID, _ID.pack(number, 0, 0))


def map_by_id(number: int) -> int:
    return bpf(_MAP_GET_FD_BY_ID, _ID.pack(number, 0, 0))


def run(program: int) -> None:
    """One of the kind `syscall`: it gets nothing, and tells nothing."""
    bpf(_PROG_TEST_RUN, _RUN.pack(program))


def link_create(program: int, ifindex: int, hook: str) -> int:
    """Attach by TCX, before all others. EINVAL where the kernel (before 6.6) has none."""
    return bpf(_LINK_CREATE, _LINK.pack(program, ifindex, _TCX_HOOKS[hook], _BEFORE, 0, 0, 0))


def cgroup_link_create(program: int, cgroup: int, hook: str) -> int:
    """Attach to the sockets of all processes below a cgroup, beside what others attach."""
    return bpf(_LINK_CREATE, _LINK.pack(program, cgroup, _SOCKET_HOOKS[hook], 0, 0, 0, 0))


def link_update(link: int, program: int) -> None:
    """The one program goes and the other comes without a packet in between."""
    bpf(_LINK_UPDATE, _UPDATE.pack(link, program, 0, 0))


def link_detach(link: int) -> None:
    bpf(_LINK_DETACH, struct.pack("=I", link))


def first_attached(ifindex: int, hook: str) -> int:
    """The id of the program that runs first on a TCX hook; 0: none. Made to be asked often."""
    program = ctypes.c_uint32()
    place = ctypes.addressof(program)
    fields = _QUERY.pack(ifindex, _TCX_HOOKS[hook], 0, 0, place, 1, 0, 0, 0, 0, 0)
    attr = _QUERIED_ATTR.from_buffer_copy(fields)
    if _libc.syscall(_SYS_BPF, _PROG_QUERY, attr, _QUERY.size) < 0:
        number = ctypes.get_errno()
        if number != errno.ENOSPC:  # there are more, behind it
            raise OSError(number, os.strerror(number))
    return program.value


def attached(ifindex: int, hook: str) -> tuple[tuple[int, int], ...]:
    """The (program, link) ids on a TCX hook, in the order in which they run."""
    programs, links = (ctypes.c_uint32 * _QUERIED)(), (ctypes.c_uint32 * _QUERIED)()
    places = ctypes.addressof(programs), ctypes.addressof(links)
    answer = call(
        _PROG_QUERY,
        _QUERY,
        *(ifindex, _TCX_HOOKS[hook], 0, 0, places[0], _QUERIED, 0, 0, places[1], 0, 0),
    )
    return tuple(zip(programs[: answer[5]], links[: answer[5]], strict=True))
