"""Processes of ours, each with one job, that go on while the others are dead; and that they run.

Systemd runs them where it is there; else each is started detached, as a process of its own. Who
holds the lock of its pid file is known for ours.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, Protocol

import structlog

from seaway import durable, names
from seaway.errors import SeawayError, SystemFailed

SYSTEMD: Final = Path("/run/systemd/system")  # as sd_booted(3) looks at it
UNITS: Final = Path("/etc/systemd/system")
_UNIT_COMMAND = "/usr/bin/seaway"  # in the packaged units
_END_WITHIN = 10.0
LOOK: Final = 2.0  # seconds between two looks whether one runs
SLOWEST: Final = 32.0  # and between two starts of one that ends at once

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Daemon:
    """`seaway WORD`, which runs until it is told to end."""

    word: str
    unit: str
    pid_file: Path
    log: Path  # only where no systemd keeps the journal

    @property
    def unit_file(self) -> Path:
        return UNITS / self.unit

    def running(self) -> int | None:
        """The process that the pid file names and that holds its lock."""
        return running(self.pid_file)

    def build(self, pid: int) -> str:
        """What that process told of its code; empty: nothing."""
        return build_of(self.pid_file, pid)

    def replace(self, pid: int) -> None:
        """Start it anew in the place of that process, be it systemd's or not."""
        if has_systemd():
            self.start()  # which ends the unit's own first
        if self.running() == pid:
            end(pid)
        if not has_systemd():
            self.start()

    def start(self, *, enable: bool = False) -> None:
        """`enable`: with the host, too."""
        if has_systemd():
            self.put_unit(command())
            systemctl("daemon-reload")
            if enable:
                systemctl("enable", self.unit)
            systemctl("restart", self.unit)
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab", opener=_for_root_alone) as output:
            done = subprocess.run(
                ["setsid", "--fork", sys.executable, "-m", "seaway", self.word],
                check=False,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if done.returncode:
            raise SystemFailed(f"'seaway {self.word}' cannot be started", f"see {self.log}")

    def stop(self) -> bool:
        """End it, whatever state it is in; whether there was one."""
        if has_systemd() and self.unit_file.exists():
            systemctl("disable", "--now", self.unit)
        pid = self.running()
        if pid is None:
            return False
        end(pid)
        return True

    def unit_text(self, command: str = _UNIT_COMMAND) -> str:
        """The systemd unit, to run this command."""
        packaged = resources.files("seaway.setup").joinpath(self.unit).read_text()
        return packaged.replace(_UNIT_COMMAND, command)

    def put_unit(self, command: str, folder: Path = UNITS) -> bool:
        """Whether it was written: it was not there, or another one."""
        path, text = folder / self.unit, self.unit_text(command)
        if path.is_file() and path.read_text() == text:
            return False
        durable.write(path, text.encode(), 0o644)
        return True

    def forget(self) -> None:
        """Take the unit away."""
        if self.unit_file.exists():
            self.unit_file.unlink()
            if has_systemd():
                systemctl("daemon-reload")


AGENT: Final = Daemon("agent", "seaway.service", names.PID_FILE, names.LOG_FILE)
ROUTED: Final = Daemon(
    "routed", "seaway-routed.service", names.ROUTED_PID_FILE, names.ROUTED_LOG_FILE
)
ETCD: Final = Daemon("etcd", "seaway-etcd.service", names.ETCD_PID_FILE, names.ETCD_LOG_FILE)

DNS: Final = Daemon("dns", "seaway-dns.service", names.RESOLVER_PID_FILE, names.RESOLVER_LOG_FILE)


def has_systemd() -> bool:
    return SYSTEMD.is_dir() and shutil.which("systemctl") is not None


def command() -> str:
    """The installed program beside this interpreter, as a service may call it."""
    return str(Path(sys.executable).with_name("seaway"))


def systemctl(*words: str) -> None:
    done = subprocess.run(
        ["systemctl", "--quiet", *words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemFailed(
            f"systemctl {' '.join(words)} failed: {done.stderr.strip()}", "see: journalctl -xe"
        )


def running(path: Path) -> int | None:
    """The process that this file names and that holds its lock."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return None  # nobody holds it: the process that it names is somebody else


def tell_build(pid_file: Path, build: str) -> None:
    """Of this process, beside its pid: which code it runs, whatever is installed by now."""
    durable.write(_build_file(pid_file), f"{os.getpid()} {build}\n".encode(), 0o644)


def build_of(pid_file: Path, pid: int) -> str:
    """Which one that process told; empty: none."""
    try:
        told, _, build = _build_file(pid_file).read_text().strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return ""
    return build if told == str(pid) else ""


def _build_file(pid_file: Path) -> Path:
    return pid_file.with_suffix(".build")


def end(pid: int) -> None:
    """Ask, wait, then force. The handle keeps the number from meaning somebody else."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, number)
            ended, _, _ = select.select([handle], [], [], _END_WITHIN)
            if ended:
                return
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    raise SystemFailed(f"process {pid} does not end", "see: ps -o state,wchan")


def _for_root_alone(path: str, flags: int) -> int:
    """The log tells of every container and address."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


class Process(Protocol):
    """See `Daemon`."""

    def running(self) -> int | None: ...

    def build(self, pid: int) -> str: ...

    def start(self) -> None: ...

    def replace(self, pid: int) -> None: ...


class Runner:
    """Has `routed`, or another process of ours, run while there are orders for it, and sets `runs`
    then. One that is there is adopted; where a `build` is said, one of another is replaced.
    """

    def __init__(
        self,
        orders: Path = names.ROUTED_FILE,
        process: Process = ROUTED,
        what: str = "routed",
        runs: asyncio.Event | None = None,
        build: str = "",
    ) -> None:
        self._what = what
        self._runs = runs or asyncio.Event()
        self._orders = orders
        self._process = process
        self._pause = LOOK
        self._build = build
        self._other: int | None = None  # which had another build when we looked last

    async def keep(self) -> None:
        """For ever."""
        while True:
            pause = await self.look()
            await asyncio.sleep(pause)

    async def look(self) -> float:
        """Start it where it should run; seconds until the next look, for one that ends at once more
        and more.
        """
        wanted = self._orders.exists()  # first: on a host that is alone that is all
        pid = self._process.running() if wanted else None
        (self._runs.set if pid else self._runs.clear)()
        outdated = self._is_outdated(pid)
        if (pid and not outdated) or not wanted:
            self._pause = LOOK
            return self._pause
        try:
            if pid and outdated:
                await asyncio.to_thread(self._process.replace, pid)
            else:
                await asyncio.to_thread(self._process.start)
            self._runs.set()
            log.info("started", what=self._what, instead_of=pid)
        except (SeawayError, OSError) as error:
            log.warning("not started", what=self._what, error=str(error))
        self._pause = min(2 * self._pause, SLOWEST)
        return self._pause

    def _is_outdated(self, pid: int | None) -> bool:
        """At the second look: one that just begins may not have told of itself yet, and what its
        file named before is not to be ended.
        """
        other = pid if pid and self._build and self._process.build(pid) != self._build else None
        before, self._other = self._other, other
        return other is not None and other == before
