"""Starts and stops the agent: by systemd where it runs, else as a process of its own."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from seaway import names
from seaway.client import Client
from seaway.errors import NotReady, SystemFailed, Unavailable
from seaway.setup import files

SYSTEMD = Path("/run/systemd/system")  # as sd_booted(3) looks at it
SERVICE = "seaway.service"
READY_WITHIN = 30.0  # seconds
_END_WITHIN = 10.0
_POLL = 0.02
_TAIL = 2048  # bytes of a log that are looked at


def has_systemd() -> bool:
    return SYSTEMD.is_dir() and shutil.which("systemctl") is not None


def command() -> str:
    """The installed program beside this interpreter, as a service may call it."""
    return str(Path(sys.executable).with_name("seaway"))


def start() -> None:
    """Start an agent; `wait_until_ready` tells how that went."""
    if has_systemd():
        files.put_unit(command())
        _systemctl("daemon-reload")
        _systemctl("enable", SERVICE)
        _systemctl("restart", SERVICE)
        return
    names.LOG_FILE.parent.mkdir(parents=True, exist_ok=True)
    with open(names.LOG_FILE, "ab", opener=_for_root_alone) as log:
        subprocess.run(
            ["setsid", "--fork", sys.executable, "-m", "seaway", "agent"],
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _for_root_alone(path: str, flags: int) -> int:
    """The log tells of every container and address."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def wait_until_ready(client: Client, within: float = READY_WITHIN) -> None:
    """Return once ADD is served; else say what the agent said last."""
    deadline = time.monotonic() + within
    while True:
        try:
            if client.status().ready:
                return
            trouble = "it answers, but is not ready"
        except Unavailable as error:
            trouble = error.message
        if time.monotonic() > deadline:
            raise NotReady(f"the agent was not ready within {within:.0f} s: {trouble}", _advice())
        time.sleep(_POLL)


def _advice() -> str:
    """Where its log is, and its last line."""
    if has_systemd():
        return "see: journalctl -u seaway"
    try:
        with names.LOG_FILE.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL))
            lines = log.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return "it wrote no log"
    last = next((line for line in reversed(lines) if line.strip()), "nothing")
    return f"see {names.LOG_FILE}; its last line: {last}"


def running(path: Path = names.PID_FILE) -> int | None:
    """The process of the agent: the one that the file names and that holds its lock."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return None  # nobody holds it: the process that it names is somebody else


def stop() -> bool:
    """End the agent, whatever state it is in; whether there was one."""
    if has_systemd() and files.UNIT.exists():
        _systemctl("disable", "--now", SERVICE)
    pid = running()
    if pid is None:
        return False
    end(pid)
    return True


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
    raise SystemFailed(f"the agent (process {pid}) does not end", "see: ps -o state,wchan")


def _systemctl(*words: str) -> None:
    done = subprocess.run(
        ["systemctl", "--quiet", *words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemFailed(
            f"systemctl {' '.join(words)} failed: {done.stderr.strip()}", "see: journalctl -xe"
        )


def forget_unit() -> None:
    """Have systemd look again, now that the unit's file is gone."""
    if has_systemd():
        _systemctl("daemon-reload")
