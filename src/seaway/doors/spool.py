"""Calls that found no agent: the CNI front left them in a folder, and they are done first.

The front writes each file whole or not at all, under a name that begins with its time; only
root reads and writes there. A call that cannot be done now (the store refuses, another IPAM does
not answer) stays; one that never can be done is moved aside and told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from seaway.doors.cni_env import Attachment
from seaway.errors import Invalid, SeawayError, Undecodable
from seaway.model import codec
from seaway.model.facts import Value

ASIDE = "broken"
_UNFINISHED = "."  # first character of what the front still writes, or died over
_ABANDONED = 600.0  # seconds; no front lives as long
_MOST_BYTES = 32 << 20

log = structlog.get_logger(__name__)


class Spooled(Value):
    """A call, with what tells it from an attachment that was made after it."""

    env: dict[str, str]
    stdin: str
    time: int  # nanoseconds since the epoch
    netns_inode: int  # of CNI_NETNS at that time; 0: it was gone

    @property
    def attachment(self) -> Attachment:
        return Attachment(
            container=self.env.get("CNI_CONTAINERID", ""), interface=self.env.get("CNI_IFNAME", "")
        )

    @property
    def may_wait(self) -> bool:
        """A DEL holds up the ADD that follows it; an old GC would free what came after it."""
        return self.env.get("CNI_COMMAND") == "DEL"


class Spool:
    def __init__(self, folder: Path, replay: Callable[[Spooled], Awaitable[None]]) -> None:
        self._folder = folder
        self._replay = replay
        self._draining = asyncio.Lock()
        self._failed: dict[Path, Attachment] = {}  # what was tried and stayed
        self._trying: dict[Path, asyncio.Lock] = {}

    async def drain(self) -> None:
        """Do all that is there: what came since the last time in order, then what failed."""
        await self._drain_new()
        for path in list(self._failed):
            await self._try(path)

    async def drain_for(self, attachment: Attachment) -> bool:
        """What came, and of what failed its own alone; others' may be slow. False: some is left."""
        await self._drain_new()
        for path in [path for path, whose in self._failed.items() if whose == attachment]:
            await self._try(path)
        return attachment not in self._failed.values()

    async def _drain_new(self) -> None:
        async with self._draining:
            for path in _waiting(self._folder):
                if path not in self._failed:
                    await self._try(path)

    async def _try(self, path: Path) -> None:
        """Once at a time: a DEL that was done meanwhile would take what was attached after it."""
        async with self._trying.setdefault(path, asyncio.Lock()):
            spooled = self._read(path)
            if spooled and not await self._done(path, spooled):
                self._failed[path] = spooled.attachment
                return
            self._failed.pop(path, None)
            self._trying.pop(path, None)

    def _read(self, path: Path) -> Spooled | None:
        try:
            return _decoded(path)
        except FileNotFoundError:
            return None
        except (SeawayError, OSError) as error:
            self._put_aside(path, str(error))
            return None

    async def _done(self, path: Path, spooled: Spooled) -> bool:
        """False: it stays, to be tried again."""
        try:
            await self._replay(spooled)
        except (SeawayError, OSError) as error:
            if spooled.may_wait and not isinstance(error, Invalid):
                log.warning("spooled call waits", file=path.name, error=str(error))
                return False
            self._put_aside(path, str(error))
            return True
        _remove(path)
        log.info("spooled call done", file=path.name, command=spooled.env.get("CNI_COMMAND", ""))
        return True

    def _put_aside(self, path: Path, why: str) -> None:
        aside = self._folder / ASIDE
        aside.mkdir(mode=0o700, exist_ok=True)
        path.rename(aside / path.name)
        log.error("spooled call cannot be done", file=str(aside / path.name), error=why)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _waiting(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    for path in found:
        if path.name[0] == _UNFINISHED:
            _remove_abandoned(path)
    return [path for path in found if path.name[0] != _UNFINISHED and path.name != ASIDE]


def _remove_abandoned(path: Path) -> None:
    """Its front was killed over it, and told nobody that the call was kept."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.lstat().st_mtime > _ABANDONED:
            path.unlink()


def _decoded(path: Path) -> Spooled:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise Undecodable(f"{path.name} is larger than {_MOST_BYTES} bytes", "look at it by hand")
    return codec.decode(data, Spooled)
