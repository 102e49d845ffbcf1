"""The traffic that is measured: every system's is made by the very same programs, on one CPU."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from seaway.bench.ports import STREAM_PORT, TCP_PORT, UDP_PORT
from seaway.bench.rounds import Ledger, Sample
from seaway.bench.statistics import Better
from seaway.bench.systems import Pair
from seaway.errors import SystemFailed

LEAD = 2.1  # seconds that sockperf sleeps before it begins: others are measured meanwhile
WINDOW = 0.85  # seconds that belong to one sockperf client, of which it warms up for 0.4
TAIL = 0.1  # seconds of that, in which it ends
PULSE = 0.3  # seconds
STREAM = "512M"  # bytes of one stream
LIMIT = 20.0  # seconds for anything
FLOOD_LIMIT = 180.0  # but for so many flows
SOCKPERF = (4,)  # the families of Debian's, 3.7
# sockperf's words when its time ended as it began: awake too late, or still warming up.
TOO_LATE = ("No valid observations found", "No messages were sent")


Client = tuple[str, str]  # system, metric


class Metric(NamedTuple):
    name: str
    unit: str
    better: Better
    families: tuple[int, ...] = (4, 6)  # that the program which measures it knows


METRICS = {
    metric.name: metric
    for metric in (
        Metric("udp_rr_p50", "us", "lower", SOCKPERF),
        Metric("tcp_rr_p50", "us", "lower", SOCKPERF),
        Metric("udp_pps", "packets/s", "higher"),
        Metric("tcp_gbps", "Gbit/s", "higher"),
        Metric("tcp_cps", "connections/s", "higher"),
        Metric("new_flows", "flows/s", "higher"),
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


def measure(
    metrics: Sequence[str], pairs: Mapping[str, Pair], ledger: Ledger[float], flows: int
) -> None:
    """One round of these metrics for each of these systems, in their order."""
    waiting = [(system, metric) for metric in metrics if metric in PING_PONG for system in pairs]
    if waiting:
        ping_pongs(waiting, pairs, ledger)
    for metric in metrics:
        for system, pair in pairs.items() if metric not in PING_PONG else ():
            ledger.measure((system, metric), _single(metric, pair, ledger.cpu, flows))


def warm_up(metrics: Sequence[str], pairs: Mapping[str, Pair], cpu: int, flows: int) -> None:
    """What the first round would find otherwise than all others: neighbours that do not know each
    other yet, and tables of flows that are not full.
    """
    for pair in pairs.values():
        pulse("tcp", pair, cpu)
        if "new_flows" in metrics:
            flood(pair, cpu, flows)


def _single(metric: str, pair: Pair, cpu: int, flows: int) -> Callable[[], float]:
    if metric == "tcp_gbps":
        return lambda: stream(pair, cpu)
    if metric == "new_flows":
        return lambda: flood(pair, cpu, flows)
    return lambda: pulse({"udp_pps": "udp", "tcp_cps": "tcp"}[metric], pair, cpu)


def stream(pair: Pair, cpu: int) -> float:
    """One TCP stream: Gbit/s in the median tenth of its time."""
    options = ("--json", f"--bytes={STREAM}", "--interval=0.1", f"--port={STREAM_PORT}")
    command = ("iperf3", *options, "--client", str(pair.server.address))
    report = json.loads(_output(pair.client.argv(*pin(cpu, *command))))
    rates = [float(part["sum"]["bits_per_second"]) for part in report["intervals"]]
    return statistics.median(rates) / 1e9


def pulse(kind: str, pair: Pair, cpu: int) -> float:
    ends = (pair.client.netns, pair.server.netns, str(pair.server.address))
    command = (sys.executable, "-m", "seaway.bench.pulse", kind, *ends, str(PULSE))
    return float(_output(pair.client.beside(*pin(cpu, *command))))


def is_answered(pair: Pair) -> bool:
    """Whether a connection reaches who listens at the server."""
    ends = (pair.client.netns, pair.server.netns, str(pair.server.address))
    command = pair.client.beside(sys.executable, "-m", "seaway.bench.pulse", "tcp", *ends, "0.01")
    try:
        return not subprocess.run(command, capture_output=True, timeout=2, check=False).returncode
    except subprocess.TimeoutExpired:
        return False


def flood(pair: Pair, cpu: int, flows: int) -> float:
    ends = (pair.client.netns, pair.server.netns, pair.host, str(pair.server.address))
    command = (sys.executable, "-m", "seaway.bench.flood", *ends, str(flows))
    return float(_output(pin(cpu, *command), FLOOD_LIMIT))


def _output(argv: list[str], limit: float = LIMIT) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        raise SystemFailed(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


PING_PONG = {
    "udp_rr_p50": (f"--port={UDP_PORT}",),
    "tcp_rr_p50": ("--tcp", f"--port={TCP_PORT}"),
}


class Act(NamedTuple):
    """When to do what with one sockperf client."""

    due: float
    client: Client
    what: Literal["start", "calibrate", "end"]


def ping_pongs(clients: Sequence[Client], pairs: Mapping[str, Pair], ledger: Ledger[float]) -> None:
    """One sockperf for each, so timed that all but one of them are asleep."""
    running: dict[Client, subprocess.Popen[str]] = {}
    spins: dict[Client, float] = {}
    with ExitStack() as stack:
        for due, client, what in timetable(clients, time.monotonic()):
            time.sleep(max(0.0, due - time.monotonic()))
            if what == "start":
                argv = _ping_pong(client[1], pairs[client[0]], ledger.cpu)
                running[client] = stack.enter_context(_start(argv))
                stack.callback(running[client].kill)
            elif what == "calibrate":
                spins[client] = ledger.calibrate()
            else:
                running[client].send_signal(signal.SIGINT)
        for client, process in running.items():
            output, _ = process.communicate(timeout=LIMIT)
            ledger.enter(client, Sample(spins[client], median(output)))


def timetable(clients: Sequence[Client], now: float) -> list[Act]:
    """The spin loop comes just before a client wakes up, when the last one has ended."""
    acts: list[Act] = []
    for number, client in enumerate(clients):
        start = now + number * WINDOW
        acts += [
            Act(start, client, "start"),
            Act(start + LEAD - TAIL / 2, client, "calibrate"),
            Act(start + LEAD + WINDOW - TAIL, client, "end"),
        ]
    return sorted(acts, key=lambda act: act.due)


def _start(argv: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _ping_pong(metric: str, pair: Pair, cpu: int) -> list[str]:
    address = f"--ip={pair.server.address}"
    command = ("sockperf", "ping-pong", "--full-rtt", "--time=1", address, *PING_PONG[metric])
    return pair.client.argv(*pin(cpu, *command))


def median(output: str) -> float | None:
    """The median round trip in microseconds, as sockperf prints it; none if it woke too late."""
    if any(words in output for words in TOO_LATE):
        return None
    found = re.search(r"percentile 50\.000 =\s*([\d.]+)", output)
    if found is None:
        raise SystemFailed(f"sockperf failed: {output.strip()[-300:]}")
    return float(found[1])
