"""Other masters of a lab host: each run there as its package does, with state of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.flow import PORT
from tests.flows import Flow, assert_unharmed

from seaway.bench import docker
from seaway.lab import LabHost

INTERNET = ("203.0.113.1", "2001:db8:ffff::1")
MARK = "--comment seaway"
_FLOW = str(Path(__file__).with_name("flow.py"))
_UDEVD = "/lib/systemd/systemd-udevd"


def refuse_unasked(host: LabHost) -> None:
    """As ufw leaves a host: nobody gets in or through but by answers, and by ICMP."""
    for program, icmp in (("iptables-nft", "icmp"), ("ip6tables-nft", "icmpv6")):
        for base in ("FORWARD", "INPUT"):
            host.run(program, "-P", base, "DROP")
        answers = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
        for match in (("-i", "lo"), answers, ("-p", icmp)):
            host.run(program, "-A", "INPUT", *match, "-j", "ACCEPT")


def chain(host: LabHost, program: str, name: str) -> list[str]:
    """The rules of a chain of the filter table; empty where there is none."""
    listed = host.call(program, "-w", "-S", name).stdout.splitlines()
    return [line for line in listed if line.startswith("-A")]


def accepts(host: LabHost, program: str, name: str) -> bool:
    """Whether rules of ours are there."""
    return any(MARK in rule for rule in chain(host, program, name))


@contextmanager
def exchanging(host: LabHost, netns: str, world: LabHost) -> Iterator[None]:
    """Connections that take no harm, in each family: from a container to the world, and from the
    world to a port that the container publishes.
    """
    host.seaway("endpoint", "publish", netns, f"{PORT}:{PORT}")
    inside = ("nsenter", f"--net=/run/netns/{netns}")
    own = (str(host.address4), str(host.address6))
    with ExitStack() as stack:
        for where, how in ((world, ()), (host, inside)):
            stack.enter_context(_ready(where, *how, sys.executable, _FLOW, "serve", "tcp"))
        flows = []
        for where, how, targets in ((host, inside, INTERNET), (world, (), own)):
            for address in targets:
                command = (*how, sys.executable, _FLOW, "tcp", address)
                process = stack.enter_context(_ready(where, *command))
                flows.append(Flow(f"{where.name} to {address}", process))
        yield
        assert_unharmed(flows)


@contextmanager
def _ready(host: LabHost, *command: str) -> Iterator[subprocess.Popen[str]]:
    """One end of a flow, as soon as it is at work; killed afterwards."""
    process = host.popen(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert "ready\n" == process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def start_docker(host: LabHost) -> None:
    host.start(*docker.ENGINE, log=docker.LOG)
    host.wait_for("dockerd", lambda: host.call("docker", "version").returncode == 0, within=60)


def stop_docker(host: LabHost) -> None:
    pid = host.read(Path("/run/docker.pid")).strip()
    host.run("kill", pid)
    host.wait_for("its end", lambda: host.call("test", "-d", f"/proc/{pid}").returncode != 0)


def start_firewalld(host: LabHost) -> None:
    host.run("mkdir", "-p", "/run/dbus")
    host.run("dbus-daemon", "--system", "--fork", "--nopidfile")
    host.start("firewalld", "--nofork", log=Path("/run/firewalld.log"))
    host.wait_for("firewalld", lambda: host.call("firewall-cmd", "--state").returncode == 0)


def start_udevd(host: LabHost) -> None:
    """It is told of the machine's devices too: /dev and /sys are not its to change."""
    keep_off = "mount -o remount,bind,ro /dev; mount -o remount,bind,ro /sys"
    log = Path("/run/udevd.log")
    shell = ("sh", "-c", f"{keep_off}; exec {_UDEVD} --debug")
    host.start("unshare", "--mount", *shell, log=log)
    host.wait_for("udevd", lambda: host.call("test", "-S", "/run/udev/control").returncode == 0)
