"""A real API server on a unix socket, in a thread of its own, for blocking clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seaway.api.routes import Doors
from seaway.api.server import Server


@contextmanager
def served(doors: Doors, path: Path) -> Iterator[Server]:
    """The server, from when it answers until it is stopped."""
    server = Server(doors, path)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="api")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
