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
OPTIONS = ("clearcpuid=rep_good", "init_on_alloc=0", "mitigations=off")


def boot(kernel: Kernel, command: list[str], within: float) -> str:
    """Run a command as root in a guest; all that it and its kernel print, also if it is ended
    because its time is over. The kernel's log has it as it comes.
    """
    script = f"echo {HERE / 'modprobe'} > /proc/sys/kernel/modprobe && {shlex.join(command)}"
    argv = [
        *(str(VIRTME), "--kimg", str(kernel.image), "--mods", "auto"),
        *("--disable-kvm", "--disable-microvm", "--force-9p", "--show-boot-console"),
        *("--memory", "1G", "--cpus", "1", "--cwd", str(ROOT)),
        *(f"--overlay-rwdir={folder}" for folder in WRITABLE),
        *(f"--kopt={option}" for option in OPTIONS),
        *("--script-sh", script, "--qemu-opts", "-nic", "none", "-cpu", CPU),
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
