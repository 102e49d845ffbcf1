"""Keys of hosts that are not there: who knows a host's name alone cannot sign for it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b


class FakeKeys:
    """Of a cluster in which this test hands them out. As `trust` gives the real ones."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._known: set[str] = set()

    @property
    def credential(self) -> bytes:
        return f"credential of {self._host}".encode()

    def sign(self, body: bytes) -> bytes:
        return blake2b(body, key=b"secret of " + self._host.encode(), digest_size=16).digest()

    def holds(self, host: str, credential: bytes, body: bytes, signature: bytes) -> bool:
        holder = FakeKeys(host)
        self.learn(host, credential)
        return credential == holder.credential and signature == holder.sign(body)

    def know(self, digests: Mapping[str, str]) -> None:
        """Any key will do."""

    def learn(self, host: str, credential: bytes) -> bool:
        if credential != FakeKeys(host).credential:
            return False
        self._known.add(host)
        return True

    def number(self, host: str) -> int | None:
        if host not in self._known:
            return None
        ends = "-".join(sorted((host, self._host))).encode()
        return int.from_bytes(blake2b(ends, digest_size=8).digest())
