"""Looks at hooks without a pause, in the namespace where it is started: is one ever bare?

    hooks.py DEVICE...

Until standard input ends; then says how often it looked, and at how many looks a hook was bare.
"""

from __future__ import annotations

import errno
import json
import select
import sys

from seaway.bpf import syscall, tcx
from seaway.bpf.classifier import Classifier
from seaway.kernel.rtnl import Rtnl
from seaway.model.kernel import HOOKS

BETWEEN = 50  # looks between two glances at standard input


def main(devices: list[str]) -> None:
    with Rtnl() as rtnl:
        filters, linked = Classifier(rtnl), tcx.available()
        hooks = [(rtnl.ifindex(d), hook) for d in devices for hook in HOOKS]

        def bare(ifindex: int, hook: str) -> bool:
            """A program may move from a filter to a link while we look: so look again."""
            for _ in range(2):
                if linked and _attached(ifindex, hook):
                    return False
                if filters.program(ifindex, hook):
                    return False
            return True

        looks, without = 0, 0
        _say("ready")
        while not select.select([sys.stdin], [], [], 0)[0]:
            for _ in range(BETWEEN):
                without += sum(bare(ifindex, hook) for ifindex, hook in hooks)
                looks += len(hooks)
    _say(json.dumps({"looks": looks, "bare": without}))


def _attached(ifindex: int, hook: str) -> bool:
    try:
        return bool(syscall.attached(ifindex, hook))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
