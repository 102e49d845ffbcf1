"""Another program in a link that is pinned and alive: no moment is without one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from seaway.bpf import syscall

if TYPE_CHECKING:
    from pathlib import Path

_INFO = struct.Struct("=III4x")  # struct bpf_link_info: type, id, program; then where it is


class Held(NamedTuple):
    """What a link holds, and where: the ifindex of a device, or the number of a cgroup."""

    link: int
    program: int
    place: int


def held(link: int, place: struct.Struct) -> Held:
    """`place`: how the kernel tells where; 0 is told of what is gone."""
    told = syscall.info(link, _INFO.size + place.size)
    _, number, program = _INFO.unpack_from(told)
    return Held(number, program, place.unpack_from(told, _INFO.size)[0])


def swapped(pin: Path, program: int, wanted: int, place: struct.Struct) -> bool:
    """Whether a living link of that place is pinned there; then the program is in it."""
    try:
        descriptor = syscall.pinned(pin)
    except FileNotFoundError:
        return False
    with syscall.closing(descriptor) as link:
        if held(link, place).place != wanted:
            return False
        syscall.link_update(link, program)
        return True
