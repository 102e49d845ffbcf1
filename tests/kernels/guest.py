"""Runs inside a guest, which is a host of its own: Seaway from `init` to packets, step by step.

    ┌─ red ─┐        ┌────── the guest ──────┐        ┌─ blue ─┐
    │ eth0 ─┼── veth ┼─  agent, BPF, routes ─┼─ veth ──┼─ eth0  │
    └───────┘        └───────────────────────┘        └────────┘

Prints one line of JSON for each step, with what went wrong; the test on the outside reads them.
A step that fails holds back none that does not need it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from seaway import names
from seaway.bpf.objects import PROGRAMS
from seaway.client import Client
from seaway.errors import SeawayError
from seaway.model.facts import Endpoint
from seaway.model.requests import NewEndpoint
from seaway.setup import service

sys.path.append(str(Path(__file__).parents[1]))  # of the tests

from namespaces import namespaces
from talk import exchange, transfer
from wired import wires

MARK = "seaway-guest "
SEAWAY = str(Path(sys.executable).with_name("seaway"))
READY_WITHIN = 120.0  # seconds, of an emulated CPU
HAS_TCX = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)
PING_WITHIN = 5  # seconds
START = time.monotonic()
EXPECTED = (AssertionError, LookupError, OSError, SeawayError, subprocess.TimeoutExpired)

client = Client(timeout=120.0)
attached: dict[str, Endpoint] = {}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if check and done.returncode:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def reaches(netns: str, address: object, *options: str) -> bool:
    inside = ("ip", "netns", "exec", netns) if netns else ()
    ping = (*inside, "ping", "-c1", f"-W{PING_WITHIN}", *options, str(address))
    return subprocess.run(ping, capture_output=True, timeout=60, check=False).returncode == 0


def address(endpoint: Endpoint, kind: type) -> object:
    return next(a.ip for a in endpoint.addresses if isinstance(a.ip, kind))


def agent_becomes_ready() -> None:
    run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    if HAS_TCX:  # else a device gets its links only after it has lived for a while
        names.CONFIG_FILE.parent.mkdir(parents=True)
        names.CONFIG_FILE.write_text('[agent]\nattach = "tcx"\n')
    run(SEAWAY, "init", check=False)  # it may not wait as long as we do
    service.wait_until_ready(client, READY_WITHIN)


def every_program_is_loaded() -> None:
    pinned = {pin.name.rpartition("-")[0] for pin in names.PIN_FOLDER.glob("*/programs/*")}
    assert set(PROGRAMS) == pinned


def endpoints_are_attached() -> None:
    for name in ("red", "blue"):
        run("ip", "netns", "add", name)
        attached[name] = client.attach(
            NewEndpoint(netns=f"/run/netns/{name}", network="default", name=name)
        )


def programs_sit_where_this_kernel_has_hooks() -> None:
    link = names.link_name(attached["red"].id)
    filters = [run("tc", "filter", "show", "dev", link, hook) for hook in ("ingress", "egress")]
    assert ("tcx" if HAS_TCX else "cls_bpf") == client.status().attach
    assert [not HAS_TCX] * 2 == ["bpf" in text for text in filters], filters


def endpoints_reach_each_other() -> None:
    for family in (IPv4Address, IPv6Address):
        assert reaches("red", address(attached["blue"], family)), family
        assert reaches("blue", address(attached["red"], family)), family


def endpoint_and_host_reach_each_other() -> None:
    for host in client.status().addresses:
        assert reaches("red", host), host
        assert reaches("", address(attached["red"], type(host))), host


def forged_source_goes_nowhere() -> None:
    run("ip", "-n", "red", "addr", "add", "10.99.0.1/32", "dev", "lo")
    assert not reaches("red", address(attached["blue"], IPv4Address), "-I", "10.99.0.1")
    drops = {drop.reason: drop.packets for drop in client.status().drops}
    assert drops.get("spoofed_address", 0) > 0, drops


def hosts_carry_each_others_packets() -> None:
    """Three hosts in namespaces of the guest; the first and the last see each other by the second."""
    with namespaces() as make, wires() as wire:
        a, b, c = wire(3)
        ends = [host.add(make(), 1) for host in (a, b, c)]
        a.wire.part(a, c)
        a.reach(c, via=b)
        c.reach(a, via=b)
        for family in (4, 6):
            for end in ends[1:]:
                assert exchange(ends[0], end, family), family
                assert transfer(ends[0], end, family, megabytes=1), family


STEPS: list[Callable[[], None]] = [
    agent_becomes_ready,
    every_program_is_loaded,
    endpoints_are_attached,
    programs_sit_where_this_kernel_has_hooks,
    endpoints_reach_each_other,
    endpoint_and_host_reach_each_other,
    forged_source_goes_nowhere,
    hosts_carry_each_others_packets,
]


def main() -> None:
    for step in STEPS:
        problem = ""
        try:
            step()
        except EXPECTED:
            problem = traceback.format_exc()
        at = round(time.monotonic() - START, 1)
        report = {"step": step.__name__, "problem": problem, "at": at}
        say(MARK + json.dumps(report))
    say(run("tail", "-n", "30", str(names.LOG_FILE), check=False))


if __name__ == "__main__":
    main()
