"""The files of a host's trust, in the state folder, for root alone.

| file | what |
|---|---|
| `ca.pem` | the CA's certificate |
| `ca.key` | its key; on control hosts alone |
| `host.pem` | this host's key and certificate: one file, so that a renewal is one step |
| `joining.key` | the key of a host whose join is not finished |

What other programs read (etcd, its client) takes these files as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seaway import durable, names


@dataclass(frozen=True)
class Folder:
    path: Path = names.TRUST_FOLDER

    @property
    def authority(self) -> Path:
        return self.path / "ca.pem"

    @property
    def authority_key(self) -> Path:
        return self.path / "ca.key"

    @property
    def host(self) -> Path:
        return self.path / "host.pem"

    @property
    def joining(self) -> Path:
        return self.path / "joining.key"

    @property
    def whole(self) -> bool:
        """Whether this host can prove who it is."""
        return self.authority.exists() and self.host.exists()

    @property
    def signs(self) -> bool:
        """Whether it can sign for others."""
        return self.authority_key.exists() and self.authority.exists()

    def put(self, path: Path, pem: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write(path, pem, 0o600)

    def put_host(self, key: bytes, certificate: str) -> None:
        self.put(self.host, key.strip() + b"\n" + certificate.encode())

    def host_key(self) -> bytes:
        """What stands before the certificate."""
        pem = self.host.read_bytes()
        return pem[: pem.index(b"-----BEGIN CERTIFICATE-----")]

    def host_certificate(self) -> bytes:
        pem = self.host.read_bytes()
        return pem[pem.index(b"-----BEGIN CERTIFICATE-----") :]

    def forget(self) -> None:
        """The key of a join that came to its end, or to nothing."""
        self.joining.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()
