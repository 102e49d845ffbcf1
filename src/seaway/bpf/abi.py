"""The C structs of bpf/lib, field for field. Nothing but layout lives here.

tests/bpf/test_abi.py holds every mirror to what the compiler made of its C struct.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar, Final, Self

ENDPOINT_OPEN: Final = 1
ENDPOINT_HOST_CLOSED: Final = 2
ENDPOINT_LINK_LOCAL: Final = 4


@lru_cache
def _codec(kind: type[Record]) -> tuple[struct.Struct, attrgetter[tuple[Any, ...]]]:
    return struct.Struct(kind.c_format), attrgetter(*kind.__dataclass_fields__)


class Record:
    """A C struct without hidden padding: `c_format` has one item for each field."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]
    c_name: ClassVar[str]
    c_format: ClassVar[str]  # as in the struct module

    def pack(self) -> bytes:
        codec, fields = _codec(type(self))
        return codec.pack(*fields(self))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_codec(cls)[0].unpack(data))


@dataclass(frozen=True, slots=True)
class Endpoint(Record):
    """bpf/lib/endpoint.h"""

    c_name, c_format = "endpoint", "=QIIIIH6s"
    container: int
    ifindex: int
    network: int
    identity: int
    flags: int
    mtu: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Prefix(Record):
    """bpf/lib/network.h: a key of the maps that match the longest prefix."""

    c_name, c_format = "prefix", "=I16s"
    length: int
    addr: bytes


@dataclass(frozen=True, slots=True)
class Connection(Record):
    """bpf/lib/network.h"""

    c_name, c_format = "connection", "=II"
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class DropKey(Record):
    """bpf/lib/drop.h"""

    c_name, c_format = "drop_key", "=II"
    ifindex: int
    reason: int


@dataclass(frozen=True, slots=True)
class FragmentKey(Record):
    """bpf/lib/fragment.h"""

    c_name, c_format = "fragment_key", "=16s16s4sI"
    src: bytes
    dst: bytes
    id: bytes
    protocol: int


@dataclass(frozen=True, slots=True)
class Settings(Record):
    """bpf/lib/settings.h"""

    c_name, c_format = "settings", "=16s16s16s16s6sH"
    host_v4: bytes
    host_v6: bytes
    gateway_v4: bytes
    gateway_v6: bytes
    gateway_mac: bytes
    pad: int = 0
