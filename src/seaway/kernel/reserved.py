"""Ports from which the kernel sends nothing by its own choice: ours, in a list of everybody's.

A port in that list is nobody's: there is no mark by which an agent without memory could know its
own. So what is put is merged into what is there, at that moment; reading back tells only of those
that this process has put; deleting only forgets. What is ours is known by the records
(`model.facts.Before`, and the ports of endpoints).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from seaway.kernel import netns, sysctls
from seaway.model.kernel import Reserved
from seaway.model.ports import Ports, merged, parse_ports, written

SETTING: Final = "net.ipv4.ip_local_reserved_ports"  # of IPv6 too


class ReservedTarget:
    name = "reserved"

    def __init__(self, netns_path: Path | None = None) -> None:
        self._netns = netns_path
        self._put: dict[str, Reserved] = {}

    def now(self) -> Ports:
        """All that are reserved, by whomever."""
        return netns.visit_path(self._netns, _read)

    def read(self) -> dict[str, Reserved]:
        if not self._put:
            return {}
        now = self.now()
        return {
            key: Reserved(written(parse_ports(wanted.ports) & now))
            for key, wanted in self._put.items()
        }

    def put(self, objects: Mapping[str, Reserved]) -> dict[str, OSError]:
        failed = {}
        for key, wanted in objects.items():
            try:
                netns.visit_path(self._netns, lambda: _merge(wanted))  # noqa: B023, called at once
            except OSError as error:
                failed[key] = error
            else:
                self._put[key] = wanted
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        for key in keys:
            self._put.pop(key, None)
        return {}


def _read() -> Ports:
    return parse_ports(sysctls.read(SETTING))


def _merge(wanted: Reserved) -> None:
    now = _read()
    then = merged(now, parse_ports(wanted.ports), parse_ports(wanted.gone))
    if then != now:
        sysctls.write(SETTING, written(then))
