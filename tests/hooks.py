"""Looks at hooks without a pause, in the namespace where it is started: is one ever without ours?

    hooks.py DEVICE...

Until standard input ends; then says how often it looked, and at how many looks a hook was bare.
"""

from __future__ import annotations

import errno
import json
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from seaway.bpf import syscall, tcx
from seaway.bpf.classifier import Classifier
from seaway.kernel.rtnl import Rtnl
from seaway.lab import LabHost
from seaway.model.kernel import HOOKS

_NAME = struct.Struct("=64x16s")  # struct bpf_prog_info, to its name
BETWEEN = 50  # looks between two glances at standard input


def main(devices: list[str]) -> None:
    with Rtnl() as rtnl:
        filters, linked = Classifier(rtnl), tcx.available()
        hooks = [(rtnl.ifindex(d), hook) for d in devices for hook in HOOKS]

        def bare(ifindex: int, hook: str) -> bool:
            """A program may move from a filter to a link while we look: so look again."""
            for _ in range(2):
                if linked and any(_is_ours(p, hook) for p in _attached(ifindex, hook)):
                    return False
                if _is_ours(filters.program(ifindex, hook), hook):
                    return False
            return True

        looks, without = 0, 0
        _say("ready")
        while not select.select([sys.stdin], [], [], 0)[0]:
            for _ in range(BETWEEN):
                without += sum(bare(ifindex, hook) for ifindex, hook in hooks)
                looks += len(hooks)
    _say(json.dumps({"looks": looks, "bare": without}))


def _attached(ifindex: int, hook: str) -> list[int]:
    try:
        return [program for program, _ in syscall.attached(ifindex, hook)]
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return []


@cache
def _is_ours(program: int, hook: str) -> bool:
    """By its name: of whatever build. 0: there is none."""
    if not program:
        return False
    with syscall.closing(syscall.program_by_id(program)) as fd:
        name: bytes = _NAME.unpack(syscall.info(fd, _NAME.size))[0]
    return HOOKS[hook] == name.rstrip(b"\0").decode()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def watched(host: LabHost, devices: list[str]) -> Iterator[dict[str, Any]]:
    """Filled at the end: how often the hooks were looked at, and found bare."""
    told: dict[str, Any] = {}
    command = (sys.executable, __file__, *devices)
    with host.popen(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watch:
        try:
            assert watch.stdout is not None
            assert "ready\n" == watch.stdout.readline()
            yield told
            answer, _ = watch.communicate("", timeout=60)
            told |= json.loads(answer)
        finally:
            watch.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
