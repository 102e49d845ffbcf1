"""Engines of this host that would not find a network of ours, as they are configured. Only read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from seaway.model.reports import Finding

_PODMAN: Final = "usr/bin/podman"
_NETAVARK: Final = ("usr/lib/podman/netavark", "usr/libexec/podman/netavark")
_CHOSEN: Final = "var/lib/containers/storage/defaultNetworkBackend"  # what Podman 4 chose itself
# The last that says something counts (containers.conf(5)).
_CONFIGURED: Final = ("usr/share/containers/containers.conf", "etc/containers/containers.conf")
_PARTS: Final = ("usr/share/containers/containers.conf.d", "etc/containers/containers.conf.d")


def findings(root: Path = Path("/")) -> list[Finding]:
    if not (root / _PODMAN).exists():
        return []
    backend, why = _backend(root)
    if backend == "cni":
        return [_finding("ok", f"Podman uses CNI: {why}", "")]
    advice = (
        'with no container there: [network] network_backend = "cni" in '
        "/etc/containers/containers.conf (Podman 4; docs/cni.md)"
    )
    return [
        _finding("warning", f"Podman uses netavark, and finds no network of ours: {why}", advice)
    ]


def _finding(level: str, found: str, advice: str) -> Finding:
    return Finding(check="podman", level=level, found=found, advice=advice)


def _backend(root: Path) -> tuple[str, str]:
    """Which one, and where that is said."""
    parts = [path for folder in _PARTS for path in sorted((root / folder).glob("*.conf"))]
    for path in reversed([*(root / name for name in _CONFIGURED), *parts]):
        if named := _named(path):
            return named, f"/{path.relative_to(root)} says so"
    chosen = root / _CHOSEN
    if chosen.exists():
        return chosen.read_text().strip(), f"it chose so itself (/{_CHOSEN})"
    if any((root / path).exists() for path in _NETAVARK):
        return "netavark", "it is installed, and no file says otherwise"
    return "cni", "netavark is not installed"


def _named(path: Path) -> str:
    try:
        return str(tomllib.loads(path.read_text()).get("network", {}).get("network_backend", ""))
    except (OSError, ValueError):  # Podman tells what is wrong with it
        return ""
