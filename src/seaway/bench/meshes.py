"""Published ports whose server is on another host than the one that is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from seaway.bench import docker
from seaway.bench.across import NETWORK, SeawayAcross
from seaway.bench.ours import attach
from seaway.bench.ports import PORTS
from seaway.bench.systems import Hosts, Party, host_address, make_netns, netns_path
from seaway.lab import LabHost

_SERVICE: Final = "published"
_LABEL: Final = f"app={_SERVICE}"


class SeawayRemote(SeawayAcross):
    """A service that publishes its ports on every host of a cluster; its backend is on the last."""

    @contextmanager
    def publishing(self, hosts: Hosts, family: int) -> Iterator[Party]:
        self._join(hosts)
        first, last = hosts[0], hosts[-1]
        make_netns(last, "server")
        attach(last, "server", family, f"--network={NETWORK}", f"--label={_LABEL}")
        ports = [f"--port={p.protocol}-{p.number}={p.number}/{p.protocol}" for p in PORTS]
        published = [f"--publish={port.mapping}" for port in PORTS]
        how = (f"--network={NETWORK}", f"--selector={_LABEL}", f"--family={family}")
        first.seaway("service", "create", _SERVICE, *how, *ports, *published)
        for host in hosts:
            host.wait_for("a backend", partial(_has_backend, host), within=30)
        yield Party(netns_path(last, "server"), host_address(first, family))


def _has_backend(host: LabHost) -> bool:
    told = json.loads(host.seaway("service", "ls", "--output=json"))
    return any(one["chosen"] for one in told)


class DockerForwarded:
    """What is left without a swarm: the last host publishes the ports of a container, and the first
    one forwards its own ports there, by the kernel alone: DNAT and masquerade.
    """

    name = "docker-forwarded"
    hosts = 2

    def missing(self) -> str:
        nft = "" if shutil.which("nft") else "nft (nftables)"
        return ", ".join(filter(None, (docker.lacking(), nft)))

    @contextmanager
    def publishing(self, hosts: Hosts, family: int) -> Iterator[Party]:
        first, last = hosts
        forwarding = "net.ipv4.ip_forward" if family == 4 else "net.ipv6.conf.all.forwarding"
        first.run("sysctl", "-qw", f"{forwarding}=1")
        first.run("nft", "-f", "-", stdin=_forwarding(str(host_address(last, family)), family))
        with docker.DockerPublished("docker").publishing((last,), family) as server:
            yield server._replace(address=host_address(first, family))


def _forwarding(to: str, family: int) -> str:
    kind = {4: "ip", 6: "ip6"}[family]
    numbers = {
        protocol: ", ".join(str(port.number) for port in PORTS if port.protocol == protocol)
        for protocol in ("tcp", "udp")
    }
    rules = [f"{name} dport {{ {of} }} dnat to {to}" for name, of in numbers.items()]
    return "\n".join(
        (
            f"table {kind} forwarded {{",
            "chain ask { type nat hook prerouting priority dstnat;",
            *rules,
            "}",
            "chain leave { type nat hook postrouting priority srcnat;",
            "ct status dnat masquerade",
            "}",
            "}\n",
        )
    )


class SwarmIngress:
    """Swarm's routing mesh: a service in ingress mode, whose one task is on the last host."""

    name = "swarm-ingress"
    hosts = 2

    def missing(self) -> str:
        ipvs = "" if _has_ipvs() else "IPVS in the kernel (ip_vs), by which Swarm leads to tasks"
        return ", ".join(filter(None, (docker.lacking(), ipvs)))

    @contextmanager
    def publishing(self, hosts: Hosts, family: int) -> Iterator[Party]:
        docker.swarm(hosts, family)
        manager, worker = hosts
        published = [
            f"--publish=published={p.number},target={p.number},protocol={p.protocol},mode=ingress"
            for p in PORTS
        ]
        where = ("--constraint=node.role==worker", "--no-resolve-image", "--detach")
        what = (docker.IMAGE, *docker.IDLE)
        manager.run("docker", "service", "create", f"--name={_SERVICE}", *where, *published, *what)
        worker.wait_for("a task", lambda: bool(_tasks(worker)), within=60)
        (task,) = _tasks(worker)
        yield Party(docker.container_netns(worker, task), host_address(manager, family))


def _tasks(host: LabHost) -> list[str]:
    return host.run("docker", "ps", "--quiet").split()


def _has_ipvs() -> bool:
    """Loaded, or there to be loaded."""
    probe = ("modprobe", "--dry-run", "--quiet", "ip_vs")
    if Path("/proc/net/ip_vs").exists():
        return True
    return bool(shutil.which(probe[0])) and not subprocess.run(probe, check=False).returncode
