"""Queues of devices: RTM_NEWQDISC and its like, of the kind tbf (a bucket of tokens)."""

from __future__ import annotations

import struct
from typing import Final

from seaway.kernel.messages.fields import unpack
from seaway.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Request,
    attribute,
    attributes,
    nested,
)
from seaway.model.kernel import Shaping

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38

_HEAD = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
_KIND, _OPTIONS = 1, 2
_ROOT: Final = 0xFFFFFFFF
_HANDLE: Final = 0x10000  # 1:
_TBF: Final = b"tbf\0"
_PARAMETERS: Final = 1
_ETHERNET: Final = 1  # a layer below: then no table of times is needed
# struct tc_tbf_qopt: rate and peak rate (struct tc_ratespec each), limit, buffer, mtu
_QUEUE = struct.Struct("=BBHhHI12xIII")


def put_tbf(ifindex: int, shaping: Shaping) -> Request:
    """The device's queue, in place of the one that there is."""
    queue = _QUEUE.pack(0, _ETHERNET, 0, 0, 0, shaping.rate, shaping.queue, shaping.burst, 0)
    options = nested(_OPTIONS, attribute(_PARAMETERS, queue))
    body = _HEAD.pack(0, ifindex, _HANDLE, _ROOT, 0) + attribute(_KIND, _TBF) + options
    return Request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body)


def delete_root(ifindex: int) -> Request:
    """The device gets the kernel's usual queue."""
    return Request(RTM_DELQDISC, 0, _HEAD.pack(0, ifindex, 0, _ROOT, 0))


def list_qdiscs() -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`: of all devices. Of one, whoever asks for its root hears nothing
    at all where that is the kernel's own.
    """
    return RTM_GETQDISC, _HEAD.pack(0, 0, 0, 0, 0)


def parse_tbf(body: bytes) -> tuple[int, Shaping] | None:
    """Of which device; None: it is of another kind, or not the device's own queue."""
    _family, ifindex, _handle, parent, _info = unpack(_HEAD, body)
    found = attributes(body, _HEAD.size)
    if found.get(_KIND, b"") != _TBF or parent != _ROOT:
        return None
    parameters = attributes(found.get(_OPTIONS, b"")).get(_PARAMETERS, b"")
    *_, rate, limit, burst, _ = unpack(_QUEUE, parameters)
    return ifindex, Shaping(rate=rate, burst=burst, queue=limit)
