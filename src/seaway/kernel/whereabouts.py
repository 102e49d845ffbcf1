"""By what a host is told from every other one, and from itself before it was started anew.

Digests only: the machine's id is nobody else's business (machine-id(5)).
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path

from seaway.model.backup import Whereabouts

_MACHINE_ID = Path("/etc/machine-id")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NETNS = Path("/proc/self/ns/net")


@cache
def boot() -> str:
    """Of this start of the kernel, and of the host's network namespace."""
    return _digest(f"{_BOOT_ID.read_text().strip()} {_NETNS.readlink()}")


def whereabouts() -> Whereabouts:
    try:
        machine = _MACHINE_ID.read_text().strip()
    except FileNotFoundError:
        machine = ""
    return Whereabouts(machine=_digest(machine) if machine else "", boot=boot())


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16, person=b"seaway").hexdigest()
