"""What a guest says, line by line, and how the test on the outside reads it."""

from __future__ import annotations

import json
import sys
import time

MARK = "seaway-guest "
START = time.monotonic()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tell(step: str, problem: str = "") -> None:
    """What became of a step, or of one of several parts of it: empty, or what went wrong."""
    at = round(time.monotonic() - START, 1)
    say(MARK + json.dumps({"step": step, "problem": problem, "at": at}))


class Told(dict[str, str]):
    """By step."""

    def __missing__(self, step: str) -> str:
        return f"{step} was never told of: the log of the guest says why"


def read(output: str) -> Told:
    """All that was told."""
    found = Told()
    for line in output.splitlines():
        if MARK in line:
            report = json.loads(line.partition(MARK)[2])
            found[report["step"]] = found.get(report["step"], "") + report["problem"]
    return found
