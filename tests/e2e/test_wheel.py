"""What is built on one machine runs on another that has no compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

REPOSITORY = Path(__file__).parents[2]
MACHINES = ("x86_64", "aarch64")
ELF_MACHINE = {"x86_64": 62, "aarch64": 183, "bpf": 247}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(
        REPOSITORY / "src" / "seaway",
        source / "src" / "seaway",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", source, source], check=True)
    return ZipFile(next(source.glob("*.whl")))


def test_the_wheel_carries_every_program_for_both_machines(wheel):
    hooks = {path.name.removesuffix(".c") for path in (REPOSITORY / "bpf").glob("*.bpf.c")}
    wanted = {f"seaway/bpf/objects/{m}/{hook}.o" for m in MACHINES for hook in hooks}

    objects = {name for name in wheel.namelist() if name.startswith("seaway/bpf/objects/")}

    assert wanted == objects
    assert {ELF_MACHINE["bpf"]} == {_machine(wheel.read(name)) for name in objects}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_wheel_carries_the_cni_front_for_both_machines(wheel, machine):
    assert ELF_MACHINE[machine] == _machine(wheel.read(f"seaway/cni/{machine}/seaway"))


def test_the_wheel_carries_every_file_that_the_package_reads(wheel):
    """Whatever is not Python must be named in pyproject.toml, which is easily forgotten."""
    source = REPOSITORY / "src"
    files = [path for path in (source / "seaway").rglob("*") if path.is_file()]
    wanted = {str(p.relative_to(source)) for p in files if p.suffix not in (".pyc", ".py")}

    assert set() == wanted - set(wheel.namelist())


def _machine(elf: bytes) -> int:
    """e_machine of an ELF file."""
    assert b"\x7fELF" == elf[:4]
    return int.from_bytes(elf[18:20], "little")
