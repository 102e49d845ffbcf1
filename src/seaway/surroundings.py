"""The host around the agent, as intents look at it: namespaces, foreign routes, counters."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from seaway.bpf.objects import DataPlane
from seaway.errors import Invalid
from seaway.kernel import netns
from seaway.kernel.links import LinkTarget
from seaway.kernel.messages.route import MAIN, list_routes, parse_route
from seaway.kernel.rtnl import Rtnl
from seaway.model.addresses import Prefix
from seaway.model.kernel import Inside
from seaway.names import ROUTE_PROTOCOL


@dataclass
class HostSurroundings:
    links: LinkTarget
    plane: DataPlane

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

    def foreign_prefixes(self) -> list[Prefix]:
        return foreign_prefixes()

    def uplink_mtu(self) -> int:
        return uplink_mtu()

    def drops(self) -> dict[tuple[int, str], int]:
        return self.plane.drops()

    def data_plane(self) -> tuple[str, str]:
        return self.plane.attach, self.plane.layout
