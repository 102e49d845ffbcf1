"""A tar file with what a bug report needs, and without what nobody else may know.

Of everything that looks like a secret only the fact that it was there is kept; an agent that
does not answer is itself a finding, and its absence holds back nothing else.
"""

from __future__ import annotations

import io
import platform
import re
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

from seaway import __version__, names
from seaway.errors import Conflict, SeawayError
from seaway.model import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from seaway.client import Client
    from seaway.model.reports import Finding

_LOG_BYTES = 1 << 20  # the newest
_TIMEOUT = 20.0  # seconds for each program
_COMMANDS = {
    "links.txt": ["ip", "-details", "link"],
    "addresses.txt": ["ip", "address"],
    "routes.txt": ["ip", "route", "show", "table", "all"],
    "routes6.txt": ["ip", "-6", "route", "show", "table", "all"],
    "rules.txt": ["ip", "rule"],
    "nft.txt": ["nft", "list", "table", "inet", names.NFT_TABLE],
    "pins.txt": ["ls", "-lR", str(names.PIN_FOLDER)],
    "programs.txt": ["bpftool", "net"],
    "journal.txt": ["journalctl", "-u", "seaway*", "--no-pager", "-n", "5000"],
}
_OF_DAEMONS = (  # where they run
    *(names.ROUTED_FILE, names.ROUTED_LOG_FILE),
    *(names.ETCD_LOG_FILE, names.RESOLVER_LOG_FILE),
)
_REMOVED = "<removed>"
_SECRETS = (
    re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"),
    # a name that tells of a secret, and its value up to the end of the word or quotation
    re.compile(
        r"(?i)(?P<name>[\w.-]*(?:secret|token|passw|private.?key|credential|api.?key)[\w.-]*"
        r"[\"']?\s*[:=]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;}\]]+)"
    ),
    re.compile(r"(?P<name>\w+://)[^/\s:@]+:[^/\s@]+(?=@)"),  # user and password of a URL
)


def write(path: Path, client: Client, findings: Callable[[], list[Finding]]) -> list[str]:
    """Make the bundle; the names of its files. Nothing that exists is overwritten."""
    now = time.time()
    files: list[str] = []
    try:
        with path.open("xb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
            path.chmod(0o600)
            for name, text in _contents(client, findings):
                data = without_secrets(text).encode()
                item = tarfile.TarInfo(f"seaway-support/{name}")
                item.size, item.mtime, item.mode = len(data), now, 0o600
                tar.addfile(item, io.BytesIO(data))
                files.append(name)
    except FileExistsError:
        raise Conflict(f"{path} exists already", "name another file") from None
    return files


def without_secrets(text: str) -> str:
    for pattern in _SECRETS:
        text = pattern.sub(lambda match: match.groupdict().get("name", "") + _REMOVED, text)
    return text


def _contents(client: Client, findings: Callable[[], list[Finding]]) -> Iterator[tuple[str, str]]:
    yield "version.txt", f"seaway {__version__}\n{' '.join(platform.uname())}\n"
    asked: dict[str, Callable[[], object]] = {
        "doctor.json": findings,
        "status.json": client.status,
        "networks.json": client.networks,
        "endpoints.json": client.endpoints,
        "services.json": client.services,
        "slices.json": client.slices,
        "links.json": client.links,
        "routes.json": client.routes,
        "ipam.json": client.ipam,
        "ipam-check.json": client.ipam_check,
    }
    for name, ask in asked.items():
        yield name, _told(ask)
    beside = [file for file in _OF_DAEMONS if file.exists()]
    for file in (names.CONFIG_FILE, names.LOG_FILE, *beside):
        yield file.name, _end_of(file)
    for name, argv in _COMMANDS.items():
        yield name, _output(argv)


def _told(ask: Callable[[], object]) -> str:
    try:
        return codec.encode(ask()).decode()
    except SeawayError as error:
        return f"{error.kind}: {error}\n"


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError as error:
        return f"{error}\n"


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}\n"
    return done.stdout + done.stderr
