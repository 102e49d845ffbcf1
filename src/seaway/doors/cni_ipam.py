"""IPAM plugins of others, executed for the caller as the caller would (CNI spec, section 4).

They get the caller's whole environment and input, are looked for in the caller's CNI_PATH, and
what they print on standard error reaches the caller's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from seaway.doors.cni_result import Result, parse_result
from seaway.errors import Invalid, IpamFailed, SeawayError
from seaway.model import codec

PATIENCE = 40.0  # seconds; less than the front waits for us

_TRY_LATER = 11
log = structlog.get_logger(__name__)


class Refused(IpamFailed):
    """With the code that the plugin gave."""

    def __init__(self, message: str, hint: str, code: int) -> None:
        super().__init__(message, hint)
        self.code = code


@dataclass(frozen=True)
class Delegate:
    """One IPAM plugin in one call."""

    kind: str
    path: tuple[str, ...]
    env: Mapping[str, str]
    stdin: str
    patience: float
    heard: list[str]  # its standard error

    async def add(self) -> Result:
        result = parse_result(_decoded(self.kind, await self._run("ADD")))
        if not result.ips:
            raise IpamFailed(f"IPAM plugin '{self.kind}' gave no address", "mend its configuration")
        if len({ip.address.ip for ip in result.ips}) != len(result.ips):
            raise IpamFailed(f"IPAM plugin '{self.kind}' gave an address twice", "mend it")
        return result

    async def forward(self) -> None:
        """DEL, CHECK, GC, STATUS as they came."""
        await self._run(self.env["CNI_COMMAND"])

    async def undo(self) -> None:
        """After an ADD that failed, its own or a later step's: what it says then is of no use."""
        try:
            await self._run("DEL")
        except (SeawayError, OSError) as error:
            log.warning("ipam plugin cannot undo", plugin=self.kind, error=str(error))

    async def _run(self, verb: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            self._program(),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**self.env, "CNI_COMMAND": verb},
            cwd="/",
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self.patience):
                out, err = await process.communicate(self.stdin.encode())
        except TimeoutError:
            told = f"IPAM plugin '{self.kind}' did not end within {self.patience:g} s"
            raise Refused(told, "try again later", _TRY_LATER) from None
        finally:
            await _end(process)
        self.heard.append(err.decode(errors="replace"))
        if process.returncode:
            raise _refusal(self.kind, process.returncode, out)
        return out

    def _program(self) -> str:
        for folder in self.path:
            program = Path(folder) / self.kind
            if program.is_file() and os.access(program, os.X_OK):
                return str(program)
        folders = ":".join(self.path)
        raise Invalid(
            f"IPAM plugin '{self.kind}' is not in CNI_PATH ({folders})", "install it, or mend it"
        )


async def _end(process: Process) -> None:
    """What did not end by itself is killed, with its children."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class _Error(msgspec.Struct, frozen=True):
    code: int
    msg: str = ""
    details: str = ""


def _refusal(kind: str, status: int, out: bytes) -> IpamFailed:
    try:
        error = codec.decode(out, _Error)
    except SeawayError:
        return IpamFailed(f"IPAM plugin '{kind}' failed with status {status}", "see its messages")
    return Refused(f"IPAM plugin '{kind}': {error.msg}", error.details, error.code)


def _decoded(kind: str, out: bytes) -> dict[str, Any]:
    try:
        return codec.decode(out, dict[str, Any])
    except SeawayError as error:
        raise IpamFailed(f"IPAM plugin '{kind}' gave no result: {error}") from None
