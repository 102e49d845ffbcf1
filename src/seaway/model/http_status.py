"""What an HTTP server says first: its status. Bytes of any kind in, no I/O."""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 16384  # bytes in which it must have said it
_BEGIN: Final = b"HTTP/1."
_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: [^\n]*)?", re.DOTALL)  # RFC 9112, 4
_END = re.compile(rb"\n\r?\n")  # of a head
_SWITCHING, _FINAL = 101, 200


class NoHttp(ValueError):
    """This is no answer of HTTP/1."""


def status_of(received: bytes) -> int | None:
    """Of the answer that begins so; None: more has to come. Once told, no more bytes change it.

    Answers before the final one (100, 103) are passed over.
    """
    status = _final(received)
    if status is None and len(received) > MOST:
        raise NoHttp
    return status


def _final(received: bytes) -> int | None:
    at = 0
    while True:
        end = received.find(b"\n", at)
        line = received[at:] if end < 0 else received[at:end]
        if line[: len(_BEGIN)] != _BEGIN[: len(line)]:
            raise NoHttp
        if end < 0:
            return None
        found = _LINE.fullmatch(line.removesuffix(b"\r"))
        if not found:
            raise NoHttp
        status = int(found[1])
        if status >= _FINAL or status == _SWITCHING:
            return status
        head = _END.search(received, end)
        if not head:
            return None
        at = head.end()
