"""Keys of hosts that are not there: who knows a host's name alone cannot sign for it."""

from __future__ import annotations

from hashlib import blake2b


class FakeKeys:
    """Of a cluster in which this test hands them out. As `trust` gives the real ones."""

    def __init__(self, host: str) -> None:
        self._host = host

    @property
    def credential(self) -> bytes:
        return f"credential of {self._host}".encode()

    def sign(self, body: bytes) -> bytes:
        return blake2b(body, key=b"secret of " + self._host.encode(), digest_size=16).digest()

    def holds(self, host: str, credential: bytes, body: bytes, signature: bytes) -> bool:
        holder = FakeKeys(host)
        return credential == holder.credential and signature == holder.sign(body)
