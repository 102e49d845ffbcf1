"""Who else on this host lives by its forwarding of packets. Only read.

Whoever turned forwarding on, others come to rely on it: an engine that finds it on does not turn
it on itself, and its containers are cut off by who turns it off again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from seaway.kernel import iptables, netns, nft
from seaway.kernel.host import default_devices
from seaway.kernel.messages.address import list_addresses, parse_address
from seaway.kernel.messages.link import list_links, parse_link
from seaway.kernel.rtnl import Rtnl

_ENGINES: Final = re.compile(r"\b(DOCKER|CNI-|NETAVARK|LIBVIRT_|KUBE-|cali-|FLANNEL)[A-Za-z0-9_-]*")
_TABLES: Final = {4: ("ip", "iptables-legacy"), 6: ("ip6", "ip6tables-legacy")}


def forwarders(family: int, netns_path: Path | None = None) -> list[str]:
    """In words: bridges on which the host itself has an address, and chains of engines' rules."""
    with netns.open_rtnl(netns_path) as rtnl:
        bridges = sorted(_bridges(rtnl, family))
    chains = netns.visit_path(netns_path, lambda: _chains(family))
    return [*(f"the bridge {name}" for name in bridges), *chains]


def _bridges(rtnl: Rtnl, family: int) -> Iterator[str]:
    """But not one by which the host itself reaches others: that needs no forwarding."""
    entries = filter(None, (parse_address(body) for body in rtnl.dump(*list_addresses())))
    addressed = {
        entry.ifindex
        for entry in entries
        if entry.address.version == family and not entry.address.is_link_local
    }
    found = addressed - default_devices(rtnl, addressed)
    for body in rtnl.dump(*list_links("bridge")):
        link = parse_link(body)
        if link.ifindex in found and link.kind == "bridge":
            yield link.name


def _chains(family: int) -> list[str]:
    table, legacy = _TABLES[family]
    found = {
        engine[0]
        for item in nft.listed_json("chains")
        if "chain" in item and item["chain"]["family"] == table
        if (engine := _ENGINES.match(item["chain"]["name"]))
    }
    if iptables.loaded(legacy) and iptables.installed(legacy):
        found |= {c for c in iptables.read(legacy).rules if _ENGINES.match(c)}
    return [f"the chain {min(found)} of an engine's rules"] if found else []
