"""This host's own addresses in the cluster, on `lo`.

An agent without memory knows its own by the number that the kernel keeps with every address of
who made it (IFA_PROTO, kernel 5.18): ours is `names.ROUTE_PROTOCOL`. They are ours alone, so
one that somebody else put on `lo` takes our number; every other address stays as it is.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from ipaddress import ip_interface
from pathlib import Path

from seaway.kernel import netns
from seaway.kernel.messages.address import (
    delete_address,
    list_addresses,
    parse_address,
    put_address,
)
from seaway.kernel.messages.link import UP, set_flags
from seaway.model.addresses import Address
from seaway.model.kernel import HostAddress
from seaway.names import ROUTE_PROTOCOL

_LOOPBACK = 1  # the ifindex of `lo` in every network namespace


class AddressTarget:
    name = "addresses"

    def __init__(self, netns_path: Path | None = None) -> None:
        self._rtnl = netns.open_rtnl(netns_path)

    def close(self) -> None:
        self._rtnl.close()

    def read(self) -> dict[Address, HostAddress]:
        found = {}
        for body in self._rtnl.dump(*list_addresses(_LOOPBACK)):
            entry = parse_address(body)
            if entry and entry.protocol == ROUTE_PROTOCOL and entry.ifindex == _LOOPBACK:
                found[entry.address.ip] = HostAddress(entry.address.ip)
        return found

    def put(self, objects: Mapping[Address, HostAddress]) -> dict[Address, OSError]:
        keys = list(objects)
        requests = [put_address(_LOOPBACK, ip_interface(a), ROUTE_PROTOCOL) for a in keys]
        _, *outcome = self._rtnl.request([set_flags(_LOOPBACK, UP), *requests])
        return {a: error for a, error in zip(keys, outcome, strict=True) if error}

    def delete(self, keys: set[Address]) -> dict[Address, OSError]:
        ours = [address for address in self.read() if address in keys]
        requests = [delete_address(_LOOPBACK, ip_interface(address)) for address in ours]
        outcome = zip(ours, self._rtnl.request(requests), strict=True)
        return {a: e for a, e in outcome if e and e.errno != errno.EADDRNOTAVAIL}
