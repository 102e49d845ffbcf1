"""What the figures were measured on."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
from pathlib import Path

from seaway.bench.results import Machine

VERSIONS = {
    "seaway": ("seaway", "--version"),
    "sockperf": ("sockperf", "--version"),
    "iperf3": ("iperf3", "--version"),
    "dockerd": ("dockerd", "--version"),
    "runc": ("runc", "--version"),
    "dnsperf": ("dpkg-query", "-Wf", "${Version}", "dnsperf"),
    "dnsmasq": ("dnsmasq", "--version"),
    "unbound": ("unbound", "-V"),
    "cni-plugins": ("dpkg-query", "-Wf", "${Version}", "containernetworking-plugins"),
}


def measured_cpu() -> int:
    """The last CPU: interrupts and other people's processes prefer the first."""
    return max(os.sched_getaffinity(0))


def describe(cpu: int, fastest_spin: float) -> Machine:
    return Machine(
        kernel=platform.release(),
        processor=_processor(),
        cpus=os.cpu_count() or 0,
        pinned_to=cpu,
        load=os.getloadavg()[0],
        python=platform.python_version(),
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        spin_ms=round(fastest_spin * 1000, 3),
        versions={name: found for name, argv in VERSIONS.items() if (found := _version(argv))},
    )


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _version(argv: tuple[str, ...]) -> str:
    """The first thing in a program's answer that looks like a version; empty if it is not here."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return ""
    match = re.search(r"\d+\.\d[\w.+~-]*", done.stdout + done.stderr)
    return match[0].rstrip(".") if match and not done.returncode else ""
