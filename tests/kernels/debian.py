"""Debian's kernels as files: downloaded with apt, unpacked beside the build, never installed.

The packages come from where this machine's apt gets its own; the backports are another suite of
the same archive. An apt state of our own holds the lists, so the machine's stay as they are.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

KERNELS = Path(__file__).parents[2] / "build" / "kernels"
APT = KERNELS / "apt"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGE = "linux-image-amd64"  # depends on the image of the suite's newest kernel
WITHIN = 300  # seconds


class Kernel(NamedTuple):
    release: str  # as uname -r says
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def log(self) -> Path:
        """What the last guest with this kernel printed."""
        return KERNELS / f"{self.release}.log"


def kernel(suffix: str) -> Kernel:
    """The newest kernel of this suite: "" for the stable one, "-backports" for that."""
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"] + suffix
    known = KERNELS / f"{suite}.release"
    if not known.exists():
        KERNELS.mkdir(parents=True, exist_ok=True)
        known.write_text(_unpack(suite))
    release = known.read_text()
    return Kernel(release, KERNELS / release)


def _unpack(suite: str) -> str:
    """Download the suite's kernel, unpack it, index its modules; its release."""
    options = _options(suite)
    _run("apt-get", *options, "update", "--quiet")
    depends = _run("apt-cache", *options, "depends", "--no-recommends", PACKAGE).splitlines()
    package = next(line.split()[1] for line in depends if "Depends: linux-image-" in line)
    release = package.removeprefix("linux-image-").removesuffix("-unsigned")
    folder, downloads = KERNELS / release, KERNELS / "downloads"
    downloads.mkdir(exist_ok=True)
    _run("apt-get", *options, "download", "--quiet", package, cwd=downloads)
    (archive,) = downloads.glob("*.deb")
    _run("dpkg-deb", "--extract", str(archive), str(folder))
    shutil.rmtree(downloads)
    _run("depmod", "--all", "--basedir", str(folder), release)
    return release


def _options(suite: str) -> list[str]:
    """An apt that knows this suite alone."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (APT / suite / folder).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    sources = APT / suite / "sources.list"
    sources.write_text(f"deb {signed}{_archive()} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": APT / suite / "lists",
        "Dir::Cache": APT / suite / "cache",
        "APT::Sandbox::User": "root",
    }
    return [f"-o{name}={value}" for name, value in settings.items()]


def _archive() -> str:
    """Where this machine's apt gets the stable suite from."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    wanted = ("--format", "$(REPO_URI)", "Created-By: Packages", f"Release: {codename}")
    found = _run("apt-get", "indextargets", *wanted).split()
    if not found:
        raise LookupError(f"apt knows no archive of {codename} here: run apt-get update")
    return found[0]


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=WITHIN, check=False
    )
    if done.returncode:
        raise OSError(f"{argv[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
