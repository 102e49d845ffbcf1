"""Seaway itself as a system: an agent on a lab host, as `seaway init` sets it up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_interface

from seaway import names
from seaway.bench.plugins import Caller, calling
from seaway.bench.systems import Pair, Place, make_netns, netns_path
from seaway.lab import LabHost

NETWORK = "default"
PLUGIN = names.CNI_BIN / "seaway"
CONFIGURATION = {"cniVersion": "1.0.0", "name": "bench", "type": PLUGIN.name, "network": NETWORK}


class Seaway:
    name = "seaway"

    def missing(self) -> str:
        return ""

    @contextmanager
    def running(self, host: LabHost) -> Iterator[Pair]:
        host.start_agent()
        make_netns(host, "client", "server")
        client, server = (
            Place(netns_path(host, name), attach(host, name)) for name in ("client", "server")
        )
        yield Pair(client, server)

    @contextmanager
    def attaching(self, host: LabHost) -> Iterator[Caller]:
        host.start_agent()
        with calling(host, PLUGIN, CONFIGURATION) as caller:
            yield caller


def attach(host: LabHost, name: str) -> IPv4Address:
    told = host.seaway("attach", f"/run/netns/{name}", f"--name={name}", "--output=json")
    addresses = (ip_interface(text).ip for text in json.loads(told)["addresses"])
    return next(address for address in addresses if isinstance(address, IPv4Address))
