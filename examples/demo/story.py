"""What all parts are told with: hosts with real containers, clients that ask, and promises."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from seaway import names
from seaway.client import Client
from seaway.lab import LabHost
from seaway.lab.containerd import Containerd
from seaway.lab.images import Image

HERE = Path(__file__).resolve().parent
IDLE = ("python3", "-c", "import signal; signal.pause()")
CLIENT = ("python3", str(HERE / "client.py"))
PORT, PUBLISHED = "80", "8080"  # of the gateway, and of its host
READ_LOG = "print(open('/tmp/clients.log').read())"
RESOLV = Path("/etc/seaway/resolv.conf")  # of containers, on each host
BREATH = 2.0  # seconds of requests between two events
SETTLING = 2.5  # seconds by which whoever was hit has his answer, or none
UNAVAILABLE = 7  # the exit status of a command that no agent answers, or that needs the store
BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


class Failed(Exception):
    """Something that the story promises did not happen."""


def tell(text: str) -> None:
    print(text, flush=True)


def title(text: str) -> None:
    tell(f"\n{BOLD}── {text}{PLAIN}")


def check(promise: str, kept: object) -> None:
    if not kept:
        raise Failed(promise)
    tell(f"  ✓ {promise}")


def go_on(seconds: float) -> None:
    time.sleep(seconds)  # the story's own pace; nothing is waited for


@dataclass(frozen=True)
class Report:
    """What a client counted: answers by backend, failures by reason, and of the answers, by what
    failed before, those for which the gateway asked twice. Times are in seconds.
    """

    answered: dict[str, int]
    failed: dict[str, int]
    retried: dict[str, int]
    slowest: float  # answer
    silence: float  # the longest time without any answer

    @classmethod
    def read(cls, line: str) -> Self:
        if not line:
            raise Failed("the client goes on asking")
        return cls(**json.loads(line))

    @property
    def sent(self) -> int:
        return sum(self.answered.values()) + sum(self.failed.values())

    def __str__(self) -> str:
        answered, failed = (sum(c.values()) for c in (self.answered, self.failed))
        counts = f"{self.sent} requests sent, {answered} answered, {failed} failed"
        return f"{counts} ({listed(self.answered | self.failed)})"


def listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))


@dataclass(frozen=True)
class Load:
    """A client that goes on asking."""

    process: subprocess.Popen[str]
    signal: Callable[[str], object]

    def report(self) -> Report:
        """What it counted since the last one."""
        assert self.process.stdout is not None
        self.signal("USR1")
        return Report.read(self.process.stdout.readline())

    @contextmanager
    def going_on(self) -> Iterator[Self]:
        try:
            yield self
            self.signal("TERM")
            self.process.communicate(timeout=30)
        finally:
            self.process.kill()
            self.process.wait()


def asked_from(host: LabHost, address: object, port: str, seconds: float) -> Report:
    """What a client on a host counted, which is none of a container."""
    return Report.read(host.run(*CLIENT, str(address), port, str(seconds)))


@dataclass(kw_only=True)
class Site:
    """A host, and the containers on it."""

    host: LabHost
    engine: Containerd
    image: Image
    prompt: str = "$"
    addresses: dict[str, list[str]] = field(default_factory=dict)

    @property
    def agent(self) -> Client:
        """For what is asked again and again: faster than the command."""
        return Client(Path(f"/proc/{self.host.pid}/root{names.SOCKET}"))

    def seaway(self, *command: str) -> str:
        """Run a command as a user does, and show what it prints."""
        tell(f"{self.prompt} seaway {' '.join(command)}")
        output = self.host.seaway(*command)
        tell(output.rstrip())
        return output

    def told(self, *command: str) -> Any:
        return json.loads(self.host.seaway(*command, "-o", "json"))

    def start(self, name: str, network: str, *command: str) -> None:
        """Start a container of the Python image on a network, with this folder as /app. It looks
        names up as this host's containers do; its label `app` is its name without what numbers it.
        """
        labels = [{"key": "app", "value": name.partition("-")[0]}]
        self.engine.use({"type": "seaway", "network": network, "args": {"cni": {"labels": labels}}})
        if not self.addresses:  # once: those that have it mounted would see it half written
            self.host.write(RESOLV, f"nameserver {names.RESOLVER4}\nsearch {network}.seaway\n")
        mounted = {HERE: "/app", RESOLV: "/etc/resolv.conf"}
        mounts = (f"--mount=type=bind,src={s},dst={d},options=rbind:ro" for s, d in mounted.items())
        self.engine.run(name, self.image, *command, options=tuple(mounts))
        self.addresses[name] = self.engine.addresses(name)
        where = "" if self.prompt == "$" else f"on {self.host.name}: "
        tell(f"  {name:10} {where}{', '.join(self.addresses[name])}")

    def python(self, name: str, script: str, *arguments: str) -> str:
        """Run a script of this folder in a container."""
        return self.engine.call(name, "python3", f"/app/{script}", *arguments)

    def clients(self, backend: str) -> set[str]:
        """Whom its log names."""
        return set(self.engine.call(backend, "python3", "-c", READ_LOG).split())

    def ask(self, address: str, *seconds: float, who: str = "client") -> Report:
        """Send requests from a container at a steady pace, for so long; each may take as long."""
        asked = (address, PORT, *map(str, seconds))
        return Report.read(self.python(who, "client.py", *asked))

    @contextmanager
    def load(self, address: str) -> Iterator[Load]:
        """From the client in the background."""
        task = ["ctr", "task", "exec", "--exec-id", "load", "client"]
        script = ["python3", "/app/client.py", address, PORT]
        kill = ("ctr", "task", "kill", "--exec-id", "load", "--signal")
        process = self.host.popen(*task, *script, stdout=subprocess.PIPE)
        load = Load(process, lambda signal: self.host.run(*kill, signal, "client"))
        with load.going_on():
            yield load


@dataclass(kw_only=True)
class Story(Site):
    """One host, and another one that stands for the outside."""

    outside: LabHost

    def ask_from(self, host: LabHost, address: object, seconds: float) -> Report:
        """As `ask`, from a host, by the published port."""
        return asked_from(host, address, PUBLISHED, seconds)

    @contextmanager
    def load_from_outside(self) -> Iterator[Load]:
        """As `load`, from the host outside, by the published port."""
        told = ["sh", "-c", 'echo $$; exec "$@"', "sh", *CLIENT, str(self.host.address4), PUBLISHED]
        process = self.outside.popen(*told, stdout=subprocess.PIPE)
        assert process.stdout is not None
        number = process.stdout.readline().strip()
        load = Load(process, lambda signal: self.outside.run("kill", f"-{signal}", number))
        with load.going_on():
            yield load

    @contextmanager
    def counting(self, *command: str) -> Iterator[dict[str, int]]:
        """What `status`, or one endpoint, tells of more drops than before, by reason."""
        before, more = self._drops(*command), dict[str, int]()
        yield more
        after = self._drops(*command)
        more |= {r: n - before.get(r, 0) for r, n in after.items() if n > before.get(r, 0)}

    def _drops(self, *command: str) -> dict[str, int]:
        return {drop["reason"]: drop["packets"] for drop in self.told(*command)["drops"]}
