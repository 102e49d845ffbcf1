"""The links of a lab that is up: kept in its folder, told to the wire.

The wire learns all of them at once, whichever was changed: what somebody was killed over is done
by the next one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from seaway.errors import NotFound
from seaway.lab import links
from seaway.lab.hosts import LabHost
from seaway.lab.links import Link, Links

_FILE = "links.json"
_PID, _LATE = Path("/run/late.pid"), Path("/run/late")
_READY = Path("/run/late.ready")
# Its own number is what the next one ends; `ready` appears when it carries.
_CARRY = f'echo $$ > {_PID}; exec "$0" -m seaway.lab.delay < {_LATE} > {_READY}'
_CARRIED = f'test -s {_READY} && kill -0 "$(cat {_PID})" && cmp -s - {_LATE}'
_END = f"test ! -e {_PID} || kill $(cat {_PID}) 2> /dev/null; rm -f {_PID} {_READY}"


def load(folder: Path) -> Links:
    try:
        found = msgspec.json.decode((folder / _FILE).read_bytes(), type=list[Link])
    except FileNotFoundError:
        raise NotFound(f"there is no lab '{folder.name}'", "seaway lab up") from None
    return {link.hosts: link for link in found}


def apply(folder: Path, wire: LabHost, hosts: list[str], known: Links) -> None:
    """Have the wire carry these links, and none besides. The world is seen by all."""
    (folder / _FILE).write_bytes(msgspec.json.encode(list(known.values())))
    wire.run("nft", "-f", "-", stdin=links.rules(hosts, known))
    late = _late(known)
    if late and not wire.call("sh", "-c", _CARRIED, stdin=late).returncode:
        return  # these lose nothing while others change
    _carry(wire, late)


def renew(folder: Path, wire: LabHost) -> None:
    """A host has another port of the same name, which who carries late links does not know."""
    _carry(wire, _late(load(folder)))


def _late(known: Links) -> str:
    return "".join(
        f"{' '.join(link.hosts)} {link.delay} {link.loss}\n"
        for link in known.values()
        if link.up and link.delay
    )


def _carry(wire: LabHost, late: str) -> None:
    wire.run("sh", "-c", _END)
    if not late:
        return
    wire.write(_LATE, late)
    wire.start("sh", "-c", _CARRY, sys.executable, log=Path("/run/late.log"))
    wire.wait_for("delay", lambda: "ready" in wire.call("cat", str(_READY)).stdout)
