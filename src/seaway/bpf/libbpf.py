"""The distribution's libbpf, as far as loading a program from an object file needs it.

libbpf resolves maps, fills in read-only data and explains the verifier's refusals; attaching,
pinning of programs and map access are plain bpf(2) (`syscall`).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_WARNING: Final = 0
_KEPT = 40  # lines of what libbpf said: the verifier's last words
_MOST = 1 << 24  # bytes that it says at once: with all words of the verifier
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

_libc = ctypes.CDLL(None)
_libc.vsnprintf.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p)
_said: list[str] = []


def _hear(level: int, text: bytes, arguments: int) -> int:
    if level == _WARNING:
        line = ctypes.create_string_buffer(_MOST)
        _libc.vsnprintf(line, len(line), text, arguments)
        _said.extend(line.value.decode(errors="replace").strip().splitlines())
    return 0


_callback = _PRINT(_hear)


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    handle, name, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "libbpf_set_print": (handle, (_PRINT,)),
        "bpf_object__open_mem": (handle, (name, ctypes.c_size_t, handle)),
        "bpf_object__load": (number, (handle,)),
        "bpf_object__close": (None, (handle,)),
        "bpf_object__next_map": (handle, (handle, handle)),
        "bpf_object__find_program_by_name": (handle, (handle, name)),
        "bpf_program__fd": (number, (handle,)),
        "bpf_map__name": (name, (handle,)),
        "bpf_map__fd": (number, (handle,)),
        "bpf_map__set_pin_path": (number, (handle, name)),
        "bpf_map__set_initial_value": (number, (handle, name, ctypes.c_size_t)),
    }
    for function, (result, arguments) in signatures.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    library.libbpf_set_print(_callback)
    return library


class Loaded:
    """An object file in the kernel. Its descriptors are valid while it is open."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library = library
        self._handle = handle

    def program(self, name: str) -> int:
        """A descriptor of our own."""
        found = self._library.bpf_object__find_program_by_name(self._handle, name.encode())
        if not found:
            raise OSError(errno.ENOENT, f"no program {name} in the object file")
        return os.dup(self._library.bpf_program__fd(found))


def _maps(library: ctypes.CDLL, handle: int) -> Iterator[tuple[str, int]]:
    found = library.bpf_object__next_map(handle, None)
    while found:
        yield library.bpf_map__name(found).decode(), found
        found = library.bpf_object__next_map(handle, found)


@contextmanager
def load(elf: bytes, pins: Mapping[str, Path], read_only: Mapping[str, bytes]) -> Iterator[Loaded]:
    """Load an object file with its maps, by name, pinned at or taken from these places.

    `read_only`: the content of its data sections, by name. Raises OSError with what libbpf,
    and through it the verifier, had to say.
    """
    library = _library()
    _said.clear()
    handle = library.bpf_object__open_mem(elf, len(elf), None)
    if not handle:
        raise _error(ctypes.get_errno())
    try:
        for name, found in _maps(library, handle):
            section = name[name.find(".") :] if "." in name else ""
            if section in read_only:
                _fill(library, found, read_only[section])
            elif name in pins:
                path = os.fsencode(pins[name])
                _check(library.bpf_map__set_pin_path(found, path))
        _check(library.bpf_object__load(handle))
        yield Loaded(library, handle)
    finally:
        library.bpf_object__close(handle)


def _fill(library: ctypes.CDLL, found: int, content: bytes) -> None:
    _check(library.bpf_map__set_initial_value(found, content, len(content)))


def _check(result: int) -> None:
    if result < 0:
        raise _error(-result)


def _error(number: int) -> OSError:
    words = "; ".join(_said[-_KEPT:])
    return OSError(number, f"{os.strerror(number)}: {words}" if words else os.strerror(number))
