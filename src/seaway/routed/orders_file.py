"""The file by which the agent tells its `routed` what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seaway import names
from seaway.errors import Undecodable
from seaway.model import codec
from seaway.model.routing import ORDERS_KEY, Orders
from seaway.routed import memory


class OrdersTarget:
    """A target (`seaway.reconcile`): the agent's side. Known for ours by its place."""

    name = "orders"

    def __init__(self, path: Path = names.ROUTED_FILE) -> None:
        self._path = path

    def read(self) -> dict[str, Orders]:
        """What cannot be read is as if it was not there: it is written anew."""
        try:
            return {ORDERS_KEY: codec.decode(self._path.read_bytes(), Orders)}
        except (FileNotFoundError, Undecodable):
            return {}

    def put(self, objects: Mapping[str, Orders]) -> dict[str, OSError]:
        """In one step: who reads sees the old ones or the new."""
        for orders in objects.values():
            memory.replace(self._path, codec.encode(orders))
        return {}

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        """Then `routed` ends."""
        if keys:
            self._path.unlink(missing_ok=True)
        return {}


class OrdersFile:
    """The same file as `routed` reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    @property
    def taken_back(self) -> bool:
        """There were orders, and there are none any more: nobody is there to speak with."""
        return self._seen is not None and not self._path.exists()

    def read(self) -> Orders | None:
        """None: it is as it was, or not there. Raises `Undecodable`, once for each that is."""
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns)
            if seen == self._seen:
                return None
            self._seen = seen
            return codec.decode(self._path.read_bytes(), Orders)
        except FileNotFoundError:
            return None
        except Undecodable as error:
            raise Undecodable(f"{self._path}: {error.message}") from error
