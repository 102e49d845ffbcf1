"""Hosts in a ring that are one cluster, whose records lie in an etcd on the first of them.

    ┌── host2 ──┬── host3 ──┐     The wire passes nothing else. host2 and the last reach etcd
host1: etcd                 │     themselves, the others through their neighbours. Between two
    └── host5 ──┴── host4 ──┘     hosts of an odd ring one way is always the shorter.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.beating import CONTAINER
from tests.course import Link
from tests.evidence import Evidence
from tests.waiting import wait

import placed
from seaway import names
from seaway.bpf import abi
from seaway.daemons import running
from seaway.errors import SeawayError
from seaway.lab import Lab, LabHost

WAYS = ("underlays", "remotes", "paths", "members", "link_numbers")
GUEST = "guest"  # a network namespace of each host, for a container that comes and goes
SETTLED = 60.0  # seconds: a link that fell often is believed again late
KEEP_ADDRESSES = "net.ipv6.conf.eth0.keep_addr_on_down=1"  # as who manages a device does
# What a host keeps besides records and its identity.
KEPT = (
    names.PIN_FOLDER,
    names.LINK_STATE_FILE,
    names.PATHS_FILE,
    names.ROUTED_FILE,
)
PROCESSES = {
    "agent": names.PID_FILE,
    "routed": names.ROUTED_PID_FILE,
    "etcd": names.ETCD_PID_FILE,
}


@dataclass
class Ring:
    lab: Lab
    addresses: dict[str, list[str]] = field(default_factory=dict)  # of each host's container

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        return self.lab.hosts

    @property
    def links(self) -> list[Link]:
        hosts = [host.name for host in self.hosts]
        return [frozenset(pair) for pair in pairwise([*hosts, hosts[0]])]

    def pid(self, host: LabHost, what: str) -> int:
        """As the host numbers it; 0: it does not run."""
        return running(placed.inside(host, PROCESSES[what])) or 0

    def signal(self, host: LabHost, what: str, signal: str) -> bool:
        """Whether there was one that could get it."""
        pid = self.pid(host, what)
        return bool(pid) and host.call("kill", f"-{signal}", str(pid)).returncode == 0

    def kill(self, host: LabHost, *whats: str) -> None:
        """Without warning, the agent first: nobody starts the others again."""
        for what in whats:
            self.signal(host, what, "KILL")
        for what in whats:
            assert wait(lambda what=what: not self.pid(host, what)), (host.name, what)

    def device(self, host: LabHost, how: str) -> None:
        """Of all its links, `up` or `down`."""
        host.run("ip", "link", "set", "eth0", how)
        if how == "up":  # who manages a device does that too
            own = f"fe80::{host.address4.packed[-1]}/64"
            host.run("ip", "addr", "replace", own, "dev", "eth0", "nodad")

    def vias(self, host: LabHost) -> dict[str, str]:
        """By each other host: through whom it is reached."""
        return {r.host.name: r.via for r in placed.client(host).hosts() if not r.here}

    def attach(self, host: LabHost) -> None:
        """A container, and where it is."""
        host.run("ip", "netns", "add", CONTAINER)
        told = json.loads(host.seaway("attach", CONTAINER, "--name", CONTAINER, "-o", "json"))
        self.addresses[host.name] = [str(ip_interface(a).ip) for a in told["addresses"]]

    def settle(self) -> None:
        """All agents run, have their records, and see both neighbours."""
        for host in self.hosts:
            if not self.pid(host, "agent"):
                placed.start(host)
        for host in self.hosts:
            assert wait(lambda host=host: self.is_settled(host), SETTLED), self.trouble(host)

    def is_settled(self, host: LabHost) -> bool:
        return not self.trouble(host)

    def trouble(self, host: LabHost) -> dict[str, Any]:
        """What is not as it is in a cluster that is whole."""
        try:
            status, routed = placed.client(host).status(), placed.client(host).links()
            reports = placed.client(host).hosts()
        except SeawayError as error:
            said = host.call("tail", "-n", "30", str(names.LOG_FILE)).stdout
            return {host.name: error.message, "log": said}
        met = {link.host for link in routed.links if link.up and link.session}
        neighbours = {name for link in self.links if host.name in link for name in link}
        found = {
            "not ready": not status.ready,
            "store": status.store_lost,
            "unsent": status.unsent,
            "failures": status.failures,
            "not met": neighbours - {host.name} - met,
            "unheard": len(self.hosts) - routed.hosts,
            "ways": [r.host.name for r in reports if not r.here and r.via not in neighbours],
            "draining": [r.host.name for r in reports if r.host.draining],
        }
        return {what: value for what, value in found.items() if value}

    def begin_anew(self, host: LabHost) -> None:
        """Of all that its processes made and kept only the records are left, and who it is."""
        self.kill(host, "agent", "routed")
        host.run("rm", "-rf", *map(str, KEPT))
        host.run("nft", "delete", "table", "inet", names.NFT_TABLE)
        for link in Evidence(host).links():
            if link.startswith(names.LINK_PREFIX):
                host.run("ip", "link", "del", link)
        placed.start(host)

    def state(self, host: LabHost) -> dict[str, Any]:
        """All that an agent and `routed` make on a host, and what the host knows of the cluster."""
        evidence, client = Evidence(host), placed.client(host)
        records = client.backup().records
        return evidence.all() | {
            "ways": {name: evidence.elements(name) for name in WAYS} | _by_device(evidence),
            "records": {
                key: bytes(value).decode()
                for key, value in records.items()
                if not key.startswith("tokens/")
            },
            "hosts": [str(report) for report in client.hosts()],
            "drift": client.status().drift,
        }

    def states(self) -> dict[str, Any]:
        return {host.name: self.state(host) for host in self.hosts}


def _by_device(evidence: Evidence) -> dict[str, Any]:
    """Of what names a device, without the number that this has by chance."""
    devices = evidence.ifindexes()
    hops = {
        key: abi.NextHop.unpack(bytes.fromhex(value))
        for key, value in evidence.elements("next_hops").items()
    }
    tunnels = evidence.elements("tunnels")
    return {
        "next_hops": {
            key: (hop.host, hop.underlay.hex(), hop.flags, devices.get(hop.device))
            for key, hop in hops.items()
        },
        "tunnels": [devices.get(int.from_bytes(bytes.fromhex(k), "little")) for k in tunnels],
    }


def knows(host: LabHost) -> bool:
    """Whether its `routed` tells of paths, and speaks with all whom it sees."""
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(1.0)
            asked.connect(str(placed.inside(host, names.ROUTED_SOCKET)))
            asked.sendall(b'{"ask": "status"}\n')
            told = json.loads(asked.makefile().readline())
    except (OSError, ValueError):
        return False
    links = [link for link in told["links"] if link["up"]]
    return all(link["session"] for link in links)


def made(make_lab: Callable[..., Lab], folder: Path, hosts: int = 5) -> Ring:
    """Joined one after the other around the ring, from both ends."""
    file = folder / "ring"
    ring = [f"host{n}" for n in range(1, hosts + 1)]
    file.write_text("".join(f"{a} {b}\n" for a, b in pairwise([*ring, ring[0]])))
    lab = make_lab(hosts=hosts, topology=str(file))
    first = lab.hosts[0]
    for host in lab.hosts:
        host.run("sysctl", "-qw", KEEP_ADDRESSES)
        host.run("ip", "netns", "add", GUEST)
    first.seaway("init", "--etcd", "own", timeout=90)
    token = json.loads(first.seaway("token", "create", "-o", "json"))["token"]
    for host, at in _around(lab.hosts):
        host.seaway("join", token, str(at.address4), timeout=60)
    found = Ring(lab)
    for host in lab.hosts:
        found.attach(host)
    found.settle()
    return found


def _around(hosts: tuple[LabHost, ...]) -> Iterator[tuple[LabHost, LabHost]]:
    """Who joins, and at whom, which is a neighbour."""
    half = len(hosts) // 2 + 1
    ahead = [(host, at) for at, host in pairwise(hosts[:half])]
    back = [(host, at) for at, host in pairwise([hosts[0], *hosts[: half - 1 : -1]])]
    yield from ahead
    yield from back
