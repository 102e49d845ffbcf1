"""A container runtime that calls the CNI door, and another IPAM plugin for it to call."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.unit.test_intents import Agent, run

from seaway.doors.cni import CniDoor
from seaway.model.facts import Endpoint
from seaway.model.publications import HeldPort
from seaway.model.wire import CniCall

IPAM = """#!/bin/sh
# An IPAM plugin that notes each call and its input, and fails where its folder says so.
here=$(dirname "$0")
cat > "$here/stdin"
echo "$CNI_COMMAND $CNI_CONTAINERID $THEIRS" >> "$here/calls"
test -e "$here/fail-$CNI_COMMAND" && {
    echo "it is broken" >&2
    echo '{"cniVersion": "1.0.0", "code": 123, "msg": "no lease", "details": "ask again"}'
    exit 1
}
test -e "$here/mute-$CNI_COMMAND" && exit 3
test -e "$here/hang-$CNI_COMMAND" && exec tail -f /dev/null
test "$CNI_COMMAND" = ADD && cat "$here/result"
exit 0
"""
RESULT = {
    "cniVersion": "1.0.0",
    "ips": [{"address": "10.208.3.5/24", "gateway": "10.208.3.1"}],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.208.3.9"}],
    "dns": {"nameservers": ["10.208.3.2"]},
}


@dataclass
class Caller:
    """A container runtime: it calls the door as the front would."""

    agent: Agent
    door: CniDoor
    folder: Path

    def netns(self, name: str) -> str:
        path = self.folder / name
        path.touch()
        self.agent.host.namespaces[str(path)] = path.stat().st_ino
        return str(path)

    async def call(self, verb: str, container: str = "c1", **options: Any) -> dict[str, Any]:
        """The answer's JSON; {} for none. `env` and `conf` override what a runtime would pass."""
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": options.get("netns") or self.netns(container),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder / "bin"),
            "THEIRS": "x",
        }
        conf = {"cniVersion": "1.1.0", "name": "net", "type": "seaway"} | options.get("conf", {})
        tried = int(options.get("tried", 0) * 1e9)
        call = CniCall(env=env | options.get("env", {}), stdin=json.dumps(conf), tried=tried)
        answer = await self.door.answer(call)
        told: dict[str, Any] = json.loads(answer.stdout) if answer.stdout else {}
        assert (answer.exit != 0) == ("code" in told)
        self.stderr = answer.stderr
        return told

    def install_ipam(self) -> Path:
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "other").write_text(IPAM)
        (folder / "other").chmod(0o755)
        (folder / "result").write_text(json.dumps(RESULT))
        return folder


POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop"
SSHD = HeldPort("tcp", ip_address("0.0.0.0"), 22, "sshd (process 812)")
NEVER, LATE = 1.0, 4e9  # when a call was kept: before every endpoint, and after
OTHER = {"ipam": {"type": "other"}}
Scenario = Callable[[Caller], Awaitable[None]]


def play(tmp_path: Path, scenario: Scenario) -> None:
    async def whole(agent: Agent) -> None:
        agent.intents.serving = True
        folder = tmp_path / "host"
        folder.mkdir()
        await scenario(Caller(agent, CniDoor(agent.intents, tmp_path / "spool"), folder))

    run(tmp_path, whole)


def endpoints(caller: Caller) -> list[Endpoint]:
    return [report.endpoint for report in caller.agent.intents.endpoints()]


def kept(caller: Caller) -> dict[str, Any]:
    """All that an attachment could leave behind: records and kernel objects."""
    return caller.agent.state() | {"records": endpoints(caller)}


def published(**mapping: Any) -> dict[str, Any]:
    return {"conf": {"runtimeConfig": {"portMappings": [mapping]}}}


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []
