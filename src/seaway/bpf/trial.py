"""A program run on a frame of our making (BPF_PROG_TEST_RUN): for tests and measurements.

The frame goes nowhere: `bpf_redirect_peer` only gives its verdict. The device is that of the
calling thread's network namespace.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from seaway.bpf import syscall
from seaway.bpf.syscall import Buffer

OK, SHOT, REDIRECT, NEXT = 0, 2, 7, 0xFFFFFFFF  # TC_ACT_*; NEXT: _UNSPEC
LOOPBACK: Final = 1

_TEST_RUN: Final = 10
_ATTR = struct.Struct("=IIIIQQIIIIQQIIIxxxx")
_CONTEXT = struct.Struct("=36xII120xI8xI12x")  # struct __sk_buff: the fields that may be given
_GROWTH: Final = 256  # bytes that an answer may be longer than its question


class Context(NamedTuple):
    """What the kernel knows of a packet beside its bytes."""

    ingress_ifindex: int = 0
    ifindex: int = LOOPBACK
    gso_segments: int = 0
    gso_size: int = 0


_PLAIN: Final = Context()


class Outcome(NamedTuple):
    verdict: int
    frame: bytes
    nanoseconds: int  # on average, of `repeat` runs


def run(program: int, frame: bytes, context: Context = _PLAIN, repeat: int = 1) -> Outcome:
    """With `repeat` > 1 every run gets the frame as the one before left it."""
    given, taken = Buffer(frame), Buffer(len(frame) + _GROWTH)
    known = Buffer(_CONTEXT.pack(*context))
    answer = syscall.call(
        _TEST_RUN,
        _ATTR,
        *(program, 0, given.size, taken.size, given.address, taken.address),
        *(repeat, 0, known.size, 0, known.address, 0, 0, 0, 0),
    )
    verdict, size, duration = answer[1], answer[3], answer[7]
    return Outcome(verdict, taken.content(0, size), duration)


assert _CONTEXT.size == 192
