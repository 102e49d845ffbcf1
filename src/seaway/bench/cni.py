"""The reference CNI plugins as peers, called as a runtime does: `bridge` and `ptp`, `host-local`.

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
from seaway.bench.systems import Pair, Place, make_netns, netns_path, of_family
from seaway.lab import LabHost
from seaway.model.addresses import Address

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


def add(host: LabHost, name: str, program: Path, family: int) -> Address:
    """Call ADD for the namespace of this name; its first address of the family."""
    variables = environment("ADD", name, f"/run/netns/{name}", program.parent)
    assignments = [f"{key}={value}" for key, value in variables.items()]
    config = json.dumps(configuration(program.name, family))
    answer = host.run("env", "-i", *assignments, str(program), stdin=config)
    return of_family((ip["address"] for ip in json.loads(answer)["ips"]), family)


class ReferencePlugin:
    def __init__(self, plugin: str) -> None:
        self.name = f"cni-{plugin}"
        self.program = FOLDER / plugin

    def missing(self) -> str:
        wanted = (self.program, FOLDER / "host-local")
        lacking = [str(program) for program in wanted if not program.exists()]
        return f"{', '.join(lacking)} (containernetworking-plugins)" if lacking else ""

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
        make_netns(host, "client", "server")
        client, server = (
            Place(netns_path(host, name), add(host, name, self.program, family))
            for name in ("client", "server")
        )
        yield Pair(client, server)

    def attaching(self, host: LabHost) -> AbstractContextManager[Caller]:
        return calling(host, self.program, configuration(self.program.name))
