"""The host's kernel settings that forwarding needs.

A setting is nobody's: there is no mark by which an agent without memory could know that it was
ours. So reading back tells only of those that this process has put, putting one that has its
value already writes nothing, and deleting only forgets. The old values come back by uninstall,
from the store (`model.facts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from seaway.kernel import netns
from seaway.model.kernel import Sysctl

_FOLDER = Path("/proc/sys")
_LONGEST = 1 << 19  # bytes; every second port of all is 190,000


class SysctlTarget:
    name = "sysctls"

    def __init__(self, netns_path: Path | None = None) -> None:
        self._netns = netns_path
        self._put: set[str] = set()

    def read(self) -> dict[str, Sysctl]:
        return {name: Sysctl(name, value) for name, value in self.current(self._put).items()}

    def current(self, names: Iterable[str]) -> dict[str, str]:
        """Their values now; without those that this kernel does not have."""
        return netns.visit_path(self._netns, lambda: _read(names))

    def put(self, objects: Mapping[str, Sysctl]) -> dict[str, OSError]:
        self._put |= objects.keys()
        return netns.visit_path(self._netns, lambda: _write(objects.values()))

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        self._put -= keys
        return {}


def path(name: str) -> Path:
    """A dot within a part is written as a slash, as sysctl(8) does: net.ipv4.conf.eth0/7.x."""
    return _FOLDER.joinpath(*(part.replace("/", ".") for part in name.split(".")))


def read(name: str) -> str:
    """In one call: of a long list the kernel gives nothing to a second one."""
    with path(name).open("rb", buffering=0) as file:
        return (file.read(_LONGEST) or b"").decode().strip()


def write(name: str, value: str) -> None:
    """A long list in as many calls as the kernel wants, which cuts it between two items."""
    data = value.encode() + b"\n"
    with path(name).open("wb", buffering=0) as file:
        while data:
            data = data[file.write(data) :]


def _read(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = read(name)
        except FileNotFoundError:
            continue
    return found


def _turn(sysctl: Sysctl) -> int:
    _, _, setting = sysctl.name.rpartition(".")
    return {"accept_ra": 0, "accept_redirects": 2}.get(setting, 1)


def _write(wanted: Iterable[Sysctl]) -> dict[str, OSError]:
    failed = {}
    # Whether advertisements are believed comes before forwarding, which forgets their routes, and
    # whether redirects are believed after it, because it changes that.
    for sysctl in sorted(wanted, key=_turn):
        try:
            if _read([sysctl.name]).get(sysctl.name) != sysctl.value:
                write(sysctl.name, sysctl.value)
        except OSError as error:
            failed[sysctl.name] = error
    return failed
