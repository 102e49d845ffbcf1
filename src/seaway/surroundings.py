"""The host around the agent, as intents look at it: namespaces, foreign routes, counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seaway.errors import Invalid
from seaway.kernel import host, netns

if TYPE_CHECKING:
    from seaway.bpf.counters import Counters
    from seaway.kernel.links import LinkTarget
    from seaway.model.addresses import Prefix
    from seaway.model.kernel import Inside


@dataclass
class HostSurroundings:
    links: LinkTarget
    counters: Counters
    attach: str
    layout: str

    def netns_path(self, given: str) -> str:
        if not given or "\0" in given:
            raise Invalid(
                "no network namespace was given", "expected a path, a name or a process id"
            )
        return str(netns.find(given))

    def netns_inode(self, path: str) -> int | None:
        try:
            return netns.inode(path)
        except OSError:
            return None

    def check_inside(self, inside: Inside) -> list[str]:
        return self.links.check_inside(inside)

    def repair_inside(self, inside: Inside) -> None:
        self.links.repair_inside(inside)

    def foreign_prefixes(self) -> list[Prefix]:
        return host.foreign_prefixes()

    def uplink_mtu(self) -> int:
        return host.uplink_mtu()

    def drops(self) -> dict[tuple[int, str], int]:
        return self.counters.drops()

    def data_plane(self) -> tuple[str, str]:
        return self.attach, self.layout
