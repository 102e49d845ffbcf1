"""When sockets end whose backend is none any more: at once, or when their time to drain is over.

Who finds and ends them is `bpf/partings.py`: in a thread, as it has to look into every container.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable
from contextlib import suppress

from seaway.bpf import abi
from seaway.bpf.partings import Partings, Serves

Settle = Callable[[list[tuple[str, Hashable]]], Awaitable[None]]  # see `Convergence.settle`


class Draining:
    def __init__(self, partings: Partings) -> None:
        self._partings = partings
        self._stirred = asyncio.Event()

    def left(self, service: abi.PortKey, backends: Collection[abi.PortKey], drain: float) -> None:
        """These are no backends of the service any more; seconds in which connections may end."""
        self._partings.left(service, backends, drain)
        self._stirred.set()

    async def run(self, serves: Serves, settle: Settle) -> None:
        """`serves`: whether it is a backend now. First of all what parted while no agent was here:
        of the services that sockets asked, once what stands behind them was written. For ever.
        """
        found = await asyncio.to_thread(self._partings.find)
        await settle([("services", service) for service in {p.service for p in found}])
        await asyncio.to_thread(self._partings.lost, found, serves)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._partings.due):
                    await self._stirred.wait()
            self._stirred.clear()
            if self._partings.due == 0.0:
                await asyncio.to_thread(self._partings.end, serves)
