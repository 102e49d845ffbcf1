"""What is compared: each system gives a client and a server, on lab hosts of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_interface
from typing import NamedTuple, Protocol

from seaway.lab import LabHost
from seaway.model.addresses import Address

Hosts = tuple[LabHost, ...]  # the server's is the last


class Party(NamedTuple):
    """One end: a network namespace, by a path that the machine can open, and the address that
    others ask it by: its own, or its host's where its ports are published, or a service's.
    """

    netns: str
    address: Address
    host: LabHost | None = None  # whose sockets its programs' are to be: it looks at those

    def argv(self, *command: str) -> list[str]:
        """The command line that runs the machine's `command` there; it dies with its starter."""
        return self.beside("nsenter", f"--net={self.netns}", *command)

    def beside(self, *command: str) -> list[str]:
        """The same of a command that enters the namespace by itself."""
        dying = ["setpriv", "--pdeathsig", "KILL", *command]
        return self.host.joined(*dying) if self.host else dying


class Pair(NamedTuple):
    client: Party
    server: Party
    host: str  # the network namespace of the server's host, where flows may be tracked

    def speaks(self) -> bool:
        """Whether a ping of the client's is answered."""
        ping = self.client.argv("ping", "-nqc1", "-W1", str(self.server.address))
        return subprocess.run(ping, stdout=subprocess.DEVNULL, check=False).returncode == 0


class System(Protocol):
    name: str

    def missing(self) -> str:
        """What this machine lacks to run it; empty if nothing."""

    def running(self, host: LabHost, family: int) -> AbstractContextManager[Pair]:
        """Set it up on a host of its own, with two endpoints and their addresses of a family."""


class Publisher(Protocol):
    name: str
    hosts: int  # that it needs

    def missing(self) -> str:
        """What this machine lacks to run it; empty if nothing."""

    def publishing(self, hosts: Hosts, family: int) -> AbstractContextManager[Party]:
        """Set it up on hosts of its own, with a server on the last that others ask by the address
        of the first.
        """


def netns_path(host: LabHost, name: str) -> str:
    """A named namespace of a lab host, as the machine sees it."""
    return f"/proc/{host.pid}/root/run/netns/{name}"


def host_netns(host: LabHost) -> str:
    return f"/proc/{host.pid}/ns/net"


def host_address(host: LabHost, family: int) -> Address:
    """Of its uplink."""
    return host.address4 if family == 4 else host.address6


def of_family(interfaces: Iterable[str], family: int) -> Address:
    """The first address of this family."""
    addresses = (ip_interface(text).ip for text in interfaces)
    return next(address for address in addresses if address.version == family)


def make_netns(host: LabHost, *names: str) -> None:
    for name in names:
        host.run("ip", "netns", "add", name)
        host.run("ip", "-n", name, "link", "set", "lo", "up")


class Veth:
    """A veth pair straight from one namespace to the other: the limit, and the reference."""

    name = "veth"
    ends = {"a": ("10.209.0.1/30", "fd00:209::1/64"), "b": ("10.209.0.2/30", "fd00:209::2/64")}

    def missing(self) -> str:
        return ""

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
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
        for name, (v4, v6) in self.ends.items():
            host.run("ip", "-n", name, "addr", "add", v4, "dev", "eth0")
            host.run("ip", "-n", name, "addr", "add", v6, "dev", "eth0", "nodad")
            host.run("ip", "-n", name, "link", "set", "eth0", "up")
        client, server = (
            Party(netns_path(host, name), of_family(own, family)) for name, own in self.ends.items()
        )
        yield Pair(client, server, host_netns(host))


class BareHost:
    """A server on the host itself, in no container: the reference of what publishing costs."""

    name = "host"
    hosts = 1

    def missing(self) -> str:
        return ""

    @contextmanager
    def publishing(self, hosts: Hosts, family: int) -> Iterator[Party]:
        (host,) = hosts
        yield Party(host_netns(host), host_address(host, family))
