"""A map's elements as pairs of bytes: read, written and deleted with few system calls.

The kernel's batch commands (5.6) stop at the first element that fails and tell how far they
came: that one is noted, and the rest goes on behind it.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from seaway.bpf import syscall
from seaway.bpf.syscall import Buffer

_MAP_INFO = struct.Struct("=IIIII")  # struct bpf_map_info begins: type, id, sizes, entries
_CHUNK: Final = 1024  # elements; more than the fullest bucket of a hash can have
_TOKEN: Final = 64  # bytes; where a read goes on: a number, or a key


Chunk = tuple[bytes, bytes]  # keys and values of some elements


def digest(chunks: Iterable[Chunk]) -> bytes:
    """Of all elements as they lie there: the same, as long as nobody wrote."""
    found = blake2b(digest_size=16)
    for keys, values in chunks:
        found.update(keys)
        found.update(values)
    return found.digest()


class Table:
    """One map, by its descriptor. `copies`: of each value, one for each CPU that there may be."""

    def __init__(self, fd: int, copies: int = 1) -> None:
        self.fd = fd
        _, _, self._key, size, _ = _MAP_INFO.unpack(syscall.info(fd, _MAP_INFO.size))
        self.value_size = copies * size

    def elements(self) -> Iterator[tuple[bytes, bytes]]:
        return self.of_chunks(self.chunks())

    def of_chunks(self, chunks: Iterable[Chunk]) -> Iterator[tuple[bytes, bytes]]:
        for keys, values in chunks:
            yield from zip(_cut(keys, self._key), _cut(values, self.value_size), strict=True)

    def digest(self) -> bytes:
        return digest(self.chunks())

    def chunks(self) -> Iterator[Chunk]:
        keys, values = Buffer(_CHUNK * self._key), Buffer(_CHUNK * self.value_size)
        here, there = Buffer(_TOKEN), Buffer(_TOKEN)
        start, failure = 0, 0
        while not failure:
            count, failure = syscall.batch(
                syscall.MAP_LOOKUP_BATCH,
                self.fd,
                (start, there.address),
                (keys.address, values.address),
                _CHUNK,
            )
            if failure not in {0, errno.ENOENT}:
                raise OSError(failure, os.strerror(failure))
            yield keys.content(0, count * self._key), values.content(0, count * self.value_size)
            here, there = there, here
            start = here.address

    def element(self, key: bytes) -> bytes | None:
        """None: there is none. Where prefixes are keys, the one that matches best answers."""
        return syscall.lookup(self.fd, key, self.value_size)

    def update(self, items: Sequence[tuple[bytes, bytes]]) -> dict[bytes, OSError]:
        """What could not be written."""
        return self._write(syscall.MAP_UPDATE_BATCH, items)

    def delete(self, keys: Sequence[bytes]) -> dict[bytes, OSError]:
        """What could not be deleted; gone is no error."""
        failed = self._write(syscall.MAP_DELETE_BATCH, [(key, b"") for key in keys])
        return {k: error for k, error in failed.items() if error.errno != errno.ENOENT}

    def _write(self, command: int, items: Sequence[tuple[bytes, bytes]]) -> dict[bytes, OSError]:
        failed: dict[bytes, OSError] = {}
        keys = Buffer(b"".join(key for key, _ in items))
        values = Buffer(b"".join(value for _, value in items))
        at = 0
        while at < len(items):
            places = keys.address + at * self._key, values.address + at * self.value_size
            done, failure = syscall.batch(command, self.fd, (0, 0), places, len(items) - at)
            at += done
            if failure:
                failed[items[at][0]] = OSError(failure, os.strerror(failure))
                at += 1
        return failed


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
