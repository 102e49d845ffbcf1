"""Docker's default bridge as a peer: an engine inside a lab host, its containers on `docker0`."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seaway.bench.ports import PUBLISH
from seaway.bench.systems import Hosts, Pair, Party, host_address, host_netns, of_family
from seaway.errors import SystemFailed
from seaway.lab import LabHost

PROGRAMS = ("dockerd", "docker", "containerd", "runc", "busybox")
LOG = Path("/run/dockerd.log")
OVERLAY, SWARM = "overlay", "10.217.0.0/24"
IMAGE, ARCHIVE = "seaway-bench", "/run/image.tar"
IDLE = ("/bin/busybox", "sleep", "1000000")
ENGINE = (
    "dockerd",
    "--bip=10.211.0.1/24",
    "--storage-driver=vfs",
    "--default-runtime=runc",
    "--containerd=",
)
MORE = {4: (), 6: ("--ipv6", "--fixed-cidr-v6=fd00:211::/64")}
NAT = {4: (), 6: ("--experimental", "--ip6tables")}  # without it, ports of IPv6 are not published


class DockerBridge:
    name = "docker-bridge"

    def missing(self) -> str:
        return lacking()

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
        start(host, family)
        client, server = (container(host, name, family) for name in ("client", "server"))
        yield Pair(client, server, host_netns(host))


class DockerPublished:
    """A container with published ports. `options`: how the engine is to publish them."""

    hosts = 1

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self.options = options

    def missing(self) -> str:
        return lacking()

    @contextmanager
    def publishing(self, hosts: Hosts, family: int) -> Iterator[Party]:
        (host,) = hosts
        start(host, family, *NAT[family], *self.options)
        server = container(host, "server", family, *PUBLISH)
        yield server._replace(address=host_address(host, family))


class SwarmOverlay:
    """Two engines, each on a host, that are a swarm; its overlay knows no IPv6."""

    name = "swarm-overlay"
    hosts = 2

    def missing(self) -> str:
        return lacking()

    @contextmanager
    def spanning(self, hosts: Hosts, family: int) -> Iterator[Pair]:
        swarm(hosts, family)
        manager, worker = hosts
        how = ("--driver=overlay", "--attachable", f"--subnet={SWARM}", OVERLAY)
        manager.run("docker", "network", "create", *how)
        client, server = (
            container(host, name, family, network=OVERLAY)
            for host, name in zip(hosts, ("client", "server"), strict=True)
        )
        pair = Pair(client, server, host_netns(worker))
        manager.wait_for("the overlay", pair.speaks, within=60)
        yield pair


def swarm(hosts: Hosts, family: int) -> None:
    """An engine on each of two; the first is the manager."""
    if family != 4:
        raise SystemFailed("Swarm's overlay knows no IPv6")
    for host in hosts:
        start(host, family)
    manager, worker = hosts
    manager.run("docker", "swarm", "init", "--advertise-addr", str(manager.address4))
    token = manager.run("docker", "swarm", "join-token", "--quiet", "worker").strip()
    worker.run("docker", "swarm", "join", "--token", token, f"{manager.address4}:2377")


def lacking() -> str:
    """What this machine does not have, with the packages that have it."""
    programs = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(programs)} (docker.io, busybox-static)" if programs else ""


def start(host: LabHost, family: int, *options: str) -> None:
    """An engine, with an image to make containers of."""
    host.start(*ENGINE, *MORE[family], *options, log=LOG)
    host.wait_for("dockerd", lambda: host.call("docker", "version").returncode == 0, within=60)
    Path(f"/proc/{host.pid}/root{ARCHIVE}").write_bytes(image())
    host.run("docker", "import", ARCHIVE, IMAGE)


def image() -> bytes:
    """A root file system with nothing but busybox."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(str(shutil.which("busybox")), "bin/busybox")
    return archive.getvalue()


def container(
    host: LabHost, name: str, family: int, *options: str, network: str = "bridge"
) -> Party:
    how = ("--detach", f"--network={network}", f"--name={name}", *options)
    host.run("docker", "run", *how, IMAGE, *IDLE)
    form = (
        f"{{{{with .NetworkSettings.Networks.{network}}}}}"
        "{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}"
    )
    addresses = host.run("docker", "inspect", f"--format={form}", name).split()
    return Party(container_netns(host, name), of_family(addresses, family))


def container_netns(host: LabHost, name: str) -> str:
    pid = host.run("docker", "inspect", "--format={{.State.Pid}}", name).strip()
    return f"/proc/{host.pid}/root/proc/{pid}/ns/net"
