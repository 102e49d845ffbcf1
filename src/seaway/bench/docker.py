"""Docker's default bridge as a peer: an engine inside a lab host, two containers on `docker0`."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seaway.bench.systems import Pair, Place, of_family
from seaway.lab import LabHost

PROGRAMS = ("dockerd", "docker", "containerd", "runc", "busybox")
LOG = Path("/run/dockerd.log")
IMAGE, ARCHIVE = "seaway-bench", "/run/image.tar"
ENGINE = (
    "dockerd",
    "--bip=10.211.0.1/24",
    "--storage-driver=vfs",
    "--default-runtime=runc",
    "--containerd=",
)
MORE = {4: (), 6: ("--ipv6", "--fixed-cidr-v6=fd00:211::/64")}


class DockerBridge:
    name = "docker-bridge"

    def missing(self) -> str:
        lacking = [program for program in PROGRAMS if shutil.which(program) is None]
        return f"{', '.join(lacking)} (docker.io, busybox-static)" if lacking else ""

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
        host.start(*ENGINE, *MORE[family], log=LOG)
        host.wait_for("dockerd", lambda: host.call("docker", "version").returncode == 0, within=60)
        Path(f"/proc/{host.pid}/root{ARCHIVE}").write_bytes(image())
        host.run("docker", "import", ARCHIVE, IMAGE)
        client, server = (container(host, name, family) for name in ("client", "server"))
        yield Pair(client, server)


def image() -> bytes:
    """A root file system with nothing but busybox."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(str(shutil.which("busybox")), "bin/busybox")
    return archive.getvalue()


def container(host: LabHost, name: str, family: int) -> Place:
    idle = ("/bin/busybox", "sleep", "1000000")
    host.run("docker", "run", "--detach", "--network=bridge", f"--name={name}", IMAGE, *idle)
    form = "{{.State.Pid}} {{.NetworkSettings.IPAddress}} {{.NetworkSettings.GlobalIPv6Address}}"
    pid, *addresses = host.run("docker", "inspect", f"--format={form}", name).split()
    return Place(f"/proc/{host.pid}/root/proc/{pid}/ns/net", of_family(addresses, family))
