"""Podman inside a lab host, for tests: rootful, on the CNI networks of that host.

It has no daemon; its state is all inside, and gone with the host. On a machine with mixed cgroup
versions, v2 may have no controllers: so there are no limits of processes here, the monitors stay
where they are, and a pod's containers share no cgroup.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from seaway import names
from seaway.lab.containerd import CNI_VERSION
from seaway.lab.hosts import LabHost
from seaway.lab.images import Image

CONFIG = Path("/etc/containers/containers.conf")
SETTINGS = """\
[containers]
cgroups = "no-conmon"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
"""


class Podman(msgspec.Struct, frozen=True):
    host: LabHost

    def start(self, *loaded: Image) -> None:
        self.host.write(CONFIG, SETTINGS)
        for image in loaded:
            self.call("load", "--quiet", "--input", str(image.archive))

    def call(self, *command: str) -> str:
        """One command of podman's; its output."""
        return self.host.run("podman", *command, timeout=60).strip()

    def run(self, name: str, image: Image, *command: str, options: tuple[str, ...] = ()) -> str:
        """Start a container in the background; its id."""
        what = [image.name, *command]
        return self.call("run", "--detach", "--name", name, *options, *what)

    def make_pod(self, name: str, *options: str) -> str:
        return self.call("pod", "create", "--name", name, "--share-parent=false", *options)

    def clear(self) -> bool:
        """Remove every pod and container; whether there is none left."""
        all_of_it = ("rm", "--all", "--force", "--time", "0")
        ends = [self.host.call("podman", *of, *all_of_it) for of in (("pod",), ())]
        return not any(end.returncode for end in ends)

    def inspect(self, name: str) -> Any:
        (told,) = json.loads(self.call("inspect", "--type", "container", name))
        return told

    def add_network(self, name: str, **fields: Any) -> None:
        """A network of podman's that is ours of the same name."""
        able = {"ips": True, "mac": True, "aliases": True, "portMappings": True}
        plugin = {"type": "seaway", "network": name, "capabilities": able, **fields}
        conf = {"cniVersion": CNI_VERSION, "name": name, "plugins": [plugin]}
        self.host.write(names.CNI_CONF / f"20-{name}.conflist", json.dumps(conf))
