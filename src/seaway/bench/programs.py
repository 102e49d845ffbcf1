"""`programs`: what our own BPF programs cost a packet, without the kernel around them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from seaway.bench.figures import row_of
from seaway.bench.machine import describe, measured_cpu
from seaway.bench.options import Options
from seaway.bench.results import Result, Row
from seaway.bench.rounds import Ledger
from seaway.bench.runner import Runner, ask
from seaway.bench.stage import Stage
from seaway.bench.statistics import best_quartile
from seaway.bench.traffic import pin
from seaway.bench.trials import PREPARATION, TRIALS
from seaway.lab import LabHost

CASE = "programs"


class Programs:
    """What runs the trials, on a host of its own."""

    name = "seaway"

    def missing(self) -> str:
        return ""

    @contextmanager
    def running(self, host: LabHost, cpu: int) -> Iterator[Runner]:
        host.run("ip", "-batch", "-", stdin="\n".join(PREPARATION))
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        command = pin(cpu, sys.executable, "-m", "seaway.bench.trials")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with host.popen(*command, **pipes) as runner:
            try:
                yield runner
            finally:
                runner.kill()


def run(options: Options) -> Result:
    ledger, stage = Ledger[float](measured_cpu()), Stage(CASE, options)
    names = [name for name in TRIALS if options.wants_metric(name)]
    with stage.set(
        [Programs()], lambda system, hosts: system.running(hosts[0], ledger.cpu)
    ) as running:
        runner = running[Programs.name]
        for sweep in range(options.sweeps):
            stage.tell(f"round {sweep + 1}")
            for name in names:
                if ledger.is_short(name, options.rounds):
                    ledger.measure(name, partial(ask, runner, name))
    rows = tuple(_row(name, ledger) for name in names)
    return Result(case=CASE, machine=describe(ledger.cpu, ledger.fastest), rows=rows, ratios={})


def _row(name: str, ledger: Ledger[float]) -> Row:
    return row_of(
        ledger,
        name,
        best_quartile("lower"),
        system=TRIALS[name].program,
        metric=name,
        unit="ns",
    )
