"""The traffic that is measured: every system's is made by the very same programs, on one CPU."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from seaway.bench.rounds import Ledger, Sample
from seaway.bench.statistics import Better
from seaway.bench.systems import Pair
from seaway.errors import SystemFailed

UDP_PORT, TCP_PORT, STREAM_PORT = 11111, 11112, 11113
LEAD = 2.0  # seconds that sockperf waits before it begins: others are measured meanwhile
WINDOW = 1.3  # seconds that belong to one sockperf client
PULSE = 0.3  # seconds
STREAM = 1  # second
LIMIT = 20.0  # seconds for anything


class Metric(NamedTuple):
    name: str
    unit: str
    better: Better


METRICS = {
    metric.name: metric
    for metric in (
        Metric("udp_rr_p50", "us", "lower"),
        Metric("tcp_rr_p50", "us", "lower"),
        Metric("udp_pps", "packets/s", "higher"),
        Metric("tcp_gbps", "Gbit/s", "higher"),
        Metric("tcp_cps", "connections/s", "higher"),
    )
}


def pin(cpu: int, *command: str) -> list[str]:
    return ["taskset", "--cpu-list", str(cpu), *command]


@contextmanager
def servers(pairs: Mapping[str, Pair], cpu: int) -> Iterator[None]:
    """The servers of all systems; they sleep unless they are asked."""
    commands = {
        UDP_PORT: ("sockperf", "server", f"--port={UDP_PORT}"),
        TCP_PORT: ("sockperf", "server", "--tcp", f"--port={TCP_PORT}"),
        STREAM_PORT: ("iperf3", "--server", f"--port={STREAM_PORT}"),
    }
    with ExitStack() as stack:
        for pair in pairs.values():
            for port, command in commands.items():
                argv = pair.server.argv(*pin(cpu, *command))
                process = subprocess.Popen(
                    argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                stack.callback(_end, process)
                _wait_for_port(process, port)
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Until a socket of this port is in the process's network namespace."""
    deadline = time.monotonic() + LIMIT
    tables = [Path(f"/proc/{process.pid}/net/{name}") for name in ("tcp", "tcp6", "udp", "udp6")]
    while not any(f":{port:04X} " in table.read_text() for table in tables):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemFailed(f"{process.args!r} does not listen on port {port}")
        time.sleep(0.01)


def measure(metric: str, pairs: Mapping[str, Pair], ledger: Ledger[float]) -> None:
    """One round of one metric for each of these systems, in their order."""
    if metric in PING_PONG:
        ping_pongs(metric, pairs, ledger)
        return
    for system, pair in pairs.items():
        ledger.measure((system, metric), _single(metric, pair, ledger.cpu))


def _single(metric: str, pair: Pair, cpu: int) -> Callable[[], float]:
    if metric == "tcp_gbps":
        return lambda: stream(pair, cpu)
    return lambda: pulse({"udp_pps": "udp", "tcp_cps": "tcp"}[metric], pair, cpu)


def stream(pair: Pair, cpu: int) -> float:
    """One TCP stream: Gbit/s in the median tenth of its time."""
    options = ("--json", f"--time={STREAM}", "--interval=0.1", f"--port={STREAM_PORT}")
    command = ("iperf3", *options, "--client", str(pair.server.address))
    report = json.loads(_output(pair.client.argv(*pin(cpu, *command))))
    rates = [float(part["sum"]["bits_per_second"]) for part in report["intervals"]]
    return statistics.median(rates) / 1e9


def pulse(kind: str, pair: Pair, cpu: int) -> float:
    ends = (pair.client.netns, pair.server.netns, str(pair.server.address))
    command = (sys.executable, "-m", "seaway.bench.pulse", kind, *ends, str(PULSE))
    return float(_output(pin(cpu, *command)))


def _output(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise SystemFailed(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


PING_PONG = {
    "udp_rr_p50": (f"--port={UDP_PORT}",),
    "tcp_rr_p50": ("--tcp", f"--port={TCP_PORT}"),
}


def ping_pongs(metric: str, pairs: Mapping[str, Pair], ledger: Ledger[float]) -> None:
    """One sockperf client for each system, so timed that only one of them is not asleep."""
    clients: dict[str, subprocess.Popen[str]] = {}
    spins: dict[str, float] = {}
    with ExitStack() as stack:
        for due, system, begins in _timetable(list(pairs)):
            time.sleep(max(0.0, due - time.monotonic()))
            if begins:
                spins[system] = ledger.calibrate()
                continue
            argv = _ping_pong(metric, pairs[system], ledger.cpu)
            clients[system] = stack.enter_context(
                subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            )
            stack.callback(clients[system].kill)
        for system, client in clients.items():
            output, _ = client.communicate(timeout=LIMIT)
            ledger.enter((system, metric), Sample(spins[system], median(output)))


def _timetable(systems: list[str]) -> list[tuple[float, str, bool]]:
    """When to start each client, and when to calibrate: just before it begins."""
    now = time.monotonic()
    starts = [(now + n * WINDOW, system, False) for n, system in enumerate(systems)]
    begins = [(due + LEAD, system, True) for due, system, _ in starts]
    return sorted(starts + begins)


def _ping_pong(metric: str, pair: Pair, cpu: int) -> list[str]:
    address = f"--ip={pair.server.address}"
    command = ("sockperf", "ping-pong", "--full-rtt", "--time=1", address, *PING_PONG[metric])
    return pair.client.argv(*pin(cpu, *command))


def median(output: str) -> float:
    """The median round trip in microseconds, as sockperf prints it."""
    found = re.search(r"percentile 50\.000 =\s*([\d.]+)", output)
    if found is None:
        raise SystemFailed(f"sockperf measured nothing: {output.strip()[-300:]}")
    return float(found[1])
