"""The host's own devices, looked for again whenever they may have changed: by which of them others
reach it, and which live by router advertisements.

A host that forwards believes no advertisement any more, unless told so for a device. It is told
for those that believed them before us (accept_ra is 1) and have such a route, or had one when
they were here last. Where accept_ra is 0 somebody wants none: such a device is left alone, also
if it was ours before. What a setting was is recorded before it is changed, for `uninstall`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from seaway.desired.network.host import ALONG, accept_ra, advertised_device, forwarding
from seaway.facts import Facts
from seaway.kernel import outside
from seaway.kernel.sysctls import SysctlTarget
from seaway.model.facts import Before, Uplinks
from seaway.records import Records

_NEVER, _BELIEVES, _ALSO_FORWARDING = "0", "1", "2"  # of accept_ra


@dataclass(frozen=True)
class Lookout:
    host: str
    facts: Facts
    records: Records
    sysctls: SysctlTarget
    netns: Path | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> None:
        """Make a fact of what is there now."""
        async with self._turn:
            await self._look()

    async def _look(self) -> None:
        before = self.facts.get(Before, self.host)
        known = before.sysctls if before else {}
        found = outside.uplinks(self.netns)
        recorded = filter(None, map(advertised_device, known))
        names = {d: accept_ra(d) for d in (*found.by_advertisement, *recorded)}
        now = self.sysctls.current(names.values())
        devices = _living(names, now, known)
        uplinks = replace(found, by_advertisement=devices)
        await self._remember(uplinks, known, now)
        self.facts.change(Uplinks, "host", uplinks)

    async def _remember(
        self, uplinks: Uplinks, known: Mapping[str, str], now: Mapping[str, str]
    ) -> None:
        """What each was before us, once; what somebody set since then is his."""
        old = {name: value for name, value in known.items() if now.get(name) != _NEVER}
        old = self.sysctls.current((*forwarding(uplinks), *ALONG)) | old
        if old != known:
            await self.records.commit([Before(host=self.host, sysctls=old)])


def _living(
    names: Mapping[str, str], now: Mapping[str, str], before: Mapping[str, str]
) -> tuple[str, ...]:
    def lives(name: str) -> bool:
        ours = now.get(name) == _ALSO_FORWARDING and before.get(name) == _BELIEVES
        return ours or now.get(name) == _BELIEVES

    return tuple(sorted(device for device, name in names.items() if lives(name)))
