"""Seaway itself as a system: an agent on a lab host, as `seaway init` sets it up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from seaway import names
from seaway.bench.plugins import Caller, calling
from seaway.bench.ports import PUBLISH
from seaway.bench.systems import (
    Hosts,
    Pair,
    Party,
    host_address,
    host_netns,
    make_netns,
    netns_path,
    of_family,
)
from seaway.lab import LabHost
from seaway.model.addresses import Address

NETWORK = "default"
PLUGIN = names.CNI_BIN / "seaway"
CONFIGURATION = {"cniVersion": "1.0.0", "name": "bench", "type": PLUGIN.name, "network": NETWORK}


class Seaway:
    name = "seaway"
    hosts = 1  # to publish a port of

    def missing(self) -> str:
        return ""

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
        host.start_agent()
        make_netns(host, "client", "server")
        client, server = (
            Party(netns_path(host, name), attach(host, name, family))
            for name in ("client", "server")
        )
        yield Pair(client, server, host_netns(host))

    @contextmanager
    def publishing(self, hosts: Hosts, family: int) -> Iterator[Party]:
        (host,) = hosts
        host.start_agent()
        make_netns(host, "server")
        yield publish(host, "server", family)

    @contextmanager
    def attaching(self, host: LabHost) -> Iterator[Caller]:
        host.start_agent()
        with calling(host, PLUGIN, CONFIGURATION) as caller:
            yield caller


class SeawayTracked:
    """The same two containers, but the server is asked by a published port of their host: every
    packet belongs to a flow that is tracked and translated.
    """

    name = "seaway-tracked"

    def missing(self) -> str:
        return ""

    @contextmanager
    def running(self, host: LabHost, family: int) -> Iterator[Pair]:
        host.start_agent()
        make_netns(host, "client", "server")
        client = Party(netns_path(host, "client"), attach(host, "client", family))
        yield Pair(client, publish(host, "server", family), host_netns(host))


def attach(host: LabHost, name: str, family: int, *options: str) -> Address:
    place = (f"/run/netns/{name}", f"--name={name}", "--output=json")
    return of_family(json.loads(host.seaway("attach", *place, *options))["addresses"], family)


def publish(host: LabHost, name: str, family: int) -> Party:
    """Attach a container whose ports are the host's too, and ask it by those."""
    attach(host, name, family, *PUBLISH)
    return Party(netns_path(host, name), host_address(host, family))
