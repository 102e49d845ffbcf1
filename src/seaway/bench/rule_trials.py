"""Load services into nftables or iptables, and replace one backend: milliseconds.

Runs in a network namespace of a lab host. What is to be loaded is written before: the clock runs
from the start of the program that reads it to its end. Reads names of trials, one a line.

    python -m seaway.bench.rule_trials nftables|iptables SERVICES
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from seaway.bench.kube_rules import RULESETS, Ruleset
from seaway.bench.many_services import replaced, simulated
from seaway.errors import SystemFailed

_MILLISECONDS: Final = 1000


class Loaded:
    """Of so many services. All of them are loaded before one is changed."""

    def __init__(self, ruleset: Ruleset, count: int) -> None:
        services = simulated(count)
        one = services[count // 2]
        ways = (one, replaced(one)), (replaced(one), one)
        self._ruleset = ruleset
        self._nothing, self._whole = _kept(ruleset.nothing), _kept(ruleset.whole(services))
        self._changes = [_kept(ruleset.change(before, after)) for before, after in ways]
        self._changed = 0
        self.program_all()

    def program_all(self) -> float:
        """Where there is nothing."""
        _run(self._ruleset.reload, self._nothing)
        self._changed = 0
        return _run(self._ruleset.load, self._whole)

    def one_change(self) -> float:
        """There, or the next time back."""
        text = self._changes[self._changed % len(self._changes)]
        self._changed += 1
        return _run(self._ruleset.load, text)


TRIALS: Final[Mapping[str, Callable[[Loaded], float]]] = {
    "program_all": Loaded.program_all,
    "one_change": Loaded.one_change,
}


def _kept(text: str) -> int:
    """A file without a name, and without a disk."""
    file = os.memfd_create("rules")
    with open(file, "wb", closefd=False) as writer:
        writer.write(text.encode())
    return file


def _run(command: tuple[str, ...], text: int) -> float:
    """Milliseconds."""
    os.lseek(text, 0, os.SEEK_SET)
    start = time.perf_counter()
    done = subprocess.run(command, stdin=text, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        raise SystemFailed(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return taken * _MILLISECONDS


def main() -> None:
    loaded = Loaded(RULESETS[sys.argv[1]], int(sys.argv[2]))
    for line in sys.stdin:
        print(TRIALS[line.strip()](loaded), flush=True)


if __name__ == "__main__":
    main()
