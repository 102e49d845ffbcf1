"""The containers' ends of our pairs: configured, and set up with that.

They come last. So the container's end has the carrier as it is set up, and sends at once; and the
host's end takes it up on its own, which makes the kernel walk every IPv6 route of the host: that is
nothing an ADD waits for (docs/decisions/raw-netlink.md).

Whether a container's end is up is seen from the host, by the carrier of the other one. All
else of it is not, and is looked at in turn (`inside`).
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from pathlib import Path

from seaway.kernel import inside as container
from seaway.kernel import netns
from seaway.kernel.links import our_links
from seaway.kernel.messages import link as wire
from seaway.model.kernel import Inside, Interior


class InteriorTarget:
    name = "interiors"

    def __init__(self, netns_path: Path | None = None) -> None:
        self._rtnl = netns.open_rtnl(netns_path)

    def close(self) -> None:
        self._rtnl.close()

    def read(self) -> dict[str, Interior]:
        return {
            entry.name: Interior(entry.ifindex) for entry in our_links(self._rtnl) if _up(entry)
        }

    def look(self, keys: Collection[str]) -> dict[str, Interior]:
        found = {}
        for name in keys:
            if ifindex := self._rtnl.ifindex(name):
                entry = wire.parse_link(self._rtnl.get(*wire.get_link(ifindex)))
                if _up(entry):
                    found[name] = Interior(ifindex)
        return found

    def put(self, objects: Mapping[str, Interior]) -> dict[str, OSError]:
        failed = {}
        for name, wanted in objects.items():
            try:
                self._put(name, wanted.inside)
            except OSError as error:
                failed[name] = error
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        """They go with their links."""
        return {}

    def _put(self, name: str, inside: Inside | None) -> None:
        if inside is None:
            raise OSError(errno.ENODEV, f"no container is known for {name}")
        with netns.entered(inside) as (_, inner):
            ifindex = inner.ifindex(inside.name)
            if not ifindex:
                text = f"interface {inside.name} is missing in the container"
                raise OSError(errno.ENODEV, text)
            container.configure(inner, inside, ifindex)


def _up(entry: wire.LinkEntry) -> bool:
    """While the host's end is down, nobody can tell."""
    return not entry.flags & wire.UP or bool(entry.flags & wire.LOWER_UP)
