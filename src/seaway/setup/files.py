"""The files that Seaway puts on a host, each known for ours by its own content or name.

Nothing of others is changed: a configuration that is there stays, and of the CNI folders only
what names our program is ours.
"""

from __future__ import annotations

import json
import platform
from importlib import resources
from itertools import count
from pathlib import Path

from seaway import config, durable, names
from seaway.errors import HostUnfit

PLUGIN = names.CNI_BIN / "seaway"
CONFLIST = names.CNI_CONF / "10-seaway.conflist"
_TYPE = "seaway"  # of a CNI plugin: the name of its program
# Bandwidth is not offered yet, and asked for all the same: refused in words, not left out silently.
_ASKED_FOR = ("ips", "mac", "ipRanges", "dns", "aliases", "portMappings", "bandwidth")


def put_config(path: Path = names.CONFIG_FILE) -> bool:
    """Write the template where there is no configuration; whether it was written."""
    if path.exists():
        return False
    durable.write(path, config.TEMPLATE.encode(), 0o644)
    return True


def put_plugin(path: Path = PLUGIN) -> bool:
    """The CNI front of this machine's processor; whether it was written."""
    program = resources.files("seaway").joinpath("cni", platform.machine(), "seaway")
    if not program.is_file():
        raise HostUnfit(
            f"there is no CNI program for {platform.machine()} in this installation",
            "build it: make build; or leave CNI out: seaway init --no-cni",
        )
    data = program.read_bytes()
    if path.is_file() and path.read_bytes() == data:
        return False
    durable.write(path, data, 0o755)
    return True


def put_conflist(network: str, path: Path = CONFLIST) -> Path | None:
    """A CNI network for Seaway's `network`, unless there is one of ours; None: there is.

    Runtimes before CNI 1.1 read `cniVersion`, later ones the highest that they know.
    """
    if our_conflists(path.parent):
        return None
    conflist = {
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "seaway",
        "plugins": [
            {"type": _TYPE, "network": network, "capabilities": dict.fromkeys(_ASKED_FOR, True)}
        ],
    }
    durable.write(path, json.dumps(conflist, indent=2).encode() + b"\n", 0o644)
    return path


def set_aside(path: Path = CONFLIST) -> Path | None:
    """Keep a file of somebody's that has our name, where no runtime reads it; None: there is none.

    It is not ours: it may be broken, or be another's.
    """
    if not path.exists() or path in our_conflists(path.parent):
        return None
    numbers = (path.with_name(f"{path.name}.{n}") for n in count(1))
    kept = next(name for name in numbers if not name.exists())
    path.rename(kept)
    return kept


def our_conflists(folder: Path = names.CNI_CONF) -> list[Path]:
    """Configurations whose first program is ours, by whatever name."""
    return [path for path in configurations(folder) if _types(path)[:1] == [_TYPE]]


def other_conflists(folder: Path = names.CNI_CONF) -> list[Path]:
    """What a runtime that takes the first configuration might take instead of ours."""
    return [path for path in configurations(folder) if _types(path)[:1] != [_TYPE]]


def configurations(folder: Path = names.CNI_CONF) -> list[Path]:
    """Every file that runtimes take for one."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix in (".conf", ".conflist", ".json"))


def _types(path: Path) -> list[str]:
    """The programs that a CNI configuration names; none where it cannot be read as one."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    if not isinstance(found, dict):
        return []
    plugins = found.get("plugins", [found])
    if not isinstance(plugins, list):
        return []
    return [str(plugin.get("type")) for plugin in plugins if isinstance(plugin, dict)]
