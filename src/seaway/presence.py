"""One process a host has a job: the agent, a daemon, or who takes its place for a moment."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seaway import names
from seaway.errors import Conflict


@contextmanager
def alone(path: Path = names.PID_FILE, what: str = "agent") -> Iterator[int]:
    """A lock that dies with its process, and the pid for who has to end it. Yields its file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 32).decode().strip()
        os.close(descriptor)
        raise Conflict(
            f"another {what} runs on this host (process {pid})", "stop it first"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield descriptor
    finally:
        os.close(descriptor)


async def alone_while(work: Callable[[], Awaitable[None]]) -> None:
    """Until the work is done, and the threads that it began: they may change the kernel still."""
    with alone():
        try:
            await work()
        finally:
            await asyncio.get_running_loop().shutdown_default_executor()
