"""Container images without a registry: made of Debian's packages, as archives to import.

An image is made once into a folder of the caller's and found there ever after. Its archive has
the form of `docker save`, which containerd, Docker and Podman all take.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
import tempfile
from pathlib import Path

import msgspec

from seaway.errors import HostUnfit

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PYTHON_PACKAGES = "python3-minimal,libpython3-stdlib,dash"
UNREAD = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
SOURCES = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)|$(ORIGIN)|$(CODENAME)"
SUITE = "bookworm"


class Image(msgspec.Struct, frozen=True):
    name: str
    archive: Path


def busybox(folder: Path) -> Image:
    """A shell, ping, wget, nc and httpd in one static program."""
    image = Image("localhost/seaway/busybox:1", folder / "busybox.tar")
    if not image.archive.exists():
        _write(image, _busybox_layer())
    return image


def pause(folder: Path) -> Image:
    """What keeps a pod's namespaces: it waits."""
    image = Image("localhost/seaway/pause:1", folder / "pause.tar")
    if not image.archive.exists():
        _write(image, _busybox_layer(), "/bin/sleep", "infinity")
    return image


def python(folder: Path) -> Image:
    """Debian's Python and its standard library."""
    image = Image("localhost/seaway/python:1", folder / "python.tar")
    if not image.archive.exists():
        _write(image, _python_layer())
    return image


def _busybox_layer() -> bytes:
    program = Path("/bin/busybox")
    if not program.exists():
        raise HostUnfit("/bin/busybox is missing", "apt-get install busybox-static")
    applets = subprocess.check_output([str(program), "--list"], text=True).split()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "www"):
            _add(tar, folder, kind=tarfile.DIRTYPE)
        _add(tar, "etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        _add(tar, "etc/group", b"root:x:0:\n")
        _add(tar, "bin/busybox", program.read_bytes())
        for applet in applets:
            if applet != "busybox":
                _add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")
    return layer.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    target: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size, entry.mode = kind, target, len(content), 0o755
    tar.addfile(entry, io.BytesIO(content))


def _python_layer() -> bytes:
    """Unpacked only: no maintainer script runs, and the machine's own root is not touched."""
    with tempfile.TemporaryDirectory(prefix="seaway-image-") as folder:
        layer = Path(folder, "layer.tar")
        options = [f"--dpkgopt=path-exclude={path}" for path in UNREAD]
        what = ["--variant=extract", f"--include={PYTHON_PACKAGES}", *options]
        done = subprocess.run(
            ["mmdebstrap", "--quiet", "--mode=root", *what, SUITE, str(layer), "-"],
            input=_debian_sources(),
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            raise HostUnfit(f"mmdebstrap could not make an image: {done.stderr.strip()[-500:]}")
        return layer.read_bytes()


def _debian_sources() -> str:
    """Debian's own archives as this machine's apt knows them, so that mirrors are honoured."""
    if not (sources := _known_sources()):
        subprocess.run(["apt-get", "-qq", "update"], check=True, stdin=subprocess.DEVNULL)
        sources = _known_sources()
    if not sources:
        raise HostUnfit(f"apt knows no archive of Debian {SUITE}", "see /etc/apt/sources.list")
    return "\n".join(sources) + "\n"


def _known_sources() -> list[str]:
    command = ["apt-get", "indextargets", "--format", SOURCES, "Created-By: Packages"]
    rows = [row.split("|") for row in subprocess.check_output(command, text=True).splitlines()]
    return sorted({s for s, origin, code in rows if origin == "Debian" and code.startswith(SUITE)})


def _write(image: Image, layer: bytes, *command: str) -> None:
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": list(command)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    text = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [image.name], "Layers": ["layer.tar"]}]
    image.archive.parent.mkdir(parents=True, exist_ok=True)
    half = image.archive.with_suffix(f".{os.getpid()}")
    with tarfile.open(half, mode="w") as tar:
        _add(tar, config_name, text)
        _add(tar, "layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    half.replace(image.archive)  # so that no half an image is ever found
