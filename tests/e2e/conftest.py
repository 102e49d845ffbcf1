"""A lab host with its agent, and bare containers: network namespaces that `attach` joins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path
from typing import Any

import pytest

from seaway import names
from seaway.lab import Lab, LabHost

TELLING = str(Path(__file__).parents[1] / "telling.py")


@contextmanager
def telling(host: LabHost, netns: str, port: str) -> Iterator[None]:
    """In that network namespace, a server that tells its clients their addresses."""
    inside = ("nsenter", f"--net={netns}", sys.executable, TELLING, port)
    with host.popen(*inside, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert "ready\n" == server.stdout.readline()
            yield
        finally:
            server.kill()


@dataclass(frozen=True)
class Bare:
    """A network namespace of a lab host that plays a container."""

    host: LabHost
    name: str

    def call(self, *command: str, timeout: float = 120.0) -> Any:
        inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        return self.host.call(*inside, *command, timeout=timeout)

    def run(self, *command: str, timeout: float = 120.0) -> str:
        inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        return self.host.run(*inside, *command, timeout=timeout)

    def telling(self, port: str) -> AbstractContextManager[None]:
        return telling(self.host, f"/run/netns/{self.name}", port)

    def reaches(self, address: object) -> bool:
        """Whether a ping is answered, of one each second."""
        return self.call("ping", "-nqc1", "-w10", str(address)).returncode == 0

    def is_kept_from(self, address: object) -> bool:
        """Whether a ping is not answered."""
        return self.call("ping", "-nqc1", "-W1", str(address)).returncode != 0

    def connects(self, address: object, port: int) -> bool:
        """Whether a TCP connection is accepted."""
        inside = ["timeout", "1", "bash", "-c", f": < /dev/tcp/{address}/{port}"]
        return self.call(*inside).returncode == 0

    def addresses(self, interface: str = "eth0") -> list[str]:
        """Global ones, IPv4 first."""
        (link,) = json.loads(self.run("ip", "-j", "addr", "show", interface))
        return [a["local"] for a in link["addr_info"] if a["scope"] == "global"]


def _passing(line: str) -> bool:
    """A route that the kernel gives a new device, and the agent takes away within a second."""
    return f"multicast ff00::/8 dev {names.LINK_PREFIX}" in line


@dataclass(frozen=True)
class OneHost:
    """A host whose agent runs, and what a user does there."""

    host: LabHost

    def seaway(self, *command: str) -> str:
        return self.host.seaway(*command)

    def told(self, *command: str) -> Any:
        return json.loads(self.host.seaway(*command, "-o", "json"))

    def container(self, name: str) -> Bare:
        self.host.run("ip", "netns", "add", name)
        return Bare(self.host, name)

    def attach(self, name: str, network: str = "default", *options: str) -> Bare:
        container = self.container(name)
        self.seaway("attach", name, "--network", network, "--name", name, *options)
        return container

    def state(self) -> dict[str, str]:
        """Every place in which something could be left behind, once the kernel has decided."""
        tentative = ("ip", "-6", "addr", "show", "tentative")
        self.host.wait_for("DAD", lambda: not self.host.run(*tentative))
        looks = {
            "links": "ip -br link",
            "addresses": "ip -br addr",
            "routes4": "ip route show table all",
            "routes6": "ip -6 route show table all",
            "nft": "nft -s list ruleset",
            "pins": "find /sys/fs/bpf -printf %p\\n",
        }
        found = {what: self.host.run(*look.split()) for what, look in looks.items()}
        return {
            what: "\n".join(sorted(filterfalse(_passing, text.splitlines())))
            for what, text in found.items()
        }

    def drops(self) -> dict[str, int]:
        return {drop["reason"]: drop["packets"] for drop in self.told("status")["drops"]}


@pytest.fixture
def one_host(lab_host: LabHost) -> OneHost:
    lab_host.start_agent()
    return OneHost(lab_host)


@pytest.fixture
def one_host_and_world(make_lab: Callable[..., Lab]) -> tuple[OneHost, LabHost]:
    lab = make_lab(hosts=1, world=True)
    lab.hosts[0].start_agent()
    return OneHost(lab.hosts[0]), lab.host("world")
