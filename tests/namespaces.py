"""Network namespaces that a test makes, changes by hand, and loses at its end."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Netns:
    name: str

    @property
    def path(self) -> Path:
        return Path("/run/netns") / self.name

    @property
    def inode(self) -> int:
        return self.path.stat().st_ino

    def run(self, command: str, text: str = "") -> str:
        """Inside; several are parted by ';'. Raises what the command says on failure."""
        *before, command = command.split("; ")
        for earlier in before:
            self.run(earlier)
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command.split()],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
        return done.stdout

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True, timeout=60)


@contextmanager
def namespaces() -> Iterator[Callable[[], Netns]]:
    """Makes them. All are gone afterwards, those that the test removed itself too."""
    with ExitStack() as stack:

        def make() -> Netns:
            netns = Netns(f"swt-{uuid.uuid4().hex[:10]}")
            subprocess.run(["ip", "netns", "add", netns.name], check=True, timeout=60)
            stack.callback(lambda: netns.path.exists() and netns.remove())
            return netns

        yield make
