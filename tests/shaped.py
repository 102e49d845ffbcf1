"""A container whose bandwidth is limited, by the real target and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

from dataplane import Container, Host
from seaway.bpf import abi
from seaway.bpf.shapers import Numbers, ShaperTarget
from seaway.desired.network.shapers import shaping_of
from seaway.model.kernel import Shaper
from seaway.names import shaper_names


class Shaped:
    def __init__(self, host: Host, container: Container) -> None:
        self.container = container
        self.ends: dict[str, Numbers | None] = {}  # as the target told
        self.target = host.place.run(ShaperTarget, host.plane, self._told)
        self._host = host

    def _told(self, link: str, ends: Numbers | None) -> None:
        self.ends[link] = ends

    def shape(self, ingress: int, egress: int) -> None:
        """To these rates; 0: not."""
        link, mtu = self.container.link, self.container.record.mtu
        wanted = {link: wanted_of(link, ingress, egress, mtu)}
        assert {} == self._host.place.run(self.target.put, wanted)
        self.enter(ingress, egress)

    def enter(self, ingress: int, egress: int) -> None:
        """What the programs know of it."""
        ends = self.ends[self.container.link]
        assert ends
        ifindex, (into, out) = self.container.ifindex, ends
        shaper = abi.Shaper(ifindex, into, out)
        self._host.put("shaped", dict.fromkeys((ifindex, into, out), shaper))
        flags = abi.ENDPOINT_SHAPED_IN if ingress else 0
        flags |= abi.ENDPOINT_SHAPED_OUT if egress else 0
        self._record(flags)

    def end(self) -> None:
        self._record(0)
        assert {} == self._host.place.run(self.target.delete, {self.container.link})

    def lose(self) -> None:
        """The programs know of none."""
        shaped = self._host.targets["shaped"]
        run = self._host.place.run
        assert {} == run(shaped.delete, set(run(shaped.read)))

    def _record(self, flags: int) -> None:
        record = replace(self.container.record, flags=self.container.record.flags | flags)
        addresses = [ip_address(self.container.address(f)) for f in (4, 6)]
        self._host.put("endpoints", dict.fromkeys(addresses, record))
        self._host.put("interfaces", {self.container.ifindex: record})

    def carried(self, end: int) -> tuple[int, int]:
        """Packets and bytes that came out of its shaper: 0, those that it sent; 1, that it gets."""
        name = shaper_names(self.container.link)[end]
        (told,) = json.loads(self._host.place.shell(f"ip -j -s link show {name}"))
        packets, octets = (told["stats64"]["rx"][what] for what in ("packets", "bytes"))
        return packets, octets


def wanted_of(link: str, ingress: int, egress: int, mtu: int = 1500) -> Shaper:
    return Shaper(link, mtu, shaping_of(ingress, 0, mtu), shaping_of(egress, 0, mtu))


@contextmanager
def shaped(host: Host, container: Container, ingress: int, egress: int) -> Iterator[Shaped]:
    made = Shaped(host, container)
    made.shape(ingress, egress)
    try:
        yield made
    finally:
        made.end()
        made.target.close()
