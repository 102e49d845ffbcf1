"""A backup: the whole state of a cluster as one value, and as the bytes of a file.

The file is one JSON document whose last field is a digest of all bytes before it: what was
cut or changed anywhere is found, whatever it was. It protects against accidents, not against
somebody who writes a file of his own.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Literal

import msgspec

from seaway.errors import Undecodable, Unsupported
from seaway.model import codec
from seaway.model.facts import Value

FORMAT = 2  # 1 had no trust
_BEGIN = re.compile(rb'\{"kind":"seaway-backup","format":(\d{1,9}),')
_END = re.compile(rb',"digest":"([0-9a-f]{64})"\}\n')
_END_BYTES = len(',"digest":""}\n') + 64


class Whereabouts(Value):
    """Where a host's state was true: elsewhere its containers and settings are other ones."""

    machine: str  # digest of the machine's id; "" where it has none
    boot: str  # digest of this start of the kernel, and of the host's network namespace


class Trust(Value):
    """What a control host needs to go on as one: who has it, is the cluster's CA."""

    authority: str  # PEM
    authority_key: str  # PEM


class Backup(Value, kw_only=True):
    """Every record at one moment, and of what it is a backup."""

    kind: Literal["seaway-backup"] = "seaway-backup"
    format: int = FORMAT
    version: str  # of the Seaway that made it
    cluster: str
    host: str  # whose agent made it
    whereabouts: Whereabouts
    at: float  # seconds since the epoch
    revision: int  # of the store
    records: dict[str, msgspec.Raw]  # as they lie in the store
    trust: Trust | None = None  # None: it was made on a host that does not sign


def to_bytes(backup: Backup) -> bytes:
    body = codec.encode(backup)[:-1]  # the last brace comes behind the digest
    return body + f',"digest":"{sha256(body).hexdigest()}"}}\n'.encode()


def from_bytes(data: bytes) -> Backup:
    """The backup; what is damaged, cut, newer or something else is refused."""
    begin = _BEGIN.match(data)
    if not begin:
        raise Undecodable("this is no backup of Seaway's", "expected a file of: seaway backup")
    if int(begin[1]) > FORMAT:
        raise Unsupported(
            f"the backup has format {int(begin[1])}, this version reads up to {FORMAT}",
            "restore it with the version that made it, or a newer one",
        )
    end = _END.fullmatch(data[-_END_BYTES:])
    if not end:
        raise Undecodable("the backup is cut, or something was added behind it", _ANOTHER)
    body = data[:-_END_BYTES]
    if sha256(body).hexdigest().encode() != end[1]:
        raise Undecodable("the backup is damaged: it is not what its digest was made of", _ANOTHER)
    return codec.decode(body + b"}", Backup)


_ANOTHER = "use another one"
