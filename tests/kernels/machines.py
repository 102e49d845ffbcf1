"""Boots a kernel over this machine's own file system, read-only, in an emulator without network.

virtme-ng's guest mounts the root by 9p and keeps what is written to /etc, /opt and /var to itself;
it has no network card at all. What a guest prints comes through its serial line.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

from kernels.debian import Kernel

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VIRTME = Path(sys.executable).with_name("virtme-run")
WRITABLE = ("/etc", "/opt", "/var")
# An emulator has each of these done step by step: strings copied byte by byte, tables of five
# levels walked, pages cleared that will be written, and what guards against the real CPU's faults.
CPU = "max,-erms,-la57,-smap,-smep"
# And what lies at other addresses with each start is translated with each start.
OPTIONS = ("clearcpuid=rep_good", "init_on_alloc=0", "mitigations=off", "norandmaps")
# Of the root as virtme-ng mounts it nothing is kept: what runs is read, and translated, with each
# start. So these are there once more, and what was read of them is kept: nobody changes it.
KEPT = ("/usr", str(ROOT))
KEEP = (
    "mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose kept /mnt",
    *(f"mount --bind /mnt{folder} {folder}" for folder in KEPT),
    f"cd {ROOT}",
)


def boot(kernel: Kernel, command: list[str], within: float) -> str:
    """Run a command as root in a guest; all that it and its kernel print, also if it is ended
    because its time is over. The kernel's log has it as it comes.
    """
    modules = f"echo {HERE / 'modprobe'} > /proc/sys/kernel/modprobe"
    script = " && ".join((*KEEP, modules, shlex.join(command)))
    argv = [
        *(str(VIRTME), "--kimg", str(kernel.image), "--mods", "auto"),
        *("--disable-kvm", "--disable-microvm", "--force-9p", "--show-boot-console"),
        *("--memory", "1G", "--cpus", "1", "--cwd", str(ROOT)),
        *(f"--overlay-rwdir={folder}" for folder in WRITABLE),
        *(f"--kopt={option}" for option in OPTIONS),
        *("--script-sh", script, "--qemu-opts", "-nic", "none", "-cpu", CPU),
        *("-fsdev", "local,id=kept,path=/,security_model=none,readonly=on"),
        *("-device", "virtio-9p-pci,fsdev=kept,mount_tag=kept"),
    ]
    path = f"{VIRTME.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    with (
        kernel.log.open("wb", buffering=0) as log,
        subprocess.Popen(
            argv,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as guest,
    ):
        end = threading.Timer(within, os.killpg, (guest.pid, signal.SIGKILL))
        end.start()
        assert guest.stdout is not None
        for line in guest.stdout:
            log.write(line)
        end.cancel()
    return kernel.log.read_text(errors="replace")
