"""What `seaway doctor` finds on the disk: the store, room for it, and our CNI configurations."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from seaway import names
from seaway.errors import SeawayError, StoreDamaged
from seaway.model.reports import Finding
from seaway.setup import files
from seaway.store import file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LEAST_FREE = 16 << 20  # bytes: the log of the store may grow to 4 MB before it is written back
_BEGUN_ANEW = "the agent sets it aside when it starts, and takes all from where the records lie"


def findings() -> Iterator[Finding]:
    yield from _store()
    yield from _room()
    yield from _conflists()


def _store() -> Iterator[Finding]:
    yield from look_at(names.STORE_FILE)
    yield from look_at(names.CACHE_FILE, damaged=_BEGUN_ANEW)


def look_at(path: Path, damaged: str = "") -> Iterator[Finding]:
    """`damaged`: what becomes of such a one by itself."""
    try:
        if not path.exists():
            return  # nothing was set up yet, or the records lie elsewhere
        with file.told(path):
            file.look_at(path)
    except PermissionError:
        return  # only root may look
    except SeawayError as error:
        found = error.message
        if damaged and isinstance(error, StoreDamaged):
            yield Finding(check="store", level="warning", found=found, advice=damaged)
        else:
            yield Finding(check="store", level="error", found=found, advice=error.hint)
    else:
        yield Finding(check="store", level="ok", found=f"{path} is whole", advice="")


def _room() -> Iterator[Finding]:
    folder = names.STATE_FOLDER
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if free < _LEAST_FREE:
        yield Finding(
            check="disk",
            level="error",
            found=f"{folder} has {free >> 10} KiB free: nothing new can be recorded",
            advice=f"free at least {_LEAST_FREE >> 20} MiB there",
        )


def _conflists() -> Iterator[Finding]:
    for path in files.configurations():
        if problem := _unreadable(path):
            yield Finding(
                check="cni",
                level="warning",
                found=f"{path} is no CNI configuration: {problem}",
                advice="runtimes may refuse the whole folder: mend or remove the file",
            )


def _unreadable(path: Path) -> str:
    """Why a runtime cannot read it; empty: it can."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return "expected a JSON object with a name"
    plugins = found.get("plugins", [found])
    if not isinstance(plugins, list) or not plugins:
        return "expected a list of plugins"
    if not all(isinstance(p, dict) and isinstance(p.get("type"), str) for p in plugins):
        return "expected a type in each plugin"
    return ""
