"""Where `routed` finds what it is told, and leaves what it tells and keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seaway import names


@dataclass(frozen=True)
class Files:
    """Files and sockets of the process: those of its run folder, which ends with the host's, and
    what it needs for longer.
    """

    run: Path = names.RUN_FOLDER
    trust: Path = names.TRUST_FOLDER
    link_state: Path = names.LINK_STATE_FILE

    @property
    def orders(self) -> Path:
        return self.run / names.ROUTED_FILE.name

    @property
    def socket(self) -> Path:
        return self.run / names.ROUTED_SOCKET.name

    @property
    def told(self) -> Path:
        return self.run / names.PATHS_FILE.name

    @property
    def pid(self) -> Path:
        return self.run / names.ROUTED_PID_FILE.name
