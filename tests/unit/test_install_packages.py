"""scripts/install-packages asks apt for nothing that is there, and replaces no engine.

Its programs are stand-ins: dpkg knows the architecture that it is told, dpkg-query the packages of
a file, and apt-get writes down its call.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
FOR_THE_OTHER = {
    "amd64": ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "linux-libc-dev-arm64-cross"],
    "arm64": ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross", "linux-libc-dev-amd64-cross"],
}
STAND_INS = {
    "dpkg": "echo $ARCHITECTURE",
    "dpkg-query": 'grep -qx "$4" "$INSTALLED" && printf installed',
    "apt-get": 'echo "$@" >> "$CALLED"',
    "id": "echo 1000",  # not root: a missing package is named, and nothing is touched
}


@pytest.fixture
def install(tmp_path):
    """Run the script over a machine that has these packages."""
    called, known = tmp_path / "called", tmp_path / "installed"
    for name, script in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    used = ("sh", "cat", "sed", "tr", "sort", "grep", "dirname")
    for name in used:
        (tmp_path / name).symlink_to(Path("/usr/bin", name))

    def run(installed, *groups, programs=(), architecture="amd64"):
        known.write_text("\n".join(installed) + "\n")
        for program in programs:
            (tmp_path / program).symlink_to("/usr/bin/true")
        env = {
            "PATH": str(tmp_path),
            "INSTALLED": str(known),
            "CALLED": str(called),
            "ARCHITECTURE": architecture,
        }
        script = [SCRIPTS / "install-packages", *groups]
        done = subprocess.run(script, env=env, check=False, capture_output=True, text=True)
        assert not called.exists()
        return done.returncode, done.stderr.rpartition(": ")[2].split()

    return run


def packages(*groups: str) -> list[str]:
    """The first of the alternatives of every line, whatever the architecture."""
    lines = [line for g in groups for line in (SCRIPTS / "packages" / g).read_text().splitlines()]
    return [re.split(r"[|\[]", line)[0].strip() for line in lines if line and line[0] != "#"]


def test_nothing_is_asked_for_where_all_is_there(install):
    groups = sorted(path.name for path in (SCRIPTS / "packages").iterdir())

    assert (0, []) == install(packages(*groups), *groups)


def test_what_is_missing_is_named_and_needs_root(install):
    there = packages("build", "lab", "bench")
    there.remove("clang")
    there.remove("sockperf")

    assert (1, ["clang", "sockperf"]) == install(there, "build", "lab", "bench")


@pytest.mark.parametrize("architecture", FOR_THE_OTHER)
def test_each_architecture_needs_the_compiler_of_the_other_alone(install, architecture):
    foreign = FOR_THE_OTHER[architecture]
    there = set(packages("build")).difference(*FOR_THE_OTHER.values())

    assert (1, foreign) == install(there, "build", architecture=architecture)
    assert (0, []) == install({*there, *foreign}, "build", architecture=architecture)


@pytest.mark.parametrize("engine", ["docker-ce", "moby-engine"])
def test_an_engine_of_somebody_elses_is_used(install, engine):
    there = [p for p in packages("lab", "bench") if p not in ("docker.io", "containerd", "runc")]

    assert (0, []) == install([*there, engine, "containerd.io"], "lab", "bench")


def test_an_engine_that_is_no_package_is_used(install):
    there = [p for p in packages("bench") if p != "docker.io"]

    assert (1, ["docker.io"]) == install(there, "bench")
    assert (0, []) == install(there, "bench", programs=["dockerd"])
