"""What goes over a session, as bytes: msgpack arrays, the first item of which is the kind.

Unknown last items are those of a newer version and left alone, as in `model/links.py`. What was
signed is passed on as it came, byte for byte.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from seaway.errors import Undecodable
from seaway.model.links import LinkState, Name

LONGEST = 1 << 16  # bytes of a message
LAST = (1 << 63) - 1  # sequence number: one a millisecond lasts for 292 million years
CHUNK = 500  # hosts in one message of a summary

Sequence = Annotated[int, Meta(ge=0, le=LAST)]
Bytes = Annotated[bytes, Meta(max_length=LONGEST)]
Digest = Annotated[bytes, Meta(max_length=64)]


class Signed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a host signs: the higher of two sequence numbers holds."""

    sequence: Sequence
    state: LinkState


class Announcement(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """Link state of a host, which may be far away."""

    body: Bytes  # `Signed`, encoded
    signature: Bytes
    age: Annotated[int, Meta(ge=0)]  # seconds since it was signed, as far as is known
    credential: Bytes = b""  # says whose signature that is; empty: what was sent before


class Known(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of which announcement of a host one has heard last."""

    host: Name
    sequence: Sequence
    digest: Digest  # of its body: a host that began anew may use a number twice


class Summary(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """All that the sender knows, in several messages: what is newer here is wanted there."""

    known: Annotated[tuple[Known, ...], Meta(max_length=CHUNK)]
    last: bool


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The announcements of these are wanted, with credentials."""

    hosts: Annotated[tuple[Name, ...], Meta(max_length=CHUNK)]


Message = Announcement | Summary | Ask

_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(Message)
_signed = msgspec.msgpack.Decoder(Signed)


def encode(message: Message | Signed) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Raises `Undecodable`."""
    try:
        message: Message = _messages.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Undecodable(f"that is no message: {error}") from None
    return message


def decode_signed(data: bytes) -> Signed:
    """Raises `Undecodable`."""
    try:
        return _signed.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Undecodable(f"that is no announcement: {error}") from None
