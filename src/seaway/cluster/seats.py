"""This host's member of the etcd that Seaway runs: its files, and how it is called.

| file of the folder | what |
|---|---|
| `seat.json` | what it must know; the member runs as long as it is there |
| `data` | etcd's own |

The member proves who it is by the certificate of its host, which etcd reads anew for each
connection.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from seaway import durable, names
from seaway.daemons import ETCD, Daemon
from seaway.errors import HostUnfit
from seaway.model import codec
from seaway.model.seats import Seating, url
from seaway.trust.folder import Folder

PROGRAM = "etcd"
_HISTORY = "10000"  # revisions that a watch may lag behind


@dataclass(frozen=True)
class OwnSeat:
    """`daemon` runs it."""

    folder: Path = names.ETCD_FOLDER
    daemon: Daemon = ETCD

    @property
    def file(self) -> Path:
        return self.folder / names.SEAT_FILE.name

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def seating(self) -> Seating | None:
        found = durable.read(self.file)
        return codec.decode(found, Seating) if found else None

    def take(self, seating: Seating) -> None:
        """Run this member; one that ran here before is forgotten."""
        if seating == self.seating():
            return
        self.leave()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write(self.file, codec.encode(seating), 0o600)

    def leave(self) -> None:
        """No member runs here any more, and what it had is gone."""
        self.file.unlink(missing_ok=True)  # first: the agent starts what has one
        self.daemon.stop()
        if self.data.exists():
            shutil.rmtree(self.data)

    def set_aside(self) -> Path | None:
        """No member runs here any more; what it had is kept under another name. None: none ran."""
        if not self.file.exists():
            return None
        self.daemon.stop()
        kept = self.folder.with_name(f"{self.folder.name}-{self.file.stat().st_mtime_ns}")
        return self.folder.rename(kept)


def require_program(path: str | None = None) -> None:
    """`path`: where programs lie; None: as the environment says."""
    if missing(path):
        raise HostUnfit(
            "etcd is not installed on this host", "apt install etcd-server, or give URLs"
        )


def missing(path: str | None = None) -> bool:
    return shutil.which(PROGRAM, path=path) is None


def command(seat: OwnSeat, trust: Folder | None = None) -> list[str]:
    """What runs the member. TLS alone, to hosts as to other members."""
    seating, folder = seat.seating(), trust or Folder()
    if seating is None:
        raise HostUnfit(f"there is no {seat.file}", "this host runs no etcd")
    client = url(seating.address, names.ETCD_PORT)
    peer = url(seating.address, names.ETCD_PEER_PORT)
    options = {
        "name": seating.host,
        "data-dir": str(seat.data),
        "initial-cluster": ",".join(f"{name}={at}" for name, at in seating.members.items()),
        "initial-cluster-state": "existing" if seating.id else "new",
        "initial-cluster-token": seating.cluster,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": _HISTORY,
        "logger": "zap",
        "log-level": "warn",
    }
    for side in ("", "peer-"):
        options |= {
            f"{side}trusted-ca-file": str(folder.authority),
            f"{side}cert-file": str(folder.host),
            f"{side}key-file": str(folder.host),
            f"{side}client-cert-auth": "true",
        }
    return [PROGRAM, "--pre-vote", *(f"--{name}={value}" for name, value in options.items())]
