"""`failover`: how long two containers do not hear each other when what carries their packets dies.

              ┌── host2 ──┐
client ── host1           host3 ── server     the wire passes nothing between host1 and host3, nor
              └── host4 ──┘                   between host2 and host4
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from seaway import lab as labs
from seaway import names
from seaway.bench.figures import row_of
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.ours import attach
from seaway.bench.results import Result, Row
from seaway.bench.rounds import Ledger, rotated
from seaway.bench.runner import Runner, ask
from seaway.bench.systems import make_netns, netns_path
from seaway.errors import SystemFailed
from seaway.lab import Lab, LabHost

CASE: Final = "failover"
METRIC: Final = "outage_ms"
PRESETS: Final = {"": "default", "-fast": "fast"}  # of probes
SETTLED: Final = 90.0  # seconds: a link that fell often is believed again late
TRIES: Final = 5
FELT: Final = 100.0  # ms
CONFIG: Final = '[routing]\nprobes = "{}"\n'


@dataclass(frozen=True)
class Ring:
    """Four hosts, and what beats between the first and the third."""

    lab: Lab
    heart: Runner

    def used(self) -> list[LabHost]:
        """The relay by which the client's packets go now, once there are two ways both ways; both
        relays, where flows are shared over them.
        """
        first, _, third, _ = self.lab.hosts
        deadline = time.monotonic() + SETTLED
        while True:
            there, back = _relays(first, third), _relays(third, first)
            if there and back:
                return [self.lab.host(name) for name in there]
            if time.monotonic() > deadline:
                raise SystemFailed("the ring is not whole again", "see: seaway route ls")
            time.sleep(0.2)

    def outage(self, death: str) -> float:
        """Milliseconds. Where the packets went by the other relay after all, another one is tried:
        none is found dead in so short a time. SystemFailed: none of them was felt.
        """
        for number in range(TRIES):
            used = self.used()
            felt = self._outage(death, used[number % len(used)])
            if felt > FELT:
                return felt
        raise SystemFailed(f"{TRIES} times nobody felt a {death} die", "see: seaway route ls")

    def _outage(self, death: str, relay: LabHost) -> float:
        ask(self.heart, "mark")
        DEATHS[death](self.lab, relay, "down")
        try:
            return ask(self.heart, "outage")
        finally:
            DEATHS[death](self.lab, relay, "up")


def _link(lab: Lab, relay: LabHost, how: str) -> None:
    """The wire between client's host and relay carries nothing, and tells nobody."""
    labs.link((lab.hosts[0].name, relay.name), how, name=lab.name)


def _relay(lab: Lab, relay: LabHost, how: str) -> None:
    """Nor do any of the relay's."""
    for host in (lab.hosts[0], lab.hosts[2]):
        labs.link((host.name, relay.name), how, name=lab.name)


def _host(_: Lab, relay: LabHost, how: str) -> None:
    """It is off the wire itself."""
    relay.run("ip", "link", "set", "eth0", how)


DEATHS: Final[Mapping[str, Callable[[Lab, LabHost, str], None]]] = {
    "link": _link,
    "relay": _relay,
    "host": _host,
}
SYSTEMS: Final = tuple(f"{death}{preset}" for preset in PRESETS for death in DEATHS)


def run(systems: list[str], options: Options) -> Result:
    ledger = Ledger[float](measured_cpu())
    for suffix, preset in PRESETS.items():
        deaths = [death for death in DEATHS if f"{death}{suffix}" in systems]
        if deaths:
            options.progress(f"{CASE}: four hosts, {preset} probes")
            with _ring(preset) as ring:
                _measure(ring, suffix, deaths, ledger, options)
    ledger.calibrate()
    rows = tuple(_row(system, ledger) for system in systems)
    return Result(case=CASE, machine=describe(ledger.cpu, ledger.fastest), rows=rows, ratios={})


def _measure(
    ring: Ring, suffix: str, deaths: list[str], ledger: Ledger[float], options: Options
) -> None:
    for sweep in range(options.sweeps):
        due = [d for d in deaths if ledger.is_short(f"{d}{suffix}", options.rounds)]
        for death in rotated(due, sweep):
            options.progress(f"{CASE}: round {sweep + 1}, {death}{suffix}")
            ring.used()
            ledger.measure(f"{death}{suffix}", partial(ring.outage, death))


@contextmanager
def _ring(preset: str) -> Iterator[Ring]:
    with labs.passing("failover", hosts=4) as lab:
        first, second, third, fourth = lab.hosts
        for host in lab.hosts:
            host.write(names.CONFIG_FILE, CONFIG.format(preset))
            host.run("sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1")
        first.seaway("init", timeout=60)
        told = json.loads(first.seaway("token", "create", "-o", "json"))
        for host in (second, third, fourth):
            host.seaway("join", told["token"], str(first.address4), timeout=60)
        addresses = []
        for host in (first, third):
            make_netns(host, "end")
            addresses.append(attach(host, "end", 4))
        for one, other in ((first, third), (second, fourth)):
            labs.link((one.name, other.name), "down", name=lab.name)
        with beating(netns_path(first, "end"), netns_path(third, "end"), addresses[1]) as heart:
            yield Ring(lab, heart)


@contextmanager
def beating(client: str, server: str, address: object) -> Iterator[Runner]:
    """A heart between two network namespaces, of which the server's has this address."""
    command = [sys.executable, "-m", "seaway.bench.heartbeat", client, server, str(address)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as heart:
        try:
            yield heart
        finally:
            heart.kill()


def _relays(host: LabHost, to: LabHost) -> list[str]:
    """By which of them flows go; empty where there are not two of them now."""
    (report,) = json.loads(host.seaway("route", "ls", "--to", to.name, "-o", "json"))
    others = [detour for detour in report["detours"] if len(detour["path"]) > 1]
    if len(report["path"]) < 2 or not (others or report["equal"]):
        return []
    return [report["path"][0], *report["equal"]]


def _row(system: str, ledger: Ledger[float]) -> Row:
    """The worst counts: a promise about failure is one about each."""
    return row_of(ledger, system, max, system=system, metric=METRIC, unit="ms")
