"""What of the machine itself a test could harm: read before and after, it must be equal.

Counters and remaining lifetimes are left out, and the labs of other runs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from seaway.lab import cgroups

PASSING = {"valid_life_time", "preferred_life_time", "expires", "used", "age", "cache"}
LISTS = {
    "links": "ip -j -d link show",
    "addresses": "ip -j addr show",
    "neighbour proxies": "ip -j neigh show proxy",
    "rules": "ip -j rule show",
    "rules6": "ip -j -6 rule show",
    "routes": "ip -j route show table all",
    "routes6": "ip -j -6 route show table all",
}
SYSCTLS = ("net/ipv4", "net/ipv4/conf/all", "net/ipv4/conf/default", "net/core", "net/bridge")
SYSCTLS6 = ("net/ipv6", "net/ipv6/conf/all", "net/ipv6/conf/default")


def snapshot() -> dict[str, object]:
    state: dict[str, object] = {name: _json(command) for name, command in LISTS.items()}
    state["nft"] = _text("nft --stateless list ruleset")
    state["iptables"] = [_iptables(family) for family in ("ip", "ip6")]
    state["sysctls"] = {name: _values(name) for name in (*SYSCTLS, *SYSCTLS6)}
    state["cgroups"] = _cgroups()
    state["pins"] = sorted(p.name for p in Path("/sys/fs/bpf").glob("*") if p.suffix != ".debug")
    state["folders"] = [str(path) for path in OURS if path.exists()]
    return state


OURS = [Path(text) for text in ("/run/seaway", "/var/lib/seaway", "/etc/seaway", "/opt/cni/bin")]


def _json(command: str) -> object:
    return _lasting(json.loads(_text(command) or "[]"))


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in PASSING}
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def _text(command: str) -> str:
    done = subprocess.run(command.split(), check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def _iptables(family: str) -> str:
    """The legacy tables; asking for them by their own program would load the kernel's modules."""
    loaded = Path(f"/proc/net/{family}_tables_names")
    if not (loaded.exists() and loaded.read_text()):
        return ""
    lines = _text(f"{family}tables-legacy-save").splitlines()
    return "\n".join(line.split("[")[0] for line in lines if not line.startswith("#"))


def _values(folder: str) -> dict[str, str]:
    """The settings of one folder; those that the kernel keeps private or recomputes are left."""
    values = {}
    files = Path("/proc/sys", folder).iterdir() if Path("/proc/sys", folder).exists() else ()
    for file in files:
        if file.is_file() and file.stat().st_mode & 0o444 and file.name not in PASSING:
            try:
                values[file.name] = file.read_text()
            except OSError:
                continue
    return values


def _cgroups() -> list[str]:
    root = cgroups.root()
    folders = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()]
    return sorted(name for name in folders if not name.startswith(cgroups.PREFIX))
