"""A process that measures what it is asked for, by name, one a line, and answers in a line each."""

from __future__ import annotations

import subprocess

from seaway.errors import SystemFailed

Runner = subprocess.Popen[str]


def ask(runner: Runner, name: str) -> float:
    if runner.stdin is None or runner.stdout is None or runner.stderr is None:
        raise SystemFailed("the runner has no pipes")
    runner.stdin.write(f"{name}\n")
    runner.stdin.flush()
    answer = runner.stdout.readline()
    if not answer:
        raise SystemFailed(f"trial '{name}' failed: {runner.stderr.read().strip()[-500:]}")
    return float(answer)
