"""A container runtime's side of CNI, step by step as libcni does it (spec, section 3).

A list of plugins becomes one configuration for each; DEL goes backwards; the last result is kept
and handed to CHECK and DEL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seaway import names
from seaway.lab import LabHost

Json = dict[str, Any]


class PluginFailed(Exception):
    """With the error that the plugin printed."""

    def __init__(self, plugin: str, told: Json, stderr: str) -> None:
        super().__init__(f"{plugin}: {told}")
        self.code = told["code"]
        self.told = told
        self.stderr = stderr


@dataclass
class Runtime:
    host: LabHost
    network: Json  # a network configuration list
    args: str = ""  # CNI_ARGS
    capabilities: Json = field(default_factory=dict)
    cached: dict[tuple[str, str], Json] = field(default_factory=dict)

    def add(self, container: str, interface: str = "eth0") -> Json:
        result: Json | None = None
        for plugin in self.network["plugins"]:
            extra = {} if result is None else {"prevResult": result}
            result = self._exec("ADD", plugin, container, interface, **extra)
        assert result is not None
        self.cached[container, interface] = result
        return result

    def delete(self, container: str, interface: str = "eth0") -> None:
        result = self.cached.get((container, interface))
        for plugin in reversed(self.network["plugins"]):
            extra = {} if result is None else {"prevResult": result}
            assert {} == self._exec("DEL", plugin, container, interface, **extra)
        self.cached.pop((container, interface), None)

    def check(self, container: str, interface: str = "eth0") -> None:
        for plugin in self.network["plugins"]:
            result = self.cached[container, interface]
            assert {} == self._exec("CHECK", plugin, container, interface, prevResult=result)

    def collect(self, *valid: tuple[str, str]) -> None:
        listed = [{"containerID": c, "ifname": i} for c, i in valid]
        for plugin in self.network["plugins"]:
            assert {} == self._exec("GC", plugin, **{"cni.dev/valid-attachments": listed})

    def status(self) -> None:
        for plugin in self.network["plugins"]:
            assert {} == self._exec("STATUS", plugin)

    def versions(self, plugin: str = "seaway") -> list[str]:
        told = self._call({"CNI_COMMAND": "VERSION"}, plugin, {"cniVersion": "1.0.0"})
        versions: list[str] = told["supportedVersions"]
        return versions

    def _exec(
        self, verb: str, plugin: Json, container: str = "", interface: str = "", **extra: Any
    ) -> Json:
        env = {"CNI_COMMAND": verb, "CNI_PATH": str(names.CNI_BIN), "PATH": "/usr/sbin:/usr/bin"}
        if container:
            netns = f"/run/netns/{container}"
            env |= {"CNI_CONTAINERID": container, "CNI_IFNAME": interface, "CNI_NETNS": netns}
        if self.args:
            env["CNI_ARGS"] = self.args
        config = {k: v for k, v in plugin.items() if k != "capabilities"} | extra
        config |= {k: self.network[k] for k in ("cniVersion", "name")}
        declared = plugin.get("capabilities", {})
        given = {k: v for k, v in self.capabilities.items() if declared.get(k)}
        if given:
            config["runtimeConfig"] = given
        return self._call(env, plugin["type"], config)

    def _call(self, env: Mapping[str, str], plugin: str, config: Json) -> Json:
        assignments = [f"{key}={value}" for key, value in env.items()]
        program = str(names.CNI_BIN / plugin)
        done = self.host.call("env", "-i", *assignments, program, stdin=json.dumps(config))
        told: Json = json.loads(done.stdout) if done.stdout.strip() else {}
        if done.returncode:
            raise PluginFailed(plugin, told, done.stderr)
        return told
