"""What is compared: each system gives two endpoints on a lab host of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import IPv4Address
from typing import NamedTuple, Protocol

from seaway.lab import LabHost


class Place(NamedTuple):
    """One end: a network namespace, by a path that the machine can open, and its address."""

    netns: str
    address: IPv4Address

    def argv(self, *command: str) -> list[str]:
        """The command line that runs the machine's `command` there; it dies with its starter."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.netns}", *command]


class Pair(NamedTuple):
    client: Place
    server: Place


class System(Protocol):
    name: str

    def missing(self) -> str:
        """What this machine lacks to run it; empty if nothing."""

    def running(self, host: LabHost) -> AbstractContextManager[Pair]:
        """Set it up on a host of its own, with two endpoints."""


def netns_path(host: LabHost, name: str) -> str:
    """A named namespace of a lab host, as the machine sees it."""
    return f"/proc/{host.pid}/root/run/netns/{name}"


def make_netns(host: LabHost, *names: str) -> None:
    for name in names:
        host.run("ip", "netns", "add", name)
        host.run("ip", "-n", name, "link", "set", "lo", "up")


class Veth:
    """A veth pair straight from one namespace to the other: the limit, and the reference."""

    name = "veth"

    def missing(self) -> str:
        return ""

    @contextmanager
    def running(self, host: LabHost) -> Iterator[Pair]:
        make_netns(host, "a", "b")
        host.run(
            *[
                "ip",
                "link",
                "add",
                "eth0",
                "netns",
                "a",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                "b",
            ]
        )
        ends = {"a": IPv4Address("10.209.0.1"), "b": IPv4Address("10.209.0.2")}
        for name, address in ends.items():
            host.run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", "eth0")
            host.run("ip", "-n", name, "link", "set", "eth0", "up")
        client, server = (Place(netns_path(host, n), a) for n, a in ends.items())
        yield Pair(client, server)
