"""Seaway across hosts: a cluster on lab hosts, as `seaway init` and `seaway join` make it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from seaway.bench.ours import attach
from seaway.bench.spans import MTU
from seaway.bench.systems import Hosts, Pair, Party, host_netns, make_netns, netns_path
from seaway.lab import LabHost, part

NETWORK = "bench"
WIRE = 1500


class SeawayAcross:
    """An endpoint on the first host, and one on the last. `encapsulation`: as of the cluster."""

    hosts = 2

    def __init__(self, name: str, encapsulation: str) -> None:
        self.name = name
        self.encapsulation = encapsulation
        self.mtu = MTU[4] if encapsulation == "always" else WIRE

    def missing(self) -> str:
        return ""

    @contextmanager
    def spanning(self, hosts: Hosts, family: int) -> Iterator[Pair]:
        self._join(hosts)
        ends = (hosts[0], "client"), (hosts[-1], "server")
        client, server = (_attached(host, name, family) for host, name in ends)
        pair = Pair(client, server, host_netns(hosts[-1]))
        self._part(hosts)
        hosts[0].wait_for("a way to the other host", pair.speaks, within=30)
        yield pair

    def _join(self, hosts: Hosts) -> None:
        first, *others = hosts
        first.seaway("init", f"--encapsulation={self.encapsulation}", timeout=60)
        token = json.loads(first.seaway("token", "create", "--output=json"))["token"]
        for other in others:
            other.seaway("join", token, str(first.address4), timeout=60)
        first.seaway("network", "create", NETWORK, f"--mtu={self.mtu}")
        for other in others:
            other.wait_for("network", partial(_knows_network, other))

    def _part(self, hosts: Hosts) -> None:
        """Nothing keeps two hosts from each other."""


class SeawayRelayed(SeawayAcross):
    """The same by a host in the middle: the two ends do not see each other."""

    hosts = 3

    def _part(self, hosts: Hosts) -> None:
        part(hosts[0], hosts[-1])


def _knows_network(host: LabHost) -> bool:
    return NETWORK in host.seaway("network", "ls", "--output=json")


def _attached(host: LabHost, name: str, family: int) -> Party:
    make_netns(host, name)
    return Party(netns_path(host, name), attach(host, name, family, f"--network={NETWORK}"))
