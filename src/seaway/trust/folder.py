"""The files of a host's trust, in the state folder, for root alone.

| file | what |
|---|---|
| `ca.pem` | the CA's certificate |
| `ca.key` | its key; on control hosts alone |
| `host.pem` | this host's key and certificate: one file, so that a renewal is one step |
| `joining.key` | the key of a host whose join is not finished |
| `etcd-ca.pem`, `etcd.pem` | of a given etcd: its CA; key and certificate of its clients |

What other programs read (etcd, its client) takes these files as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seaway import durable, names
from seaway.model.backup import Trust


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
    def etcd_authority(self) -> Path:
        return self.path / "etcd-ca.pem"

    @property
    def etcd(self) -> Path:
        return self.path / "etcd.pem"

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

    def trust(self) -> Trust | None:
        """What a backup keeps of it."""
        if not self.signs:
            return None
        return Trust(
            authority=self.authority.read_text(), authority_key=self.authority_key.read_text()
        )

    def replace(self, trust: Trust | None) -> None:
        """Only the CA is there then, or nothing."""
        if self.trust() != trust:
            for path in self.path.iterdir() if self.path.exists() else ():
                path.unlink()
        if trust and not self.signs:
            self.put(self.authority_key, trust.authority_key.encode())
            self.put(self.authority, trust.authority.encode())

    def put_etcd(self, authority: str, identity: str) -> None:
        """Of a given etcd; empty: it knows the cluster's own certificates."""
        if authority and identity:
            self.put(self.etcd, identity.encode())
            self.put(self.etcd_authority, authority.encode())

    def forget(self) -> None:
        """The key of a join that came to its end, or to nothing."""
        self.joining.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()
