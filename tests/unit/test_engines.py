"""What doctor says of engines, by the files of a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from seaway.kernel import engines

PODMAN = {"usr/bin/podman": ""}
NETAVARK = {**PODMAN, "usr/lib/podman/netavark": ""}
CNI, OTHER = '[network]\nnetwork_backend = "cni"\n', '[network]\nnetwork_backend = "netavark"\n'


def told(root: Path, there: dict[str, str]) -> list[tuple[str, str]]:
    for name, text in there.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return [(finding.level, finding.found) for finding in engines.findings(root)]


def test_a_host_without_podman_hears_nothing_of_it(tmp_path: Path) -> None:
    assert [] == told(tmp_path, {"etc/containers/containers.conf": OTHER})


@pytest.mark.parametrize(
    ("there", "level", "why"),
    [
        (PODMAN, "ok", "netavark is not installed"),
        (NETAVARK, "warning", "it is installed, and no file says otherwise"),
        ({**NETAVARK, "etc/containers/containers.conf": CNI}, "ok", "/etc/containers/cont"),
        ({**NETAVARK, "etc/containers/containers.conf": "[network\n"}, "warning", "it is inst"),
        (
            {
                **PODMAN,
                "etc/containers/containers.conf": CNI,
                "etc/containers/containers.conf.d/9.conf": OTHER,
            },
            "warning",
            "/etc/containers/containers.conf.d/9.conf says so",
        ),
        (
            {**NETAVARK, "var/lib/containers/storage/defaultNetworkBackend": "cni"},
            "ok",
            "it chose so itself",
        ),
        (
            {**PODMAN, "var/lib/containers/storage/defaultNetworkBackend": "netavark"},
            "warning",
            "it chose so itself",
        ),
    ],
)
def test_podmans_backend_is_told_with_where_it_is_said(
    tmp_path: Path, there: dict[str, str], level: str, why: str
) -> None:
    ((seen, found),) = told(tmp_path, there)
    assert level == seen
    assert why in found
