"""The reference CNI plugins as peers, called as a runtime does: `bridge` and `ptp`, `host-local`;
and `portmap` in a chain behind `bridge`.

Their configuration is the one that costs them least: one family alone, IPv4 where an ADD is timed
(with IPv6 they wait for duplicate address detection), and no masquerading (it would run iptables
several times an ADD).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from seaway.bench.plugins import Caller, calling
from seaway.bench.ports import PORTS
from seaway.bench.systems import (
    Hosts,
    Pair,
    Party,
    host_address,
    host_netns,
    make_netns,
    netns_path,
    of_family,
)
from seaway.lab import LabHost

SUBNETS = {4: ("10.210.0.0/16", "0.0.0.0/0"), 6: ("fd00:210::/64", "::/0")}
FOLDER = Path("/usr/lib/cni")  # of Debian's containernetworking-plugins


def configuration(plugin: str, family: int = 4) -> dict[str, Any]:
    subnet, everything = SUBNETS[family]
    options = {"bridge": {"bridge": "cni0", "isGateway": True}, "ptp": {}}[plugin]
    return {
        "cniVersion": "1.0.0",
        "name": f"bench-{plugin}",
        "type": plugin,
        **options,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": everything}],
        },
    }


def environment(command: str, container: str, netns: str, folder: Path) -> dict[str, str]:
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(folder),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }


def add(host: LabHost, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Call ADD for the namespace of this name; the result."""
    variables = environment("ADD", name, f"/run/netns/{name}", FOLDER)
    assignments = [f"{key}={value}" for key, value in variables.items()]
    program = str(FOLDER / config["type"])
    answer = host.run("env", "-i", *assignments, program, stdin=json.dumps(config))
    result: dict[str, Any] = json.loads(answer)
    return result


def lacking(*plugins: str) -> str:
    """Those that this machine does not have, with the package that has them."""
    paths = [str(FOLDER / name) for name in plugins if not (FOLDER / name).exists()]
    return f"{', '.join(paths)} (containernetworking-plugins)" if paths else ""


class ReferencePlugin:
    def __init__(self, plugin: str) -> None:
        self.name = f"cni-{plugin}"
        self.program = FOLDER / plugin

    def missing(self) -> str:
        return lacking(self.program.name, "host-local")

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
        make_netns(host, "client", "server")
        client, server = (self._place(host, name, family) for name in ("client", "server"))
        yield Pair(client, server, host_netns(host))

    def _place(self, host: LabHost, name: str, family: int) -> Party:
        given = add(host, name, configuration(self.program.name, family))["ips"]
        return Party(netns_path(host, name), of_family((ip["address"] for ip in given), family))

    def attaching(self, host: LabHost) -> AbstractContextManager[Caller]:
        return calling(host, self.program, configuration(self.program.name))


class Portmap:
    """`bridge`, and `portmap` behind it: it publishes ports by rules of iptables."""

    name = "cni-portmap"
    hosts = 1

    def missing(self) -> str:
        return lacking("bridge", "host-local", "portmap")

    @contextmanager
    def publishing(self, hosts: Hosts, family: int) -> Iterator[Party]:
        (host,) = hosts
        make_netns(host, "server")
        first = configuration("bridge", family)
        add(host, "server", chained(first, add(host, "server", first)))
        yield Party(netns_path(host, "server"), host_address(host, family))


def chained(first: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What a runtime gives to `portmap`, of the same list of plugins."""
    mappings = [
        {"hostPort": port.number, "containerPort": port.number, "protocol": port.protocol}
        for port in PORTS
    ]
    return {
        "cniVersion": first["cniVersion"],
        "name": first["name"],
        "type": "portmap",
        "capabilities": {"portMappings": True},
        "runtimeConfig": {"portMappings": mappings},
        "prevResult": result,
    }
