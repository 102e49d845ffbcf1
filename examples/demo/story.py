"""What the chapters are told with: a host with real containers, another one that stands for the
outside, promises, and counted drops.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seaway.lab import LabHost
from seaway.lab.containerd import Containerd
from seaway.lab.images import Image

HERE = Path(__file__).resolve().parent
CLIENT = ("python3", str(HERE / "client.py"))
PORT, PUBLISHED = "80", "8080"  # of the gateway, and of its host
READ_LOG = "print(open('/tmp/clients.log').read())"
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


@dataclass
class Story:
    host: LabHost
    outside: LabHost
    engine: Containerd
    image: Image
    addresses: dict[str, list[str]] = field(default_factory=dict)

    def seaway(self, *command: str) -> str:
        """Run a command as a user does, and show what it prints."""
        tell(f"$ seaway {' '.join(command)}")
        output = self.host.seaway(*command)
        tell(output.rstrip())
        return output

    def told(self, *command: str) -> Any:
        return json.loads(self.host.seaway(*command, "-o", "json"))

    def start(self, name: str, network: str, *command: str) -> None:
        """Start a container of the Python image on a network, with this folder as /app."""
        labels = [{"key": "app", "value": name.rstrip("-0123456789")}]
        self.engine.use({"type": "seaway", "network": network, "args": {"cni": {"labels": labels}}})
        mount = f"type=bind,src={HERE},dst=/app,options=rbind:ro"
        self.engine.run(name, self.image, *command, options=("--mount", mount))
        self.addresses[name] = self.engine.addresses(name)
        tell(f"  {name:10} {', '.join(self.addresses[name])}")

    def python(self, name: str, script: str, *arguments: str) -> str:
        """Run a script of this folder in a container."""
        return self.engine.call(name, "python3", f"/app/{script}", *arguments)

    def ask(self, address: str, seconds: float, who: str = "client") -> dict[str, int]:
        """Send requests from a container at a steady pace: how many got which answer."""
        asked = (address, PORT, str(seconds))
        answers: dict[str, int] = json.loads(self.python(who, "client.py", *asked))
        return answers

    def ask_from(self, host: LabHost, address: object, seconds: float) -> dict[str, int]:
        """The same from a host, by the published port."""
        asked = (str(address), PUBLISHED, str(seconds))
        answers: dict[str, int] = json.loads(host.run(*CLIENT, *asked))
        return answers

    @contextmanager
    def load(self, address: str) -> Iterator[dict[str, int]]:
        """From the client in the background, for as long as it takes; the answers come after."""
        answers: dict[str, int] = {}
        task = ["ctr", "task", "exec", "--exec-id", "load", "client"]
        script = ["python3", "/app/client.py", address, PORT]
        with self.host.popen(*task, *script, stdout=subprocess.PIPE) as load:
            yield answers
            self.host.run("ctr", "task", "kill", "--exec-id", "load", "--signal", "TERM", "client")
            answers |= json.loads(load.communicate(timeout=30)[0])

    @contextmanager
    def load_from_outside(self) -> Iterator[dict[str, int]]:
        """The same from the host outside, by the published port."""
        answers: dict[str, int] = {}
        told = ["sh", "-c", 'echo $$; exec "$@"', "sh", *CLIENT, str(self.host.address4), PUBLISHED]
        with self.outside.popen(*told, stdout=subprocess.PIPE) as load:
            assert load.stdout is not None
            number = load.stdout.readline().strip()
            yield answers
            self.outside.run("kill", "-TERM", number)
            answers |= json.loads(load.communicate(timeout=30)[0])

    def clients(self, backend: str) -> set[str]:
        """Whom its log names."""
        return set(self.engine.call(backend, "python3", "-c", READ_LOG).split())

    @contextmanager
    def counting(self, *command: str) -> Iterator[dict[str, int]]:
        """What `status`, or one endpoint, tells of more drops than before, by reason."""
        before, more = self._drops(*command), dict[str, int]()
        yield more
        after = self._drops(*command)
        more |= {r: n - before.get(r, 0) for r, n in after.items() if n > before.get(r, 0)}

    def _drops(self, *command: str) -> dict[str, int]:
        return {drop["reason"]: drop["packets"] for drop in self.told(*command)["drops"]}
