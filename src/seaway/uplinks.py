"""The host around us, looked at again whenever it may have changed: by which devices others reach
it, which of them live by router advertisements, and what it had before us.

A host that forwards believes no advertisement any more, unless told so for a device. It is told
for those that believed them before us (accept_ra is 1) and have such a route, or had one when
they were here last. Where accept_ra is 0 somebody wants none: such a device is left alone, also
if it was ours before. What a setting was is recorded before it is changed, for `uninstall`; what
others have in the list of reserved ports, which we share with them, again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from seaway.desired.network.host import ALONG, accept_ra, advertised_device, forwarding
from seaway.desired.network.ports import own, seen_reserved, shared, unnoted
from seaway.facts import Facts
from seaway.kernel import outside
from seaway.kernel.reserved import ReservedTarget
from seaway.kernel.sysctls import SysctlTarget
from seaway.model.facts import Before, Uplinks
from seaway.model.ports import Ports
from seaway.records import Records

_NEVER, _BELIEVES, _ALSO_FORWARDING = "0", "1", "2"  # of accept_ra


@dataclass
class Lookout:
    host: str
    facts: Facts
    records: Records
    sysctls: SysctlTarget
    reserved: ReservedTarget
    netns: Path | None = None
    # Of all who read records and then write them.
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    _found: Uplinks | None = None
    _noted: Ports = frozenset()  # of services, when it was last looked

    @property
    def behind(self) -> bool:
        """Whether ports of services came that are to be noted."""
        new = shared(self.facts) != self._noted
        return new and unnoted(self.facts, self.facts.get(Before, self.host))

    async def look(self, *, anew: bool = True) -> None:
        """Make a fact of what is there now. Not `anew`: only settings, of which nothing notifies,
        are read again; devices, addresses and routes are as they were found last.
        """
        async with self.deciding:
            self._noted = shared(self.facts)
            await self._look(anew=anew)

    async def _look(self, *, anew: bool) -> None:
        before = self.facts.get(Before, self.host)
        known = before.sysctls if before else {}
        found = self._found
        if found is None or anew:
            found = self._found = outside.uplinks(self.netns)
        recorded = filter(None, map(advertised_device, known))
        names = {d: accept_ra(d) for d in (*found.by_advertisement, *recorded)}
        now = self.sysctls.current(names.values())
        devices = _living(names, now, known)
        uplinks = replace(found, by_advertisement=devices)
        await self._remember(self._before(uplinks, now))
        self.facts.change(Uplinks, "host", uplinks)

    def _before(self, uplinks: Uplinks, now: Mapping[str, str]) -> Before:
        """What each setting was before us, once; what somebody set since then is his."""
        known = self.facts.get(Before, self.host) or Before(host=self.host, sysctls={})
        old = {name: value for name, value in known.sysctls.items() if now.get(name) != _NEVER}
        old = self.sysctls.current((*forwarding(uplinks), *ALONG)) | old
        seen = seen_reserved(known, self.reserved.now(), own(self.facts), shared(self.facts))
        return replace(seen, sysctls=old)

    async def _remember(self, before: Before) -> None:
        if before != self.facts.get(Before, self.host):
            await self.records.commit([before])


def _living(
    names: Mapping[str, str], now: Mapping[str, str], before: Mapping[str, str]
) -> tuple[str, ...]:
    def lives(name: str) -> bool:
        ours = now.get(name) == _ALSO_FORWARDING and before.get(name) == _BELIEVES
        return ours or now.get(name) == _BELIEVES

    return tuple(sorted(device for device, name in names.items() if lives(name)))
