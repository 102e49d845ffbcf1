"""containerd inside a lab host, for tests and the demo: real containers on a CNI network.

`ctr run --cni` calls ADD of the first configuration in /etc/cni/net.d, and never DEL; so the
`remove` here leaves DEL out as well, unless it is asked for.
"""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from seaway import names
from seaway.errors import HostUnfit, NotFound
from seaway.lab.hosts import LabHost
from seaway.lab.images import Image

SOCKET = Path("/run/containerd/containerd.sock")
CONFIG = Path("/etc/containerd/seaway-lab.toml")
LOG = Path("/var/log/containerd.log")
REFERENCE_PLUGINS = Path("/usr/lib/cni")
FRONT = Path(__file__).parents[1] / "cni" / platform.machine() / "seaway"
NETWORK = {"type": "seaway", "network": "default"}
CNI_VERSION = "1.0.0"  # the newest that Debian 12's containerd speaks

SETTINGS = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [{disabled}]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_cgroup = true  # the cgroups v2 of a machine with mixed versions may have no controllers
  restrict_oom_score_adj = true
"""
PODS = "k8s.io"  # containerd's namespace for the pods of its CRI plugin


class Containerd(msgspec.Struct, frozen=True):
    """The engine of one lab host. Its state is all inside, and gone with the host."""

    host: LabHost

    def start(self, pause: Image | None = None) -> None:
        """With an image that pods begin with, its CRI plugin is there as well."""
        install_plugins(self.host)
        disabled = "" if pause else '"io.containerd.grpc.v1.cri"'
        settings = SETTINGS.format(disabled=disabled, pause=pause.name if pause else "")
        self.host.write(CONFIG, settings)
        self.host.start("containerd", "--config", str(CONFIG), log=LOG)
        self.host.wait_for("containerd", lambda: self.host.call("ctr", "version").returncode == 0)
        if pause:
            self.load(pause, PODS)

    def load(self, image: Image, namespace: str = "default") -> None:
        what = ["images", "import", str(image.archive)]
        self.host.run("ctr", "--namespace", namespace, *what, timeout=60)

    def use(self, plugin: Mapping[str, Any] = NETWORK, *, name: str = "seaway") -> None:
        """Let the containers that follow join the network of this plugin configuration."""
        conf = {"cniVersion": CNI_VERSION, "name": name, "plugins": [dict(plugin)]}
        self.host.write(names.CNI_CONF / "10-lab.conflist", json.dumps(conf))

    def run(self, name: str, image: Image, *command: str, options: tuple[str, ...] = ()) -> None:
        """Start a container in the background, on the network in use."""
        self._run(name, image, *command, options=("--cni", *options))

    def run_inside(self, other: str, name: str, image: Image, *command: str) -> None:
        """Start a container in the network namespace of another one, as the parts of a pod are."""
        shared = f"network:/proc/{self.pid(other)}/ns/net"
        self._run(name, image, *command, options=("--with-ns", shared))

    def _run(self, name: str, image: Image, *command: str, options: tuple[str, ...]) -> None:
        # No CPU share: on a machine with mixed cgroup versions, v2 may have no CPU controller.
        how = ["--detach", "--runc-binary", "runc", "--cpu-shares", "0", *options]
        self.host.run("ctr", "run", *how, image.name, name, *command, timeout=60)

    def call(self, name: str, *command: str, timeout: float = 30.0) -> str:
        """Run a command in a container; its output."""
        return self.host.run(*_exec(name, *command), timeout=timeout)

    def succeeds(self, name: str, *command: str) -> bool:
        return self.host.call(*_exec(name, *command)).returncode == 0

    def pid(self, name: str) -> int:
        """The container's first process, as its host numbers it."""
        for line in self.host.run("ctr", "task", "ls").splitlines()[1:]:
            task, pid, status = line.split()[:3]
            if task == name and status == "RUNNING":
                return int(pid)
        raise NotFound(f"no container '{name}' runs on {self.host.name}")

    def addresses(self, name: str, interface: str = "eth0") -> list[str]:
        """The global addresses of the container, IPv4 first."""
        inside = ["nsenter", f"--target={self.pid(name)}", "--net", "ip", "-j", "addr", "show"]
        (link,) = json.loads(self.host.run(*inside, interface))
        return [a["local"] for a in link["addr_info"] if a["scope"] == "global"]

    def remove(self, name: str) -> None:
        """Kill a container and forget it, without a word to the network."""
        self.host.call("ctr", "task", "kill", "--signal", "KILL", name)
        self.host.call("ctr", "task", "delete", "--force", name)
        self.host.run("ctr", "container", "delete", name)


def install_plugins(host: LabHost) -> None:
    """Give a lab host Debian's reference plugins, and our own."""
    host.run(
        "sh", "-c", f"mkdir -p {names.CNI_BIN} && ln -sf {REFERENCE_PLUGINS}/* {names.CNI_BIN}"
    )
    if not FRONT.exists():
        raise HostUnfit(f"the CNI front {FRONT} is not built", "make build")
    host.run("cp", str(FRONT), str(names.CNI_BIN / "seaway"))


def _exec(name: str, *command: str) -> list[str]:
    return ["ctr", "task", "exec", "--exec-id", uuid.uuid4().hex[:12], name, *command]
