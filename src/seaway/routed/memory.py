"""Link state over a restart: kept in a file, so that a host which begins anew knows it at once.

The file is replaced in one step. What cannot be read is as if it was not there: neighbours tell.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from seaway.errors import Undecodable
from seaway.routed.database import Entry
from seaway.routed.messages import decode_signed


class Kept(msgspec.Struct, frozen=True, array_like=True):
    body: bytes
    signature: bytes
    credential: bytes
    born: float  # seconds since the epoch


def save(path: Path, entries: Iterable[Entry], now: float, epoch: float) -> None:
    """`now` and `epoch` are the same moment by the two clocks."""
    kept = [Kept(e.body, e.signature, e.credential, epoch - now + e.born) for e in entries]
    replace(path, msgspec.msgpack.encode(kept))


def replace(path: Path, data: bytes) -> None:
    """In one step: who reads sees the old or the new. For root alone."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    new.replace(path)


def load(path: Path, now: float, epoch: float) -> list[Entry]:
    try:
        kept = msgspec.msgpack.decode(path.read_bytes(), type=list[Kept])
        signed = [(one, decode_signed(one.body)) for one in kept]
    except (FileNotFoundError, msgspec.MsgspecError, Undecodable):
        return []
    return [
        Entry(
            sequence=what.sequence,
            body=one.body,
            signature=one.signature,
            credential=one.credential,
            state=what.state,
            born=min(now, now - epoch + one.born),
        )
        for one, what in signed
    ]
