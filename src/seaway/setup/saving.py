"""A backup into a file: the whole state as the agent knows it, or as a dead one left it."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from seaway import backups, names
from seaway.cluster import membership
from seaway.daemons import AGENT
from seaway.errors import Conflict, Invalid, NotFound, SystemFailed, Unavailable
from seaway.kernel.whereabouts import whereabouts
from seaway.presence import alone
from seaway.records import parse
from seaway.setup.beginning import must_be_root
from seaway.store import file as store_file
from seaway.store.sqlite import SqliteStore
from seaway.trust.folder import Folder

if TYPE_CHECKING:
    from seaway.client import Client
    from seaway.model.backup import Backup


def whole(client: Client) -> Backup:
    """All records at one moment."""
    must_be_root("read the whole state")
    try:
        return client.backup()
    except Unavailable:
        if AGENT.running() is not None:
            raise
    if not store_file.exists(names.STORE_FILE):
        if membership.load():
            raise Unavailable("the records lie elsewhere, and no agent answers", "seaway init")
        raise NotFound("this host has no cluster yet", "run: seaway init")
    with alone():  # no agent may begin to change what is read here
        return asyncio.run(_read())


async def _read() -> Backup:
    store = SqliteStore(names.STORE_FILE)
    try:
        snapshot = await store.load()
    finally:
        await store.close()
    records = (parse(key, item.value) for key, item in snapshot.items.items())
    member = membership.load() or membership.of_alone(records)
    host = member.host if member else ""
    return backups.take(snapshot, whereabouts(), host, Folder().trust())


def refuse(path: Path, *, overwrite: bool) -> None:
    """What cannot become a backup, or is not to be overwritten."""
    if path.exists() and not path.is_file():
        raise Invalid(f"{path} is no file", "name one, or '-' for standard output")
    if path.exists() and not overwrite:
        raise Conflict(f"{path} exists already", "name another file, or give --overwrite")


def write(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Whole or not at all, and on the disk; for root's eyes only."""
    path = path.resolve()
    refuse(path, overwrite=overwrite)
    made = Path()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        made = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _name(made, path, overwrite=overwrite)
    except FileExistsError:
        raise Conflict(f"{path} exists already", "name another file") from None
    except OSError as error:
        raise SystemFailed(f"cannot write {path}: {error.strerror}", "mend it, repeat") from error
    finally:
        if made.name:
            made.unlink(missing_ok=True)


def _name(made: Path, path: Path, *, overwrite: bool) -> None:
    """A link is never made over a file that came meanwhile, but not every disk has links."""
    if not overwrite:
        try:
            path.hardlink_to(made)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EOPNOTSUPP}:
                raise
        else:
            return
    made.rename(path)
