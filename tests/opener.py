"""Sockets of any network namespace, opened by a process in a cgroup of its own: what stands on the
hooks of that cgroup, sees these sockets and no others of the machine.

opener.py CGROUP DESCRIPTOR

Is asked on the descriptor for one socket after the other (JSON: netns, family, kind), and hands it
over.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEWNET = 0x40000000
TIMEOUT = 30.0


def main() -> None:
    cgroup, descriptor = sys.argv[1:]
    (Path(cgroup) / "cgroup.procs").write_text(str(os.getpid()))
    with socket.socket(fileno=int(descriptor)) as asker:
        asker.send(b"ready")
        while asked := asker.recv(4096):
            wanted = json.loads(asked)
            enter(wanted["netns"])
            with socket.socket(wanted["family"], wanted["kind"]) as made:
                socket.send_fds(asker, [b"there"], [made.fileno()])
            asker.send(b"yours alone")


def enter(path: str) -> None:
    with Path(path).open() as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), _NEWNET):
            raise OSError(ctypes.get_errno(), path)


class Opener:
    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked

    def open(self, path: Path, family: int, kind: int) -> socket.socket:
        """`family`: 4 or 6."""
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        wanted = {"netns": str(path), "family": families[family], "kind": kind}
        self._asked.send(json.dumps(wanted).encode())
        _, (descriptor,), _, _ = socket.recv_fds(self._asked, 16, 1)
        assert b"yours alone" == self._asked.recv(16)
        made = socket.socket(fileno=descriptor)
        made.settimeout(TIMEOUT)
        return made


@contextmanager
def cgroup(root: Path) -> Iterator[Path]:
    """Of our own; gone afterwards, once nobody is in it."""
    made = root / f"seaway-test.{uuid.uuid4().hex[:8]}"
    made.mkdir()
    try:
        yield made
    finally:
        made.rmdir()


@contextmanager
def opener(place: Path) -> Iterator[Opener]:
    """One in this cgroup."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, __file__, str(place), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
            )
        try:
            ours.settimeout(TIMEOUT)
            assert b"ready" == ours.recv(16)
            yield Opener(ours)
        finally:
            process.kill()
            process.wait(60)


if __name__ == "__main__":
    main()
