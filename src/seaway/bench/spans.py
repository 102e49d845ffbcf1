"""What is compared across hosts: each system gives a client on one and a server on another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar, Protocol

from seaway.bench.systems import (
    Hosts,
    Pair,
    Party,
    host_address,
    host_netns,
    make_netns,
    netns_path,
)
from seaway.lab import LabHost
from seaway.model.addresses import parse_address

MTU = {4: 1450, 6: 1430}  # of what VXLAN carries over a wire of 1500, by the family that carries


class Spanner(Protocol):
    name: str
    hosts: int  # that it needs

    def missing(self) -> str:
        """What this machine lacks to run it; empty if nothing."""

    def spanning(self, hosts: Hosts, family: int) -> AbstractContextManager[Pair]:
        """Set it up on hosts of its own, with a client on the first and a server on the last."""


class Underlay:
    """No container: the bare path from host to host, and the reference."""

    name = "underlay"
    hosts = 2

    def missing(self) -> str:
        return ""

    @contextmanager
    def spanning(self, hosts: Hosts, family: int) -> Iterator[Pair]:
        client, server = (Party(host_netns(h), host_address(h, family)) for h in hosts)
        yield Pair(client, server, host_netns(hosts[-1]))


class _OfKernel(ABC):
    """On two hosts, by commands: an endpoint on each, in a namespace `end`."""

    hosts = 2
    addresses: ClassVar[Mapping[int, tuple[str, str]]]  # of the endpoints, by family

    def missing(self) -> str:
        return ""

    @contextmanager
    def spanning(self, hosts: Hosts, family: int) -> Iterator[Pair]:
        for number, host in enumerate(hosts, 1):
            self._set_up(host, number, hosts[2 - number])
        client, server = (
            Party(netns_path(host, "end"), parse_address(address))
            for host, address in zip(hosts, self.addresses[family], strict=True)
        )
        yield Pair(client, server, host_netns(hosts[-1]))

    @abstractmethod
    def _set_up(self, host: LabHost, number: int, other: LabHost) -> None:
        """One of them."""


class KernelRouted(_OfKernel):
    """Containers behind a veth of their host, which routes."""

    name = "kernel-routed"
    addresses = {4: ("10.215.1.2", "10.215.2.2"), 6: ("fd00:215:1::2", "fd00:215:2::2")}

    def _set_up(self, host: LabHost, number: int, other: LabHost) -> None:
        make_netns(host, "end")
        four, six, theirs = f"10.215.{number}", f"fd00:215:{number}:", 3 - number
        _ip(
            host,
            "link add end0 type veth peer name eth0 netns end",
            "link set end0 up",
            f"addr add {four}.1/24 dev end0",
            f"addr add {six}:1/64 dev end0 nodad",
            f"route add 10.215.{theirs}.0/24 via {other.address4}",
            f"route add fd00:215:{theirs}::/64 via {other.address6}",
            "-n end link set eth0 up",
            f"-n end addr add {four}.2/24 dev eth0",
            f"-n end addr add {six}:2/64 dev eth0 nodad",
            f"-n end route add default via {four}.1",
            f"-n end route add default via {six}:1",
        )
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


class KernelVxlan(_OfKernel):
    """Containers on a bridge of their host, which has the kernel's VXLAN as a port."""

    name = "kernel-vxlan"
    addresses = {4: ("10.216.0.1", "10.216.0.2"), 6: ("fd00:216::1", "fd00:216::2")}

    def _set_up(self, host: LabHost, number: int, other: LabHost) -> None:
        make_netns(host, "end")
        ends = f"local {host.address4} remote {other.address4}"
        _ip(
            host,
            f"link add bridge0 mtu {MTU[4]} type bridge mcast_snooping 0",
            f"link add vxlan0 mtu {MTU[4]} type vxlan id 7 dstport 4789 {ends} dev eth0",
            f"link add end0 mtu {MTU[4]} type veth peer name eth0 mtu {MTU[4]} netns end",
            "link set vxlan0 master bridge0 up",
            "link set end0 master bridge0 up",
            "link set bridge0 up",
            "-n end link set eth0 up",
            f"-n end addr add 10.216.0.{number}/24 dev eth0",
            f"-n end addr add fd00:216::{number}/64 dev eth0 nodad",
        )


def _ip(host: LabHost, *commands: str) -> None:
    for command in commands:
        host.run("ip", *command.split())
