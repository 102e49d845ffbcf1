"""What other firewalls of this host refuse, looked for again whenever that may have changed.

nftables counts its changes, so looking costs little where nothing changed; what is in the legacy
tables of iptables is not counted, and found by the sweep alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from seaway.facts import Facts
from seaway.kernel.accepts import AcceptTarget
from seaway.model.facts import Firewalls


@dataclass(frozen=True)
class Firewatch:
    facts: Facts
    accepts: AcceptTarget

    def stirred(self) -> bool:
        """Whether somebody changed nftables since the last look. Cheap."""
        return self.accepts.stirred()

    async def look(self) -> None:
        """Make a fact of what is there now. The firewalls' own programs are asked in a thread."""
        found = await asyncio.to_thread(self.accepts.observe)
        self.facts.change(Firewalls, "host", found)
