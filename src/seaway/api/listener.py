"""Makes the agent's socket appear whole: never for a moment with other permissions.

It is bound under a name of its own, given to root and the group `seaway`, and renamed into
place, over what a dead agent left. A socket that somebody answers is never taken away.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from seaway.errors import Conflict

_BACKLOG = 512  # runtimes start many containers at once
_PROBE_TIMEOUT = 1.0  # seconds; an agent whose queue is full counts as one


@dataclass(frozen=True)
class Listener:
    socket: socket.socket
    path: Path
    inode: int

    def forget(self) -> None:
        """Remove the socket's name, if it still is this one's."""
        try:
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()
        except FileNotFoundError:
            pass  # somebody was faster


def listen(path: Path, group: int | None) -> Listener:
    """A listener of root and that group; `Conflict` where another agent answers already."""
    if is_answered(path):
        raise Conflict(f"another agent answers on {path}", "use it, or stop it: seaway status")
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _bind(sock, made, group)
        sock.listen(_BACKLOG)
        inode = made.lstat().st_ino
        made.rename(path)
    except OSError:
        sock.close()
        made.unlink(missing_ok=True)
        raise
    return Listener(sock, path, inode)


def _bind(sock: socket.socket, path: Path, group: int | None) -> None:
    path.unlink(missing_ok=True)
    os.fchmod(sock.fileno(), 0o600)  # the file is made with the permissions of its socket
    sock.bind(str(path))
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o660)


def is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except TimeoutError:
            return True
        return True
