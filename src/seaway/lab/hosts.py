"""One lab host: running commands in it, and the agent that lives there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import msgspec

from seaway import names
from seaway.errors import SystemFailed
from seaway.lab import holders

SEAWAY = str(Path(sys.prefix) / "bin" / "seaway")


class LabHost(msgspec.Struct, frozen=True, kw_only=True):
    """A handle without state: everything is looked up in the kernel when it is asked for."""

    name: str
    cgroup: Path
    address4: IPv4Address
    address6: IPv6Address

    @property
    def pid(self) -> int:
        """The host's first process, as the machine numbers it."""
        return holders.find(self.cgroup)

    def argv(self, *command: str) -> list[str]:
        """The command line that runs `command` inside; for Popen, or to exec."""
        return holders.enter(self.cgroup, list(command))

    def joined(self, *command: str) -> list[str]:
        """The command line that runs the machine's `command` in the host's cgroup alone."""
        return holders.join(self.cgroup, list(command))

    def run(
        self, *command: str, check: bool = True, timeout: float = 120.0, stdin: str | None = None
    ) -> str:
        """Run to the end; return standard output. What went wrong is in the exception's notes."""
        done = self.call(*command, timeout=timeout, stdin=stdin)
        if check and done.returncode:
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout)
            error.add_note(f"{self.name}: {done.stderr.strip() or done.stdout.strip()}")
            raise error
        return done.stdout

    def call(
        self, *command: str, timeout: float = 120.0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, however that is."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        argv = self.argv(*command)
        return subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=timeout, **given
        )

    def popen(self, *command: str, **given: Any) -> subprocess.Popen[str]:
        """Start in the foreground; killing it kills the command inside."""
        return subprocess.Popen(self.argv(*command), text=True, **given)

    def start(self, *command: str, log: Path) -> None:
        """Start in the background, with its output in a file of the host."""
        script = 'mkdir -p "$(dirname "$0")"; setsid "$@" >> "$0" 2>&1 < /dev/null &'
        self.run("sh", "-c", script, str(log), *command)

    def read(self, path: Path) -> str:
        return self.run("cat", str(path))

    def write(self, path: Path, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")"; cat > "$0"', str(path), stdin=text)

    def reaches(self, address: object, within: int = 3) -> bool:
        """Whether a ping is answered, of one each second, in so many seconds."""
        return self.call("ping", "-nqc1", f"-w{within}", str(address)).returncode == 0

    def wait_for(self, what: str, true: Callable[[], bool], within: float = 120.0) -> None:
        """Ask until the answer is yes, or the deadline has passed."""
        deadline = time.monotonic() + within
        while not true():
            if time.monotonic() > deadline:
                raise SystemFailed(f"{self.name}: {what} did not happen within {within:g} s")
            time.sleep(0.02)

    def seaway(self, *command: str, **given: Any) -> str:
        return self.run(SEAWAY, *command, **given)

    def start_agent(self) -> None:
        """Set the host up, or start its agent again; return when that is ready."""
        self.seaway("init", timeout=60)

    def agent_pid(self) -> int:
        """As the host numbers it."""
        return int(self.read(names.PID_FILE))

    def kill_agent(self) -> None:
        """No warning, no farewell."""
        self.run("kill", "-KILL", str(self.agent_pid()))

    def agent_is_ready(self) -> bool:
        return '"ready":true' in self.call(SEAWAY, "status", "-o", "json").stdout.replace(" ", "")
