"""Connections that services led to backends from this host, and that are not over.

Sockets that the hooks led are counted as they connect, whatever service they asked (`serving`).
What was led packet by packet, by a port of every host or by a VIP, lies in the tables of flows:
each direction notes how it ends (bpf/lib/tracking.h), and the two are put together here. Nobody
pays for that but who asks: the tables are gone through once for each question.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from functools import cache
from struct import Struct
from typing import Final

from seaway.bpf import abi
from seaway.bpf.askers import Place
from seaway.bpf.leaving import UNTIL
from seaway.bpf.objects import DataPlane
from seaway.bpf.partings import Serves
from seaway.bpf.services import on_hosts
from seaway.bpf.table import Table
from seaway.model.publications import PROTOCOLS

_FLAGS: Final = Struct("=44xI")  # of a flow
_PROTOCOL: Final = 36  # where it stands in a flow's key
_TCP: Final = PROTOCOLS["tcp"]
_LED: Final = abi.FLOW_SERVICE | abi.FLOW_LED  # by this host: what others led, they count


class Running:
    """`serves`: whether it is a backend of that service. May be asked in a thread."""

    def __init__(self, plane: DataPlane, serves: Serves) -> None:
        self._serving = Table(plane.maps["serving"])
        self._flows = [Table(plane.maps[name]) for name in ("flows", "inner_flows")]
        self._leaving = Table(plane.maps["leaving"])
        self._serves = serves

    def to(self, addresses: Collection[bytes]) -> int:
        """How many these addresses have, at whatever ports."""
        return self._sockets(addresses) + self._packets(addresses)

    def _sockets(self, addresses: Collection[bytes]) -> int:
        counted = ((abi.PortKey.unpack(k), v) for k, v in self._serving.elements() if any(v))
        return sum(abi.Serving.unpack(v).sockets for k, v in counted if k.addr in addresses)

    def _packets(self, addresses: Collection[bytes]) -> int:
        """One whose time to drain is over is reset by its next packet, so it counts no more."""
        goes_on = cache(self._goes_on)
        asked: list[tuple[abi.FlowKey, abi.Flow]] = []
        ends: dict[abi.FlowKey, int] = {}  # of the answers
        for key, flow in self._led(addresses):
            if flow.flags & abi.FLOW_ANSWER:
                ends[key] = flow.flags
            else:
                asked.append((key, flow))
        return sum(
            not _over(flow.flags, ends.get(_back(key, flow), 0)) and goes_on(*_parties(key, flow))
            for key, flow in asked
        )

    def _led(self, addresses: Collection[bytes]) -> Iterator[tuple[abi.FlowKey, abi.Flow]]:
        """Both directions; as few as can be are looked into."""
        for table in self._flows:
            for key, value in table.elements():
                flags: int = _FLAGS.unpack_from(value)[0]
                if not flags & _LED or key[_PROTOCOL] != _TCP:
                    continue
                backend = key[:16] if flags & abi.FLOW_ANSWER else value[16:32]
                if backend in addresses:
                    yield abi.FlowKey.unpack(key), abi.Flow.unpack(value)

    def _goes_on(self, service: abi.PortKey, backend: abi.PortKey) -> bool:
        if self._serves(service, backend):
            return True
        key = abi.LeavingKey(service.pack(), Place(backend.addr, backend.port).pack())
        until = self._leaving.element(key.pack())
        return until is not None and bool(time.monotonic_ns() < UNTIL.unpack(until)[0])


def _parties(key: abi.FlowKey, flow: abi.Flow) -> tuple[abi.PortKey, abi.PortKey]:
    """The service that a flow asked, and whom it was led to."""
    service = abi.PortKey(key.dst, key.dst_port, key.protocol)
    backend = abi.PortKey(flow.dst, flow.dst_port, key.protocol)
    return (on_hosts(service) if flow.flags & abi.FLOW_SERVICE else service), backend


def _back(key: abi.FlowKey, flow: abi.Flow) -> abi.FlowKey:
    """Under which its answers lie: flow_reverse_key of bpf/lib/flow.h."""
    return abi.FlowKey(
        src=flow.dst,
        dst=flow.src,
        src_port=flow.dst_port,
        dst_port=flow.src_port,
        protocol=key.protocol,
        ingress=flow.ingress,
    )


def _over(question: int, answer: int) -> bool:
    """By the flags of both directions: one has reset it, or both have closed it."""
    return bool((question | answer) & abi.FLOW_RESET or question & answer & abi.FLOW_CLOSED)
