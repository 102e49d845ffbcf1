"""What a host's kernel and agent hold, for comparing before with after.

Read from outside, through the file system and the network namespace of the host's first process,
so that looking starts no process there. Numbers that the kernel gives by chance (an ifindex, an
id) stand under the name of what they belong to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from seaway import names
from seaway.bpf import abi, syscall
from seaway.bpf.classifier import Classifier
from seaway.bpf.objects import describe
from seaway.bpf.table import Table
from seaway.client import Client
from seaway.kernel import netns
from seaway.kernel.rtnl import Rtnl
from seaway.lab import LabHost
from seaway.model.kernel import HOOKS

T = TypeVar("T")
MAPS = (
    "endpoints",
    "interfaces",
    "subnets",
    "connections",
    "identities",
    "publications",
    "origins",
)
_ENDPOINT = 32  # bytes of such a value, which names a device


class Evidence:
    """Of one lab host. A handle without state, but for where the host's root is."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self.root = Path(f"/proc/{host.pid}/root")
        self.client = Client(self.there(names.SOCKET))

    def there(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def inside(self, work: Callable[[], T]) -> T:
        """Do the work in the host's network namespace."""
        return netns.visit_path(Path(f"/proc/{self.host.pid}/ns/net"), work)

    @property
    def pins(self) -> Path:
        return self.there(names.PIN_FOLDER)

    def layouts(self) -> list[str]:
        return sorted(p.name for p in self.pins.iterdir() if p.name != "links")

    def map(self, name: str) -> Path:
        return self.pins / self.client.status().layout / name

    def all(self) -> dict[str, Any]:
        """Everything that could be left behind, changed or lost."""
        links = self.links()
        return {
            "links": links,
            "addresses": self._ip("addr"),
            "routes": self._ip("route", "show", "table", "all"),
            "routes6": self._ip("-6", "route", "show", "table", "all"),
            "nft": self.host.run("nft", "-s", "list", "ruleset"),
            "pins": self._pins(links),
            "programs": self.programs(),
            "maps": {name: self.elements(name) for name in MAPS},
            "endpoints": sorted(str(r.endpoint) for r in self.client.endpoints()),
            "ipam": [(str(b.prefix), b.used) for b in self.client.ipam()],
            "leaks": self.client.ipam_check(),
            "failures": self.client.status().failures,
        }

    def links(self) -> dict[str, tuple[object, ...]]:
        found = json.loads(self.host.run("ip", "-j", "link"))
        return {
            one["ifname"]: (one["address"], one["mtu"], sorted(one["flags"]), one["group"])
            for one in found
        }

    def ifindexes(self) -> dict[int, str]:
        return {one["ifindex"]: one["ifname"] for one in json.loads(self.host.run("ip", "-j", "l"))}

    def programs(self) -> dict[str, list[str]]:
        """By device and hook: the programs that run there, in their order."""
        devices = {i: name for i, name in self.ifindexes().items() if name.startswith("swy")}

        def look() -> dict[str, list[str]]:
            with Rtnl() as rtnl:
                filters = Classifier(rtnl)
                return {
                    f"{name} {hook}": [_name(number) for number in _running(filters, i, hook)]
                    for i, name in devices.items()
                    for hook in HOOKS
                }

        return self.inside(look)

    def elements(self, name: str) -> dict[str, str]:
        names_by_index = self.ifindexes()
        try:
            with opened(self.map(name)) as fd:
                elements = list(Table(fd).elements())
        except FileNotFoundError:
            return {"pin": "missing"}
        return {_key(name, k, names_by_index): _value(v, names_by_index) for k, v in elements}

    def _ip(self, *arguments: str) -> list[str]:
        """As ip(8) says it, without what passes by itself."""
        listed = self.host.run("ip", "-j", *arguments)
        found = (one for one in json.loads(listed) if not _passes(one))
        return sorted(json.dumps(_lasting(one), sort_keys=True) for one in found)

    def _pins(self, links: dict[str, Any]) -> list[str]:
        """Links of devices that are there come with time: only the others count."""
        found = [p for p in self.pins.rglob("*") if p.is_file()]
        return sorted(
            str(p.relative_to(self.pins))
            for p in found
            if p.parent.name != "links" or p.name.rpartition("-")[0] not in links
        )


@contextmanager
def opened(pin: Path) -> Iterator[int]:
    """A descriptor of what is pinned there."""
    with syscall.closing(syscall.pinned(pin)) as fd:
        yield fd


def differences(before: Any, now: Any) -> Any:
    """What is not as it was, and only that: empty, if nothing."""
    if before == now:
        return {}
    if isinstance(before, dict) and isinstance(now, dict):
        found = {k: differences(before.get(k), now.get(k)) for k in before.keys() | now.keys()}
        return {k: difference for k, difference in found.items() if difference}
    if isinstance(before, list) and isinstance(now, list):
        return {
            "lost": [x for x in before if x not in now],
            "new": [x for x in now if x not in before],
        }
    return {"was": before, "is": now}


def ifindex_of(name: str) -> int:
    with Rtnl() as rtnl:
        return rtnl.ifindex(name)


def _running(filters: Classifier, ifindex: int, hook: str) -> list[int]:
    linked = [program for program, _ in tcx_programs(ifindex, hook)]
    classic = filters.program(ifindex, hook)
    return linked + ([classic] if classic else [])


def tcx_programs(ifindex: int, hook: str) -> tuple[tuple[int, int], ...]:
    """None on a kernel without TCX."""
    try:
        return syscall.attached(ifindex, hook)
    except OSError:
        return ()


_PROGRAM_INFO, _PROGRAM_NAME = 80, 64  # bytes of struct bpf_prog_info, and where its name is


def _name(number: int) -> str:
    fd = syscall.program_by_id(number)
    try:
        name = syscall.info(fd, _PROGRAM_INFO)[_PROGRAM_NAME:].split(b"\0")[0].decode()
        return f"{name} {describe(name, fd).tag}"
    finally:
        os.close(fd)


def _key(table: str, key: bytes, by_index: dict[int, str]) -> str:
    if table == "interfaces":
        return by_index.get(int.from_bytes(key, "little"), key.hex())
    return key.hex()


def _value(value: bytes, by_index: dict[int, str]) -> str:
    if len(value) != _ENDPOINT:
        return value.hex()
    found = abi.Endpoint.unpack(value)
    return str(found).replace(f"ifindex={found.ifindex},", f"{by_index.get(found.ifindex)},")


_PASSING = {
    *("valid_life_time", "preferred_life_time", "expires", "used", "age"),
    *("ifindex", "link_index", "link_netnsid"),
}


def _passes(one: dict[str, Any]) -> bool:
    """The route for all groups that the kernel gives each device: the agent takes ours away, a
    little later.
    """
    return one.get("dst") == "ff00::/8" and str(one.get("dev")).startswith("swy")


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in _PASSING}
    if isinstance(value, list):  # in no order: what was put back comes last
        return sorted((_lasting(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    return value
