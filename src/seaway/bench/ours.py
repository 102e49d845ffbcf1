"""Seaway itself as a system: an agent on a lab host, as `seaway init` sets it up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from seaway import names
from seaway.bench.plugins import Caller, calling
from seaway.bench.systems import Pair, Place, make_netns, netns_path, of_family
from seaway.lab import LabHost
from seaway.model.addresses import Address

NETWORK = "default"
PLUGIN = names.CNI_BIN / "seaway"
CONFIGURATION = {"cniVersion": "1.0.0", "name": "bench", "type": PLUGIN.name, "network": NETWORK}


class Seaway:
    name = "seaway"

    def missing(self) -> str:
        return ""

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
        host.start_agent()
        make_netns(host, "client", "server")
        client, server = (
            Place(netns_path(host, name), attach(host, name, family))
            for name in ("client", "server")
        )
        yield Pair(client, server)

    @contextmanager
    def attaching(self, host: LabHost) -> Iterator[Caller]:
        host.start_agent()
        with calling(host, PLUGIN, CONFIGURATION) as caller:
            yield caller


def attach(host: LabHost, name: str, family: int) -> Address:
    told = host.seaway("attach", f"/run/netns/{name}", f"--name={name}", "--output=json")
    return of_family(json.loads(told)["addresses"], family)
